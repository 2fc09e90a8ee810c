"""Several tasks as one, mixed so that every part of training sees them all."""

import random
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from nanochat.tasks.base import Conversation, Task

SHUFFLE_SEED = 42


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

    def locate(self, index: int) -> tuple[int, int]:
        """`(task, index in it)` of example `index`."""
        position = self._order[index]
        task = bisect_right(self._ends, position)
        return task, position - (self._ends[task - 1] if task else 0)

    def example(self, index: int) -> Conversation:
        task, local = self.locate(index)
        return self.tasks[task][local]
