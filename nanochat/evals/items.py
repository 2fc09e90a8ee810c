"""The items of an evaluation as they lie in a file, one JSON line each: read as columns, parsed one by one.

A table is painted from the head of each line alone, up to the long texts that end it. What the lines mean is
in item_record.py; both versions may be in one file.
"""

import os
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

from nanochat.common.errors import Exit, UserError
from nanochat.common.fields import DECODER, json_object
from nanochat.common.files import open_regular
from nanochat.evals.item_record import ItemRecord, choice_place, margin, read_record, short
from nanochat.evals.item_search import Needle

MOST_LINE = 64 << 20
"""Bytes of a line; a longer one is no record."""
BLOCK = 1 << 20
"""Bytes read at a time."""
SLICE = 2_000
"""Items that a call of `search` looks at, some milliseconds of work."""

_scan: Callable[[str, int], tuple[Any, int]] = DECODER.scan_once  # type: ignore[attr-defined]
"""What `DECODER.raw_decode` calls: the JSON value at an index and where it ends; StopIteration for none."""
_name = lru_cache(maxsize=4096)(short)
"""Of tasks and subjects, of which there are few."""
_TAIL = re.compile(rb', "(?:choices|prompt)": ')
"""Where the long texts of a line begin. Inside a string a quote has a backslash before it, so this is the
name of a field wherever it stands."""
_PROMPT = b', "prompt": "'


class Found(NamedTuple):
    """What a slice of a search found: rows, and the row to go on from (`len(items)` at the end)."""

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
    """Of MMLU; "" elsewhere."""
    index: list[int] = field(default_factory=list)
    key: list[str | None] = field(default_factory=list)
    """None in version 1."""
    correct: list[bool] = field(default_factory=list)
    prediction: list[str] = field(default_factory=list)
    """One short clean line; of choices the place of the one chosen, or its letter."""
    gold: list[str] = field(default_factory=list)
    """As `prediction`."""
    margin: list[float | None] = field(default_factory=list)
    """Nats: the least loss of a wrong choice less that of the right one; None without choices."""
    bad_lines: list[int] = field(default_factory=list)
    """Numbers, from 1, of lines that are no records; they are left out."""
    torn: bool = False
    """Whether the last line is incomplete: of a process that still writes, or was killed while writing."""
    repeated: int = 0
    """Records that a later one of the same item replaced."""
    size: int = 0
    """Bytes that were read."""
    _rows: dict[tuple[str, int], int] = field(default_factory=dict, repr=False)
    _starts: "array[int]" = field(default_factory=lambda: array("q"), repr=False)
    _lengths: "array[int]" = field(default_factory=lambda: array("q"), repr=False)
    _identity: tuple[int, int] = (0, 0)
    """Device and inode: another file in its place is noticed."""

    def __len__(self) -> int:
        return len(self.task)

    @property
    def notes(self) -> list[str]:
        """What is wrong with the file, a line each; empty for a whole one."""
        found = []
        if self.bad_lines:
            lines = ", ".join(map(str, self.bad_lines[:5])) + (", …" if len(self.bad_lines) > 5 else "")
            what = "1 line is no record" if len(self.bad_lines) == 1 else (
                f"{len(self.bad_lines):,} lines are no records"
            )  # fmt: skip
            found.append(f"{what} and left out: {lines}")
        if self.torn:
            found.append("the last line is incomplete and left out: the evaluation still runs, or was killed")
        return found

    def tasks(self) -> list[str]:
        """The tasks in the file, in the order they begin."""
        return list(dict.fromkeys(self.task))

    def row(self, task: str, index: int) -> int | None:
        """The row of an item; None when it is not in the file."""
        return self._rows.get((task, index))

    def record(self, row: int) -> ItemRecord:
        """The whole record of a row, read from the file now.

        Raises `UserError` when the file is gone or another lies in its place, or when the line is damaged.
        """
        with self._opened() as descriptor:
            document = json_object(self._line(descriptor, row))
        found = read_record(document) if document is not None else None
        if found is None:
            raise UserError(f"{self.path}: the record of {self.task[row]} {self.index[row]} is damaged")
        return found

    def prompts(self, rows: Iterable[int]) -> Iterator[bytes]:
        """The prompt of each row as it is spelled in the file, to be compared with another's; b"" for none.

        Raises `UserError` as `record` does.
        """
        with self._opened() as descriptor:
            for row in rows:
                line = self._line(descriptor, row)
                start = line.find(_PROMPT) + len(_PROMPT)
                # Inside a text a quote has a backslash before it: this is the next field, or the end.
                end = line.find(b'", "', start)
                text = line[start : end if end >= 0 else line.rfind(b'"')]
                yield text if start >= len(_PROMPT) else b""

    def search(self, text: str, start: int = 0, most: int = SLICE) -> Found:
        """The rows from `start` on that hold `text` (task, subject, prompt, choices, answers), in any case.

        Looks at `most` of them. Raises `UserError` as `record` does.
        """
        needle = Needle(text)
        end = min(len(self), start + most)
        with self._opened() as descriptor:
            rows = [row for row in range(start, end) if needle.is_in(self._line(descriptor, row))]
        return Found(rows, end)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            with open_regular(self.path) as file:
                if _identity(file.fileno()) != self._identity:
                    raise UserError(f"{self.path} has been written anew since it was opened", "open it again")
                yield file.fileno()
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def _line(self, descriptor: int, row: int) -> bytes:
        return os.pread(descriptor, self._lengths[row], self._starts[row])

    def _add(self, head: Mapping[str, Any], start: int, length: int) -> bool:
        """Takes a record's short fields; False when they are not those of a record."""
        get = head.get
        task, index, correct = get("task"), get("index"), get("correct")
        if type(task) is not str or type(index) is not int or index < 0 or type(correct) is not bool:
            return False
        task, subject, key, gold, losses = _name(task), get("subject"), get("key"), get("gold"), get("losses")
        row = self._rows.setdefault((task, index), len(self.task))
        if row < len(self.task):
            self.repeated += 1
            self._correct_row(row, head, start, length)
            return True
        self.task.append(task)
        self.subject.append(_name(subject) if type(subject) is str else "")
        self.index.append(index)
        self.key.append(key if type(key) is str else None)
        self.correct.append(correct)
        self.prediction.append(short(get("prediction")))
        self.gold.append(short(gold))
        self.margin.append(margin(losses, choice_place(gold, get("letters"), losses)) if losses else None)
        self._starts.append(start)
        self._lengths.append(length)
        return True

    def _correct_row(self, row: int, head: Mapping[str, Any], start: int, length: int) -> None:
        """Puts a later record of the same item in the place of the earlier one."""
        later = Items(self.path)
        later._add(head, start, length)
        for name in _COLUMNS:
            getattr(self, name)[row] = getattr(later, name)[0]


