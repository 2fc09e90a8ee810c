"""Several tasks as one, mixed so that every part of training sees them all.

A mixture is written as a list of parts `NAME/SPLIT:SIZE*EPOCHS`, of which only the name is required:
`SmolTalk`, `MMLU/test:5200`, `GSM8K*4`, `SimpleSpelling:20_000`.
"""

import random
import re
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from nanochat.common.errors import UserError
from nanochat.common.fields import parse_int
from nanochat.tasks.base import Conversation, Task
from nanochat.tasks.registry import TaskData, make_task, task_spec

SHUFFLE_SEED = 42
"""Upstream nanochat's: the same examples in the same order."""


class Mixture(Task):
    """All examples of `tasks`, shuffled by Python's `Random(42)`. A task given twice is seen twice."""

    def __init__(self, tasks: Sequence[Task], start: int = 0, stop: int | None = None, step: int = 1) -> None:
        super().__init__(start, stop, step)
        self.tasks = list(tasks)
        self._ends = list(accumulate(len(task) for task in self.tasks))
        self._order = array("q", range(self._ends[-1] if self._ends else 0))
        random.Random(SHUFFLE_SEED).shuffle(self._order)

    def num_examples(self) -> int:
        return len(self._order)

    def source(self) -> object:
        return [[type(task).__name__, task.start, task.stop, task.step, task.source()] for task in self.tasks]

    def locate(self, index: int) -> tuple[int, int]:
        """`(task, index in it)` of example `index`."""
        position = self._order[index]
        task = bisect_right(self._ends, position)
        return task, position - (self._ends[task - 1] if task else 0)

    def example(self, index: int) -> Conversation:
        task, local = self.locate(index)
        return self.tasks[task][local]


_PART = re.compile(r"(?P<name>[\w.-]+)(/(?P<split>\w+))?(:(?P<size>[\d_]+))?(\*(?P<epochs>\d+))?")
_TRAINING_SPLITS = ("train", "auxiliary_train")


@dataclass(frozen=True)
class MixturePart:
    """A task in a mixture. `size` 0: all of it, or as many as a generated task makes."""

    name: str
    split: str
    size: int = 0
    epochs: int = 1

    def __str__(self) -> str:
        size = f":{self.size}" if self.size else ""
        return f"{self.name}/{self.split}{size}" + (f"*{self.epochs}" if self.epochs > 1 else "")

    def make(self, data: TaskData) -> Task:
        """The task. A generated one makes `size` examples, any other is cut to its first `size`."""
        return make_task(self.name, data, self.split, size=self.size, stop=self.size or None)


def parse_part(text: str) -> MixturePart:
    """Parses `NAME/SPLIT:SIZE*EPOCHS`. Without a split: the task's training split. Raises `UserError`."""
    match = _PART.fullmatch(text.strip())
    if match is None:
        raise UserError(
            f"'{text}' is not a part of a mixture", "for example SmolTalk, MMLU/test:5200 or GSM8K*4"
        )
    spec = task_spec(match["name"])
    default = next((split for split in _TRAINING_SPLITS if split in spec.splits), spec.splits[0])
    split = match["split"] or default
    if split not in spec.splits:
        raise UserError(f"{text}: {spec.name} has no split '{split}'", f"it has {', '.join(spec.splits)}")
    try:
        size, epochs = parse_int(match["size"] or "0"), parse_int(match["epochs"] or "1")
    except ValueError as error:
        raise UserError(f"{text[:80]}: {error}") from error
    if (match["size"] and not size) or not epochs:
        raise UserError(f"{text}: a size and a number of epochs are at least 1")
    return MixturePart(spec.name, split, size, epochs)


def make_mixture(parts: Iterable[MixturePart], data: TaskData) -> Mixture:
    """The tasks of `parts` mixed, each as often as it has epochs."""
    return Mixture([task for part in parts for task in [part.make(data)] * part.epochs])
