"""One metric over a run, in memory: append live, hide superseded attempts, smooth, shrink to screen columns.

A series costs 8 bytes a point for its value, 16 for its step and time, which metrics of the same events
share, and a quarter of one for smoothing. It answers "lowest and highest value between these two points"
from a pyramid of block minima and maxima, so that drawing a million points costs the same as drawing a
thousand. Nothing here depends on a screen, and nothing is thread-safe: the plot thread owns every series.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from nanochat.common.smoothing import average_stride, block_means, ema, ema_state
from remote.store.series import Series as StoredSeries
from tui.plots.points import (
    Aggregate,
    Columns,
    Key,
    Keys,
    Mark,
    Points,
    Reading,
    Stats,
    columns_of,
    plain_keys,
)
from tui.plots.pyramid import MinMaxPyramid

_CHUNK = 4_096


class Series:
    """The points of one metric of one run, in order of step.

    A point that goes back in step or belongs to a later attempt supersedes the points at and after its step:
    they move to `superseded` and leave the line, the smoothing and the statistics.
    A series whose points carry no step (telemetry) is keyed by time alone (`stepless`).
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.where = Keys()
        self.shared = False
        self.raw = MinMaxPyramid()
        self.marks: list[Mark] = []
        self.superseded: list[Series] = []
        self.stepless = False
        self._attempt = 0
        self._beta = 0.0
        self._ema: MinMaxPyramid | None = None
        self._stride = 1
        """The average is kept at every `_stride`-th point: at the last one of each whole block."""
        self._lowest: int | None = None
        self._highest: int | None = None
        self._tracked = 0
        """Points among which those two are known to be the extremes."""

    def __len__(self) -> int:
        return len(self.raw)

    @property
    def attempt(self) -> int:
        """The newest attempt seen; 0 before the first point."""
        return self._attempt

    @property
    def steps(self) -> array[float]:
        return self.where.steps

    @property
    def times(self) -> array[float]:
        return self.where.times

    @property
    def values(self) -> array[float]:
        return self.raw.values

    @property
    def decay(self) -> float:
        """The decay of the smoothing, 0 while it is off."""
        return self._beta

    # growing

    def extend(self, points: Points) -> None:
        """Append points in order of `seq`; cheap where they are finite, rising and of one attempt."""
        columns = points if isinstance(points, StoredSeries) else columns_of(points)
        if columns is None:
            assert not isinstance(points, StoredSeries)
            for _seq, step, t, value, attempt in points:
                self.append(step, t, value, attempt)
            return
        for start in range(0, len(columns), _CHUNK):
            part = columns.part(start, start + _CHUNK)
            where = plain_keys(part)
            if where is None or not self.can_follow(part, where):
                for _seq, at, t, number, attempt in part.points():
                    self.append(at if at >= 0 else None, t, number, attempt)
                continue
            self.own_keys()
            self.where.add(where)
            self.add_values(part)

    def begin(self, attempt: int, step: float) -> None:
        """Supersedes what lies at or after `step` where points from there on replace it."""
        if self.stepless or attempt < self._attempt:
            return
        if (0 < self._attempt < attempt) or (self.steps and step < self.steps[-1]):
            self.supersede(step)
        self._attempt = attempt

    def can_follow(self, points: StoredSeries, where: Keys) -> bool:
        """Whether `points`, which lie at `where`, go on where the series ends, all of them finite."""
        known = self._attempt if len(self) or self.marks else points.attempt[0]
        return (
            not self.stepless
            and points.attempt[0] == known
            and not (self.steps and where.steps[0] < self.steps[-1])
            and _all_finite(points.value)
        )

    def add_values(self, points: StoredSeries) -> None:
        """Takes in the values of points whose places have been added to `where`."""
        self._attempt = points.attempt[0]
        first = len(self)
        if first:
            self.raw.extend(points.value)
        else:
            self.raw.adopt(points.value)
        self._smooth()

    def own_keys(self) -> None:
        """Makes `where` the series' own, before it is changed."""
        if self.shared:
            self.where, self.shared = self.where.copy(), False

    def append(self, step: int | None, t: float, value: float | int | str, attempt: int = 1) -> None:
        """Append one point; `value` may be a number or one of "NaN", "Infinity", "-Infinity"."""
        if step is None and not len(self) and not self.marks:
            self.stepless = True
        key = math.nan if self.stepless else float(step) if step is not None else self._last_key()
        if attempt < self._attempt:
            self._append_superseded(key, t, value, attempt)
            return
        if not self.stepless:
            newer = attempt > self._attempt and self._attempt > 0
            if newer or (self.steps and key < self.steps[-1]):
                self.supersede(key)
        self._attempt = max(attempt, self._attempt)
        number, kind = _number(value)
        if kind:
            self.marks.append(Mark(len(self), key, t, kind))
            return
        self.own_keys()
        if not self.stepless:
            self.steps.append(key)
        self.times.append(t)
        self.raw.append(number)
        self._smooth()

    def _last_key(self) -> float:
        return self.steps[-1] if self.steps else 0.0

    def _append_superseded(self, key: float, t: float, value: float | int | str, attempt: int) -> None:
        if not self.superseded:
            self.superseded.append(Series(self.name))
        late = self.superseded[-1]
        late.append(None if math.isnan(key) else int(key), t, value, attempt)

    def supersede(self, step: float) -> None:
        """Move every point at or after `step` to `superseded`: a later attempt starts there."""
        if self.stepless:
            return
        cut = bisect_left(self.steps, step)
        kept_marks = [mark for mark in self.marks if mark.step < step]
        moved_marks = self.marks[len(kept_marks) :]
        if cut == len(self) and not moved_marks:
            return
        aside = Series(self.name)
        aside.where = Keys(self.steps[cut:], self.times[cut:])
        aside.raw.extend(self.values[cut:])
        aside.marks = [Mark(max(0, m.index - cut), m.step, m.t, m.kind) for m in moved_marks]
        self.superseded.append(aside)
        self.marks = kept_marks
        self.own_keys()
        del self.steps[cut:], self.times[cut:]
        self.raw.truncate(cut)
        self._lowest = self._highest = None
        self._tracked = 0
        if self._ema is not None:
            self._ema.truncate(cut // self._stride)

    def _track_extremes(self) -> None:
        values, first = self.values, self._tracked
        if first >= len(values):
            return
        self._tracked = len(values)
        low, high = self.raw.extremes(first, len(values))
        if self._lowest is None or low < values[self._lowest]:
            self._lowest = values.index(low, first)
        if self._highest is None or high > values[self._highest]:
            self._highest = values.index(high, first)

    # smoothing

    def set_smoothing(self, beta: float) -> None:
        """Smooth with decay `beta` in [0, 1), 0 for none. A change recomputes the whole series."""
        if not 0.0 <= beta < 1.0:
            raise ValueError(f"the smoothing decay must lie in [0, 1), not {beta}")
        if beta == self._beta:
            return
        self._beta = beta
        self._stride = average_stride(beta)
        self._ema = MinMaxPyramid() if beta else None
        self._smooth()

    def _smooth(self) -> None:
        """Bring the average up to the newest points."""
        if self._ema is None:
            return
        fresh = block_means(self.values, self._stride, len(self._ema))
        beta = self._beta**self._stride
        smoothed, _, _ = ema(fresh, beta, *ema_state(self._ema.values, beta))
        self._ema.extend(smoothed)

    @property
    def layered(self) -> bool:
        """Whether a bright line is drawn over a faint one: the smoothed over the measured."""
        return self._ema is not None

    def bright_line(self) -> tuple[array[float], array[float]]:
        """Steps and values of the line in full colour: of the smoothed one where smoothing is on."""
        if self._ema is None:
            return self.steps, self.values
        if self._stride == 1:
            return self.steps, self._ema.values
        steps, values = self.steps[self._stride - 1 :: self._stride], self._ema.values[:]
        if len(self) % self._stride:
            steps.append(self.steps[-1])
            values.append(self.smoothed_at(len(self) - 1))
        return steps, values

    def smoothed_at(self, index: int) -> float:
        """The debiased moving average at a point; the raw value while smoothing is off."""
        if self._ema is None:
            return self.values[index]
        if self._stride == 1:
            return self._ema.values[index]
        block, rest = divmod(index + 1, self._stride)
        if rest == 0:
            return self._ema.values[block - 1]
        state = ema_state(self._ema.values, self._beta**self._stride, block)
        return ema(self.values[index + 1 - rest : index + 1], self._beta, *state)[0][-1]

    def smoothed(self, view: range) -> array[float]:
        """`smoothed_at` of all points of `view`, in one go."""
        if self._ema is None or self._stride == 1:
            track = self.values if self._ema is None else self._ema.values
            return track[view.start : view.stop]
        beta, stride = self._beta**self._stride, self._stride
        found: array[float] = array("d")
        for block in range(view.start // stride, -(-view.stop // stride)):
            first = block * stride
            state = ema_state(self._ema.values, beta, block)
            inside, _, _ = ema(self.values[first : first + stride], self._beta, *state)
            if block < len(self._ema):
                inside[-1] = self._ema.values[block]
            found.extend(inside[max(0, view.start - first) : view.stop - first])
        return found

    def band(self, view: range) -> tuple[array[float], array[float]] | None:
        """What the faint line reaches over at the points of `view` where it is a band, lowest and highest."""
        return None

    # reading

    def stats(self) -> Stats | None:
        """Last, lowest and highest point; None while the series has no finite point."""
        self._track_extremes()
        if self._lowest is None or self._highest is None:
            return None
        return Stats(len(self), self.at(len(self) - 1), self.at(self._lowest), self.at(self._highest))

    def at(self, index: int) -> Reading:
        step = math.nan if self.stepless else self.steps[index]
        return Reading(step, self.times[index], self.values[index])

    def drawn_at(self, index: int) -> Reading:
        """The point as the line shows it: the smoothed value, with the raw one, where smoothing is on."""
        if self._ema is None:
            return self.at(index)
        step = math.nan if self.stepless else self.steps[index]
        return Reading(step, self.times[index], self.smoothed_at(index), self.values[index])

    def within(self, low: float, high: float, by: Key = "step") -> range:
        """The indices of the points with low <= key <= high."""
        keys = self.keys(by)
        return range(bisect_left(keys, low), bisect_right(keys, high))

    def keys(self, by: Key) -> array[float]:
        return self.times if by == "time" or self.stepless else self.steps

    def value_at(self, key: float, by: Key = "step") -> Reading | None:
        """The point nearest to `key` (a step, or a unix time with by="time"); the later one on a tie."""
        index = self.nearest(key, by)
        return None if index is None else self.at(index)

    def nearest(self, key: float, by: Key = "step") -> int | None:
        keys = self.keys(by)
        if not keys:
            return None
        right = bisect_right(keys, key)
        if right == 0:
            return 0
        if right == len(keys) or key - keys[right - 1] < keys[right] - key:
            return right - 1
        return right

    def downsample(
        self,
        edges: Sequence[float],
        by: Key = "step",
        *,
        smooth: bool = False,
        positive: bool = False,
    ) -> Columns:
        """Shrink to len(edges) - 1 columns: column c holds edges[c] <= key < edges[c + 1].

        The last column includes its right edge. `edges` rise, in steps or seconds (`by`). With `smooth` the
        EMA is shrunk instead of the raw values. With `positive` (a log axis) values <= 0 are left out and
        counted in `dropped`.
        """
        keys, value_at = self.keys(by), self.smoothed_at if smooth else self.values.__getitem__
        columns = Columns()
        start = bisect_left(keys, edges[0])
        if start > 0:
            columns.before = (keys[start - 1], value_at(start - 1))
        gaps = {mark.index for mark in self.marks}
        end = len(edges) - 2
        for column in range(end + 1):
            find = bisect_right if column == end else bisect_left
            stop = find(keys, edges[column + 1], start)
            if stop == start:
                continue
            columns.points += stop - start
            aggregate, dropped = self._aggregate(start, stop, smooth, positive)
            columns.dropped += dropped
            if aggregate is not None:
                columns.add(column, aggregate, broken=start in gaps)
            start = stop
        if start < len(keys) and start not in gaps:
            columns.after = (keys[start], value_at(start))
        if positive:
            columns.before = columns.before if columns.before and columns.before[1] > 0 else None
            columns.after = columns.after if columns.after and columns.after[1] > 0 else None
        return columns

    def _aggregate(self, start: int, stop: int, smooth: bool, positive: bool) -> tuple[Aggregate | None, int]:
        """The aggregate of points [start, stop), and how many it leaves out: with `positive` those <= 0."""
        track = self._ema if smooth and self._ema is not None else self.raw
        stride = self._stride if track is self._ema else 1
        value_at = self.smoothed_at if smooth else self.values.__getitem__
        first, last = value_at(start), value_at(stop - 1)
        low, high = min(first, last), max(first, last)
        inside = range(start // stride, stop // stride)  # what is kept at the ends of blocks in between
        if inside and stop - start > 1:
            lowest, highest = track.extremes(inside.start, inside.stop)
            low, high = min(low, lowest), max(high, highest)
        if not positive or low > 0:
            return Aggregate(first, low, high, last), 0
        values = (
            [first, *track.values[inside.start : inside.stop], last]
            if stride > 1
            else (track.values[start:stop])
        )
        kept = [value for value in values if value > 0]
        dropped = len(values) - len(kept)
        return (Aggregate(kept[0], min(kept), max(kept), kept[-1]) if kept else None), dropped


def _number(value: float | int | str) -> tuple[float, str]:
    """(number, "") for a finite value, else (0, "NaN" | "Infinity" | "-Infinity")."""
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return 0.0, "NaN"
    if math.isfinite(number):
        return number, ""
    return 0.0, "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _all_finite(values: array[float]) -> bool:
    # Where the sum is finite so are its terms; where it overflowed they are asked one by one.
    return math.isfinite(sum(values)) or all(map(math.isfinite, values))
