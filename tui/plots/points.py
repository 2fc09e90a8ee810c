"""Points of a metric: as they come, as they are told, and as they are shrunk to the columns of a plot."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from operator import gt
from typing import Literal, NamedTuple

from remote.store.series import Series as StoredSeries

Row = tuple[int, int | None, float, float | int | str, int]
"""A metric point: (seq, step, unix time in s, value, attempt)."""

Points = StoredSeries | Sequence[Row]
"""New points of one metric, in order of `seq`: columns as the store reads them, or rows."""

Key = Literal["step", "time"]


@dataclass(frozen=True, slots=True)
class Mark:
    """A value that cannot be drawn (NaN or an infinity): it breaks the line before point `index`."""

    index: int
    step: float
    t: float
    kind: str


@dataclass(frozen=True, slots=True)
class Reading:
    """One point read off a series: step (NaN when the series has none), unix time in s, value.

    `raw` is the measured value where `value` is read off the smoothed line.
    """

    step: float
    t: float
    value: float
    raw: float | None = None


@dataclass(frozen=True, slots=True)
class Stats:
    """What a plot's title shows of its finite points that are not superseded."""

    count: int
    last: Reading
    lowest: Reading
    highest: Reading


class Aggregate(NamedTuple):
    """The first, lowest, highest and last value of the points in one column."""

    first: float
    low: float
    high: float
    last: float


@dataclass(slots=True)
class Columns:
    """A series shrunk to screen columns: M4 aggregation (Jugel et al., VLDB 2014): first, min, max, last.

    Only columns that hold points are listed, so a sparse metric stays sparse. `broken[i]` says that a NaN or
    an infinity lies between the previous listed column and this one. `before` and `after` are the neighbours
    (key, value) just outside the range, to which a zoomed line still leads.
    """

    column: list[int] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)
    last: list[float] = field(default_factory=list)
    broken: list[bool] = field(default_factory=list)
    before: tuple[float, float] | None = None
    after: tuple[float, float] | None = None
    points: int = 0
    dropped: int = 0

    def add(self, column: int, values: Aggregate, broken: bool) -> None:
        self.column.append(column)
        self.first.append(values.first)
        self.low.append(values.low)
        self.high.append(values.high)
        self.last.append(values.last)
        self.broken.append(broken)


class Keys:
    """Where points lie: their steps and their times. Metrics of the same events share one."""

    __slots__ = ("steps", "times")

    def __init__(self, steps: array[float] | None = None, times: array[float] | None = None) -> None:
        self.steps = array("d") if steps is None else steps
        self.times = array("d") if times is None else times

    def add(self, other: Keys) -> None:
        """Takes further places in at the end; `other` is not to be used afterwards."""
        if self.times:
            self.steps.extend(other.steps)
            self.times.extend(other.times)
        else:
            self.steps, self.times = other.steps, other.times

    def copy(self) -> Keys:
        return Keys(self.steps[:], self.times[:])

    def equals(self, other: Keys) -> bool:
        return self is other or (self.steps == other.steps and self.times == other.times)


def plain_keys(points: StoredSeries) -> Keys | None:
    """Where the points lie; None where one has no step, steps fall, or they are of several attempts."""
    if points.attempt[0] != points.attempt[-1] or points.step[0] < 0 or not never_falls(points.step):
        return None
    return Keys(array("d", points.step), points.t)


def never_falls(numbers: array[int]) -> bool:
    """Whether each number is at least as large as the one before."""
    return not any(map(gt, numbers, islice(numbers, 1, None)))


def columns_of(rows: Sequence[Row]) -> StoredSeries | None:
    """Rows as columns; None where a value is spelled as text or a point has no step."""
    if not rows or any(row[1] is None or isinstance(row[3], str) for row in rows):
        return None
    seq, step, t, value, attempt = zip(*rows, strict=True)
    return StoredSeries(
        array("q", seq), array("q", step), array("d", t), array("d", value), array("i", attempt)
    )
