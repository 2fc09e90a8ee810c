"""Metric series as columns: how the store packs them, and what it hands out.

A metric's newest points are rows; every `BLOCK` of them are packed into one blob of five columns, so a
series of 100,000 steps is about 200 blobs to read instead of 100,000 rows.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

BLOCK = 512

_COLUMNS = "qqddi"  # seq, step, t, value, attempt

Point: TypeAlias = tuple[int, int, float, float, int]


@dataclass
class Series:
    """One metric's points, oldest first, as parallel columns.

    `step` is -1 where the event carried none; `value` may be nan or ±inf; `superseded` is 1 where a later
    attempt redid that step (the point is kept, but counts no longer).
    """

    seq: array[int] = field(default_factory=lambda: array("q"))
    step: array[int] = field(default_factory=lambda: array("q"))
    t: array[float] = field(default_factory=lambda: array("d"))
    value: array[float] = field(default_factory=lambda: array("d"))
    attempt: array[int] = field(default_factory=lambda: array("i"))
    superseded: bytearray = field(default_factory=bytearray)

    def __len__(self) -> int:
        return len(self.seq)

    def points(self) -> list[Point]:
        """The same as a list of `(seq, step, t, value, attempt)`."""
        return list(zip(self.seq, self.step, self.t, self.value, self.attempt, strict=True))

    def append(self, point: Point) -> None:
        """Adds one point at the end."""
        seq, step, t, value, attempt = point
        self.seq.append(seq)
        self.step.append(step)
        self.t.append(t)
        self.value.append(value)
        self.attempt.append(attempt)

    def mark(self, cut: dict[int, int]) -> None:
        """Sets `superseded` from the step at which each attempt was overtaken."""
        if not cut:
            self.superseded = bytearray(len(self))
            return
        never = 1 << 62
        pairs = zip(self.attempt, self.step, strict=True)
        self.superseded = bytearray(step >= cut.get(attempt, never) for attempt, step in pairs)

    def after(self, seq: int) -> Series:
        """Only the points with a larger `seq`."""
        start = next((i for i, s in enumerate(self.seq) if s > seq), len(self))
        return Series(
            self.seq[start:],
            self.step[start:],
            self.t[start:],
            self.value[start:],
            self.attempt[start:],
            self.superseded[start:],
        )

    def extend_packed(self, blob: bytes) -> None:
        """Adds the points of one packed block."""
        size = sum(array(code).itemsize for code in _COLUMNS)
        count, rest = divmod(len(blob), size)
        if rest:
            raise ValueError(f"a block of {len(blob)} bytes is not whole")
        at = 0
        for column in (self.seq, self.step, self.t, self.value, self.attempt):
            end = at + count * column.itemsize
            column.frombytes(blob[at:end])
            at = end


def pack(points: Iterable[Point]) -> bytes:
    """The points as one blob: all seq, then all step, t, value and attempt."""
    columns = zip(*points, strict=True)
    return b"".join(array(code, column).tobytes() for code, column in zip(_COLUMNS, columns, strict=True))


def blocks_of(points: list[Point]) -> tuple[list[list[Point]], list[Point]]:
    """Whole blocks from the front of `points`, and what is left as the tail."""
    whole = len(points) - len(points) % BLOCK
    return [points[i : i + BLOCK] for i in range(0, whole, BLOCK)], points[whole:]
