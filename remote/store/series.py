"""Metric series as columns: how the store packs them, and what it hands out.

A metric's newest points are rows; every `BLOCK` of them, or up to `LARGEST` that come at once, are packed
into one blob, so a series of a million steps is a few hundred blobs to read instead of a million rows.

A blob is of one of two forms. `ROWS`: five columns, seq, step, t, value, attempt. `STRETCHES`: t and value,
after stretches in which seq and step rise evenly within one attempt, as those of a training do from one
evaluation to the next. That takes little more than 16 bytes a point instead of 36.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple, TypeAlias

BLOCK = 512
LARGEST = 8 * BLOCK

ROWS, STRETCHES = 0, 1
_COLUMNS = "qqddi"  # seq, step, t, value, attempt
_COUNT = struct.Struct("<q")  # of stretches
_STRETCH = struct.Struct("<6q")
_SHORTEST = 4  # points that a stretch has on average, else rows are smaller and quicker

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
        """Sets `superseded`, in place, from the step at which each attempt was overtaken."""
        self.superseded[:] = bytes(len(self))
        if cut:
            never = 1 << 62
            pairs = zip(self.attempt, self.step, strict=True)
            self.superseded[:] = bytes(step >= cut.get(attempt, never) for attempt, step in pairs)

    def extend(self, other: Series) -> None:
        """Adds all points of another series at the end; `superseded` is not kept up."""
        self.seq.extend(other.seq)
        self.step.extend(other.step)
        self.t.extend(other.t)
        self.value.extend(other.value)
        self.attempt.extend(other.attempt)

    def part(self, start: int, stop: int) -> Series:
        """The points from index `start` to before `stop`, without `superseded`."""
        return Series(
            self.seq[start:stop],
            self.step[start:stop],
            self.t[start:stop],
            self.value[start:stop],
            self.attempt[start:stop],
        )

    def extend_packed(self, form: int, blob: bytes) -> None:
        """Adds the points of one packed block. Raises ValueError for one that is not whole."""
        if form == STRETCHES:
            stretches, t, value = split_stretches(blob)
            self.extend_keys(stretches)
            self.t.frombytes(t)
            self.value.frombytes(value)
            return
        size = sum(array(code).itemsize for code in _COLUMNS)
        count, rest = divmod(len(blob), size)
        if rest:
            raise ValueError(f"a block of {len(blob)} bytes is not whole")
        at = 0
        for column in (self.seq, self.step, self.t, self.value, self.attempt):
            end = at + count * column.itemsize
            column.frombytes(blob[at:end])
            at = end

    def same_keys(self, other: Series) -> bool:
        """Whether the points are of the same events: all columns but `value` are equal."""
        mine = (self.seq, self.step, self.t, self.attempt)
        return mine == (other.seq, other.step, other.t, other.attempt)

    def with_values(self, value: array[float]) -> Series:
        """Other values for the same events; every other column is this one's own."""
        return Series(self.seq, self.step, self.t, value, self.attempt, self.superseded)

    def extend_keys(self, stretches: Iterable[Stretch]) -> None:
        """Adds seq, step and attempt of the points of some stretches, and neither t nor value."""
        for stretch in stretches:
            count = stretch.points
            self.seq.extend(_rising(stretch.seq, stretch.seq_rise, count))
            self.step.extend(_rising(stretch.step, stretch.step_rise, count))
            self.attempt.extend(array("i", [stretch.attempt]) * count)


class Stretch(NamedTuple):
    """Points side by side whose seq and step rise evenly within one attempt."""

    points: int
    seq: int
    seq_rise: int
    step: int
    step_rise: int
    attempt: int


def split_stretches(blob: bytes) -> tuple[list[Stretch], memoryview, memoryview]:
    """The stretches, the times and the values (as bytes) of a block. ValueError when it is not whole."""
    head, times, values = _split(blob)
    return _stretches_in(head), times, values


def _split(blob: bytes) -> tuple[bytes, memoryview, memoryview]:
    count = _COUNT.unpack_from(blob)[0] if len(blob) >= _COUNT.size else 0
    start = _COUNT.size + count * _STRETCH.size
    size = (len(blob) - start) // 2
    if not 0 < count < len(blob) or size <= 0:
        raise ValueError(f"a block of {len(blob)} bytes is not whole")
    head = blob[:start]
    if size != 8 * sum(stretch.points for stretch in _stretches_in(head)) or len(blob) != start + 2 * size:
        raise ValueError(f"a block of {len(blob)} bytes is not whole")
    view = memoryview(blob)
    return head, view[start : start + size], view[start + size :]


def _stretches_in(head: bytes) -> list[Stretch]:
    return [Stretch(*numbers) for numbers in _STRETCH.iter_unpack(head[_COUNT.size :])]


def pack(points: Series, heads: dict[bytes, bytes]) -> tuple[int, bytes]:
    """The form and the blob of one block.

    `heads` keeps what was found of columns seen before: the metrics of one event share all but their values.
    """
    columns = [points.seq.tobytes(), points.step.tobytes(), points.attempt.tobytes()]
    same = b"".join(columns)
    if same not in heads:
        heads[same] = _packed(list(_stretches_of(points)), len(points))
    if heads[same]:
        return STRETCHES, heads[same] + points.t.tobytes() + points.value.tobytes()
    seq, step, attempt = columns
    return ROWS, b"".join((seq, step, points.t.tobytes(), points.value.tobytes(), attempt))


