"""The items of an evaluation as they lie in a file, one JSON line each: read as columns, parsed one by one.

A table is painted from the head of each line alone, up to the long texts that end it. What the lines mean is
in item_record.py; both versions may be in one file.
"""

import json
import os
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, overload

from nanochat.common.errors import Exit, UserError
from nanochat.common.fields import INT64, json_object
from nanochat.common.files import open_regular
from nanochat.evals.item_record import ItemRecord, choice_place, margin, read_record, short
from nanochat.evals.item_search import Needle

MOST_LINE = 64 << 20
"""Bytes of a line; a longer one is no record."""
BLOCK = 1 << 20
"""Bytes read at a time."""
SLICE = 2_000
"""Items that a call of `search` looks at, some milliseconds of work."""

_scan: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
"""What `raw_decode` calls: the JSON value at an index and where it ends; StopIteration for none."""
_TAIL = re.compile(rb', "(?:choices|prompt)": ')
"""Where the long texts of a line begin. Inside a string a quote has a backslash before it, so this is the
name of a field wherever it stands."""
_PLAIN = re.compile(
    rb'\{"v": 2, "task": "([^"\\]*)", "subject": "([^"\\]*)", "index": (\d{1,18}), '
    rb'"key": "([0-9a-f]{1,64})", "correct": (true|false), '
)
"""The beginning of a line as it is written: the rest of its head is parsed when it is looked at."""
_PROMPT = b', "prompt": "'


@lru_cache(maxsize=4096)
def _name(raw: bytes) -> str:
    """A task or subject, of which there are few."""
    return short(raw.decode("utf-8", "replace"))


T = TypeVar("T")


class DamagedRecordError(UserError):
    """One item's record cannot be read; the others can."""


class Column(Sequence[T]):
    """A column whose values are made when they are looked at: most rows of a table never are."""

    def __init__(self, heads: Sequence[bytes], make: Callable[[Mapping[str, Any]], T]) -> None:
        self._heads, self._make = heads, make

    def __len__(self) -> int:
        return len(self._heads)

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> list[T]: ...
    def __getitem__(self, at: int | slice) -> T | list[T]:
        if isinstance(at, slice):
            return [self._make(_parsed(head) or {}) for head in self._heads[at]]
        return self._make(_parsed(self._heads[at]) or {})

    def __iter__(self) -> Iterator[T]:
        return (self._make(_parsed(head) or {}) for head in self._heads)


def _margin(head: Mapping[str, Any]) -> float | None:
    losses = head.get("losses")
    return margin(losses, choice_place(head.get("gold"), head.get("letters"), losses))


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
    bad_lines: list[int] = field(default_factory=list)
    """Numbers, from 1, of lines that are no records; they are left out."""
    torn: bool = False
    """Whether the last line is incomplete: of a process that still writes, or was killed while writing."""
    repeated: int = 0
    """Records that a later one of the same item replaced."""
    size: int = 0
    """Bytes that were read."""
    _heads: list[bytes] = field(default_factory=list, repr=False)
    """Each line up to its long texts, or to its last brace."""
    _rows: dict[tuple[str, int], int] = field(default_factory=dict, repr=False)
    _starts: "array[int]" = field(default_factory=lambda: array("q"), repr=False)
    _lengths: "array[int]" = field(default_factory=lambda: array("q"), repr=False)
    _identity: tuple[int, int] = (0, 0)
    """Device and inode: another file in its place is noticed."""

    def __len__(self) -> int:
        return len(self.task)

    @property
    def prediction(self) -> Sequence[str]:
        """One short clean line; of choices the place of the one chosen, or its letter."""
        return Column(self._heads, lambda head: short(head.get("prediction")))

    @property
    def gold(self) -> Sequence[str]:
        """As `prediction`."""
        return Column(self._heads, lambda head: short(head.get("gold")))

    @property
    def margin(self) -> Sequence[float | None]:
        """Nats: the least loss of a wrong choice less that of the right one; None without choices."""
        return Column(self._heads, _margin)

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

        Raises `UserError` when the file is gone or another lies in its place, and `DamagedRecordError` when
        the line is damaged.
        """
        with self._opened() as descriptor:
            document = json_object(self._line(descriptor, row))
        found = read_record(document) if document is not None else None
        if found is None:
            raise DamagedRecordError(
                f"{self.path}: the record of {self.task[row]} {self.index[row]} is damaged"
            )
        if (short(found.task), found.index) != (self.task[row], self.index[row]):
            raise _written_anew(self.path)
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
                    raise _written_anew(self.path)
                yield file.fileno()
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def _line(self, descriptor: int, row: int) -> bytes:
        return os.pread(descriptor, self._lengths[row], self._starts[row])

    def _add(self, line: bytes, start: int) -> bool:
        """Takes a line; False when it is no record."""
        tail = _TAIL.search(line)
        if tail is None or line[-1:] != b"}":
            return self._add_parsed(line, start, line.rstrip()[:-1])
        head = line[: tail.start()]
        plain = _PLAIN.match(head)
        if plain is None:
            return self._add_parsed(line, start, head) or self._add_parsed(line, start, line[:-1])
        task, subject, index, key, correct = plain.groups()
        row = (_name(task), _name(subject), int(index), key.decode(), correct == b"true", head)
        self._put(*row, start, len(line))
        return True

    def _add_parsed(self, line: bytes, start: int, head: bytes) -> bool:
        """As `_add`, of a line that is not as it is written now; `head` is what to parse of it."""
        found = _parsed(head) or {}
        task, index, correct = found.get("task"), found.get("index"), found.get("correct")
        if type(task) is not str or type(index) is not int or type(correct) is not bool:
            return False
        if not 0 <= index < INT64:
            return False
        subject, key = found.get("subject"), found.get("key")
        about, hashed = subject if type(subject) is str else "", key if type(key) is str else None
        self._put(short(task), short(about), index, hashed, correct, head, start, len(line))
        return True

    def _put(
        self,
        task: str,
        subject: str,
        index: int,
        key: str | None,
        correct: bool,
        head: bytes,
        start: int,
        length: int,
    ) -> None:
        """A new row, or a later record of the same item in the place of the earlier one."""
        row = self._rows.setdefault((task, index), len(self.task))
        if row < len(self.task):
            self.repeated += 1
            values = (task, subject, index, key, correct, head, start, length)
            for name, value in zip(_COLUMNS, values, strict=True):
                getattr(self, name)[row] = value
            return
        self.task.append(task)
        self.subject.append(subject)
        self.index.append(index)
        self.key.append(key)
        self.correct.append(correct)
        self._heads.append(head)
        self._starts.append(start)
        self._lengths.append(length)


_COLUMNS = (
    "task", "subject", "index", "key", "correct", "_heads", "_starts", "_lengths",
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
                if not items._add(line, start):
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


def _parsed(head: bytes) -> Mapping[str, Any] | None:
    """The fields of a line that ends before a field, or before its last brace; None for no object."""
    text = head.decode("utf-8", "replace") + "}"
    try:
        found, end = _scan(text, 0)
    except (StopIteration, ValueError, RecursionError):
        return None
    return found if type(found) is dict and end == len(text) else None


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _written_anew(path: Path) -> UserError:
    return UserError(f"{path} has been written anew since it was opened", "open it again")


def _unreadable(path: Path, error: OSError) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError(f"the items are gone: there is no {path}")
    return UserError(f"cannot read the items in {path}: {error.strerror}", exit_code=Exit.FAILED)
