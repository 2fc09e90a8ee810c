"""The items of an evaluation as they lie in a file, one JSON line each: read as columns, parsed one by one.

A record of version 2 is

    {"v": 2, "task": "copa", "subject": "", "index": 7, "key": "0f3a…", "correct": true, "losses": [2.1, 3.0],
     "prediction": 0, "gold": 0, "choices": ["…", "…"], "prompt": "…", "samples": [], …}

with the long texts last, so that a table is painted from the head of each line. Records of version 1, of
releases before it, have no `v`, `subject`, `key` and `choices`, and only the number of their samples. Both
may be in one file: an attempt goes on with what an earlier release wrote.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

VERSION = 2
PartType = Literal["text", "python", "python_output"]
"""What the model says, an expression it hands to the calculator, and the calculator's result."""


class TranscriptPart(NamedTuple):
    """A piece of a sampled answer."""

    type: PartType
    text: str


@dataclass(frozen=True)
class Sample:
    """One sampled answer: its text with tool calls spelled out, and in pieces; `tokens` counts all of them.

    Of version 1 there is only the text that was kept: no transcript, `finish` "" and no `tokens`.
    """

    text: str
    correct: bool | None
    transcript: tuple[TranscriptPart, ...] = ()
    finish: str = ""
    """"stop" or "length"; "" where unknown."""
    tokens: int | None = None


@dataclass(frozen=True)
class ItemRecord:
    """One item as it was evaluated.

    `gold` and `prediction` are an index into `choices` (CORE), a letter of `letters` (chat tasks), or a text.
    `losses` are nats of each choice, None where it has no tokens of its own.
    """

    version: int
    task: str
    subject: str
    """Of MMLU; "" of other tasks."""
    index: int
    key: str | None
    """Hash of the item as rendered, its examples, choices and gold: equal for the same item, whatever model
    read it. None in version 1."""
    prompt: str
    choices: tuple[str, ...]
    letters: tuple[str, ...]
    losses: tuple[float | None, ...]
    gold: int | str
    prediction: int | str | None
    correct: bool
    samples: tuple[Sample, ...]
    sample_count: int
    """How many were drawn; version 1 kept one of them."""
    samples_correct: int
    continuation: str = ""
    """Of a schema task: the text whose loss was compared after each of the contexts in `choices`."""
    near_tie: bool = False
    cropped: int = 0
    problem: str = ""
    """Why the item could not be scored; "" where it was."""
    document: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """The record as it is in the file."""

    @property
    def gold_choice(self) -> int | None:
        """The place of the right answer in `choices`; None for a task without choices."""
        raise NotImplementedError

    @property
    def predicted_choice(self) -> int | None:
        """The place in `choices` of what the model chose."""
        raise NotImplementedError


class Found(NamedTuple):
    """What a slice of a search found: rows of the table, and the row to go on from (`len(items)` at the
    end)."""

    rows: list[int]
    next: int


@dataclass
class Items:
    """The items of one file as columns, row i of each the i-th item in the file.

    An item that is there twice counts once, as its last record says.
    """

    path: Path
    task: list[str] = field(default_factory=list)
    subject: list[str] = field(default_factory=list)
    index: list[int] = field(default_factory=list)
    key: list[str | None] = field(default_factory=list)
    correct: list[bool] = field(default_factory=list)
    prediction: list[str] = field(default_factory=list)
    """Short: one clean line."""
    gold: list[str] = field(default_factory=list)
    """Short: one clean line."""
    margin: list[float | None] = field(default_factory=list)
    """Nats: the least loss of a wrong choice less that of the right one; positive when it was chosen."""
    bad_lines: list[int] = field(default_factory=list)
    """Numbers, from 1, of lines that are no records; they are left out."""
    torn: bool = False
    """Whether the last line is incomplete: of a process that still writes, or was killed while writing."""
    repeated: int = 0
    """Records that a later one of the same item replaced."""

    def __len__(self) -> int:
        return len(self.task)

    @property
    def notes(self) -> list[str]:
        """What is wrong with the file, a line each; empty for a whole file."""
        raise NotImplementedError

    def tasks(self) -> list[str]:
        """The tasks in the file, in the order they begin."""
        raise NotImplementedError

    def record(self, row: int) -> ItemRecord:
        """The whole record of a row, read from the file now.

        Raises `UserError` when the file is gone or another one lies in its place.
        """
        raise NotImplementedError

    def search(self, text: str, start: int = 0, most: int = 2_000) -> Found:
        """The rows from `start` on whose texts hold `text` (prompt, choices, answers, gold), in any case;
        looks at `most` of them, some milliseconds of work. Raises `UserError` as `record` does."""
        raise NotImplementedError


def read_items(path: Path, progress: Callable[[int, int], object] | None = None) -> Items:
    """Reads a file of items, of version 1 or 2 or both. `progress` is called with (bytes read, bytes).

    Raises `UserError` when the file cannot be read, or holds no record at all and is not empty.
    """
    raise NotImplementedError


def item_key(texts: Sequence[str], choices: Sequence[str], gold: int | str) -> str:
    """The key of an item: 16 hex digits of a sha256 over the rendered texts, its examples among them."""
    raise NotImplementedError