def _packed(stretches: Sequence[Stretch], points: int) -> bytes:
    """The stretches as the head of a blob; empty when there are too many."""
    if _SHORTEST * len(stretches) > max(points, _SHORTEST) or any(
        not -(1 << 63) <= number < 1 << 63 for stretch in stretches for number in stretch
    ):
        return b""
    return _COUNT.pack(len(stretches)) + b"".join(_STRETCH.pack(*stretch) for stretch in stretches)


def _stretches_of(points: Series) -> Iterator[Stretch]:
    rows = zip(points.seq, points.step, points.attempt, strict=True)
    count, seq_rise, step_rise = 0, 0, 0
    first = last = (0, 0, 0)
    for row in rows:
        rises = (row[0] - last[0], row[1] - last[1])
        if count == 1 and row[2] == last[2]:
            seq_rise, step_rise = rises
        elif count == 0 or rises != (seq_rise, step_rise) or row[2] != last[2]:
            if count:
                yield Stretch(count, first[0], seq_rise, first[1], step_rise, first[2])
            count, first, seq_rise, step_rise = 0, row, 0, 0
        count += 1
        last = row
    if count:
        yield Stretch(count, first[0], seq_rise, first[1], step_rise, first[2])


def _rising(first: int, rise: int, count: int) -> Sequence[int]:
    return range(first, first + rise * count, rise) if rise else array("q", [first]) * count


def blocks_of(points: Series) -> tuple[list[Series], Series]:
    """Whole blocks from the front of `points`, and what is left as the tail."""
    whole = len(points) - len(points) % BLOCK
    cuts = [*range(0, whole, LARGEST), whole]
    parts = [points.part(start, stop) for start, stop in pairwise(cuts)]
    return parts, points.part(whole, len(points))


class SeriesReader:
    """Puts series together out of blocks and tails; those of the same events get the same arrays.

    A long series is compared with those before it block by block as it is read, so that columns which are
    shared in the end never exist twice.
    """

    def __init__(self) -> None:
        self._known: list[_Known] = []

    def read(self, blocks: Iterable[tuple[int, bytes]], tail: Series, after: int) -> Series:
        """The points of one metric whose seq is larger than `after`; `superseded` is set by `mark`."""
        building = _Building([] if after >= 0 else self._known)
        for form, blob in blocks:
            building.add(form, blob)
        whole = building.end(tail)
        if after < 0:
            if not any(whole.series.t is known.series.t for known in self._known):
                self._known.append(whole)
            return whole.series
        series = whole.series.part(bisect_right(whole.series.seq, after), len(whole.series))
        for known in self._known:
            if known.series.same_keys(series):
                return known.series.with_values(series.value)
        self._known.append(_Known([], series))
        return series

    def mark(self, cut: dict[int, int]) -> None:
        """Sets `superseded` of all that was read, from the step at which each attempt was overtaken."""
        for known in self._known:
            known.series.mark(cut)


@dataclass
class _Known:
    """A series that was read, and the heads of its blocks where all of them are stretches."""

    heads: list[bytes]
    series: Series


class _Building:
    """One series on its way out of the store; `like` is one that has been the same so far."""

    def __init__(self, known: Sequence[_Known]) -> None:
        self._candidates = known
        self._like: _Known | None = None
        self._heads: list[bytes] = []
        self._series = Series()

    def add(self, form: int, blob: bytes) -> None:
        value = self._series.value
        if form != STRETCHES:
            self._part()
            self._heads = []
            self._candidates = ()
            self._series.extend_packed(form, blob)
            return
        head, times, values = _split(blob)
        if not self._heads and not len(value):
            self._like = next((one for one in self._candidates if self._goes_on(one, head, times)), None)
        if self._like is not None and not self._goes_on(self._like, head, times):
            self._part()
        if self._like is None:
            self._series.extend_keys(_stretches_in(head))
            self._series.t.frombytes(times)
        self._heads.append(head)
        value.frombytes(values)

    def _goes_on(self, like: _Known, head: bytes, times: memoryview) -> bool:
        at, start = len(self._heads), len(self._series.value)
        there = like.series.t[start : start + len(times) // 8]
        return at < len(like.heads) and like.heads[at] == head and there.tobytes() == times.tobytes()

    def _part(self) -> None:
        """Goes on alone: what was the same so far is copied."""
        if self._like is not None:
            same, count = self._like.series.part(0, len(self._series.value)), self._series.value
            self._series, self._like = Series(same.seq, same.step, same.t, count, same.attempt), None

    def end(self, tail: Series) -> _Known:
        like = self._like
        if like is not None:
            start = len(self._series.value)
            if len(like.heads) == len(self._heads) and like.series.part(start, len(like.series)).same_keys(
                tail
            ):
                self._series.value.extend(tail.value)
                return _Known(like.heads, like.series.with_values(self._series.value))
            self._part()
        alone = bool(self._heads) or not len(self._series)
        self._series.extend(tail)
        return _Known(self._heads if alone else [], self._series)
