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
    view = memoryview(blob)
    count = _COUNT.unpack_from(blob)[0] if len(blob) >= _COUNT.size else 0
    start = _COUNT.size + count * _STRETCH.size
    if not 0 < count < len(blob):
        raise ValueError(f"a block of {len(blob)} bytes is not whole")
    stretches = [Stretch(*numbers) for numbers in _STRETCH.iter_unpack(view[_COUNT.size : start])]
    points = sum(stretch.points for stretch in stretches)
    if len(blob) != start + 16 * points:
        raise ValueError(f"a block of {len(blob)} bytes is not whole")
    return stretches, view[start : start + 8 * points], view[start + 8 * points :]


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
    """Puts series together out of blocks and tails; those of the same events get the same arrays."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], list[Series]] = {}

    def read(self, blocks: Sequence[tuple[int, bytes]], tail: Series, after: int) -> Series:
        """The points of one metric whose seq is larger than `after`; `superseded` is set by `mark`."""
        if all(form == STRETCHES for form, _ in blocks):
            return self._of_stretches([blob for _, blob in blocks], tail, after)
        series = Series()
        for form, blob in blocks:
            series.extend_packed(form, blob)
        series.extend(tail)
        series = series.part(bisect_right(series.seq, after), len(series))
        same = (len(series), *series.seq[:1], *series.seq[-1:])
        for known in self._known.get(same, ()):
            if (known.seq, known.step, known.t, known.attempt) == (
                series.seq,
                series.step,
                series.t,
                series.attempt,
            ):
                return _with_keys_of(known, series.value)
        return self._keep(same, series)

    def _of_stretches(self, blobs: Sequence[bytes], tail: Series, after: int) -> Series:
        """The same without making columns that have been made for a metric of the same events."""
        split = [split_stretches(blob) for blob in blobs]
        t, value = array("d"), array("d")
        for _, times, values in split:
            t.frombytes(times)
            value.frombytes(values)
        t.extend(tail.t)
        value.extend(tail.value)
        heads = tuple(stretch for stretches, _, _ in split for stretch in stretches)
        same = (heads, tail.seq.tobytes(), tail.step.tobytes(), tail.attempt.tobytes(), after)
        for known in self._known.get(same, ()):
            start = len(t) - len(known)
            if known.t == (t[start:] if start else t):
                return _with_keys_of(known, value[start:] if start else value)
        series = Series(t=t, value=value)
        series.extend_keys(heads)
        series.seq.extend(tail.seq)
        series.step.extend(tail.step)
        series.attempt.extend(tail.attempt)
        start = bisect_right(series.seq, after)
        return self._keep(same, series.part(start, len(series)) if start else series)

    def _keep(self, same: tuple[object, ...], series: Series) -> Series:
        self._known.setdefault(same, []).append(series)
        return series

    def mark(self, cut: dict[int, int]) -> None:
        """Sets `superseded` of all that was read, from the step at which each attempt was overtaken."""
        for series in [series for same in self._known.values() for series in same]:
            series.mark(cut)


def _with_keys_of(known: Series, value: array[float]) -> Series:
    return Series(known.seq, known.step, known.t, value, known.attempt, known.superseded)