_COLUMNS = (
    "task", "subject", "index", "key", "correct", "prediction", "gold", "margin", "_starts", "_lengths",
)  # fmt: skip


def read_items(path: Path, progress: Callable[[int, int], object] | None = None) -> Items:
    """Reads a file of items, of version 1 or 2 or both. `progress` is called with (bytes read, bytes).

    Raises `UserError` when the file cannot be read, or has lines and none of them is a record.
    """
    items = Items(path)
    try:
        with open_regular(path) as file:
            items._identity = _identity(file.fileno())
            total = os.fstat(file.fileno()).st_size
            for number, (start, line, is_whole) in enumerate(_lines(file), 1):
                if not is_whole:
                    items.torn = True
                    break
                head = _head(line)
                if head is None or not items._add(head, start, len(line)):
                    items.bad_lines.append(number)
                items.size = start + len(line) + 1
                if progress is not None and number % SLICE == 0:
                    progress(items.size, total)
    except OSError as error:
        raise _unreadable(path, error) from error
    if items.bad_lines and not len(items):
        raise UserError(f"{path}: none of its {len(items.bad_lines):,} lines is an item of an evaluation")
    return items


def _lines(file: BufferedReader) -> Iterator[tuple[int, bytes, bool]]:
    """(offset, line without its end, whether it has one). A line beyond `MOST_LINE` is given as empty."""
    start, rest, dropped = 0, b"", 0
    while block := file.read(BLOCK):
        pieces = block.split(b"\n")
        last = pieces.pop()
        for piece in pieces:
            line = rest + piece if rest else piece
            yield start, b"" if dropped else line, True
            start += dropped + len(line) + 1
            rest, dropped = b"", 0
        rest = rest + last if rest else last
        if dropped or len(rest) > MOST_LINE:
            rest, dropped = b"", dropped + len(rest)
    if rest or dropped:
        yield start, rest, False


def _head(line: bytes) -> Mapping[str, Any] | None:
    """The short fields of a line, which come first: its long texts are not parsed. None for no record."""
    tail = _TAIL.search(line)
    if tail is None or line[-1:] != b"}":
        return json_object(line)
    try:
        text = line[: tail.start()].decode() + "}"
        found, end = _scan(text, 0)
    except (StopIteration, ValueError, RecursionError):
        return json_object(line)
    return found if type(found) is dict and end == len(text) else json_object(line)


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _unreadable(path: Path, error: OSError) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError(f"the items are gone: there is no {path}")
    return UserError(f"cannot read the items in {path}: {error.strerror}", exit_code=Exit.FAILED)
