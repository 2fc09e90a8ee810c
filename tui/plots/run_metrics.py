"""All metrics of one run, and the x axes they can be drawn over: step, tokens, FLOPs, active time, clock.

Every axis but the clock is a function of the step, read from the run's own metric events. A plot's column
edges are turned into steps (or, for telemetry, which has no step, into time): no point is ever converted.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from remote.metrics import AXES, AXIS_SOURCES
from remote.store.series import Series as StoredSeries
from tui.plots.points import Key, Keys, Points, Reading, Row, never_falls, plain_keys
from tui.plots.series import Series


class RunMetrics:
    """The series of one run under its `label`. Owned by the plot thread."""

    def __init__(self, label: str = "") -> None:
        self.label = label
        self.series: dict[str, Series] = {}
        self._attempt_starts: dict[int, float] = {}

    def ingest(self, metrics: Mapping[str, Points]) -> None:
        """Append points per metric, each in order of seq.

        Columns become the series' own. A later attempt supersedes from its first step on in every metric,
        also in those that have no point of their own yet in that attempt.
        """
        for name, points in metrics.items():
            if name not in self.series:
                self.series[name] = Series(name)
            if not isinstance(points, StoredSeries):
                self.series[name].extend(points)
                self._note_attempts(points)
        for together in _same_events(metrics):
            for stretch in _stretches(together):
                self._extend(stretch)
        for attempt, step in self._attempt_starts.items():
            for series in self.series.values():
                if series.attempt < attempt:
                    series.supersede(step)

    def _extend(self, metrics: Mapping[str, StoredSeries]) -> None:
        """Extends metrics of the same events; those that lie at the same steps and times share them."""
        first = next(iter(metrics.values()))
        self._note_attempt(first.attempt[0], first.step[0])
        where = plain_keys(first)
        groups: list[tuple[Keys, list[tuple[Series, StoredSeries]]]] = []
        for name, points in metrics.items():
            series = self.series[name]
            if where is not None:
                series.begin(points.attempt[0], where.steps[0])
            if where is None or not series.can_follow(points, where):
                series.extend(points)
                continue
            group = next((members for held, members in groups if held.equals(series.where)), None)
            if group is None:
                groups.append((series.where, [(series, points)]))
            else:
                group.append((series, points))
        for held, members in groups:
            assert where is not None
            self._extend_together(held, where, members)

    def _extend_together(
        self, held: Keys, where: Keys, members: Sequence[tuple[Series, StoredSeries]]
    ) -> None:
        inside = {id(series) for series, _ in members}
        if any(series.where is held and id(series) not in inside for series in self.series.values()):
            held = held.copy()  # others stay behind
        held.add(where)
        for series, points in members:
            series.where, series.shared = held, len(members) > 1
            series.add_values(points)

    def _note_attempts(self, rows: Sequence[Row]) -> None:
        if rows and rows[-1][4] > 1:
            for _seq, step, _t, _value, attempt in rows:
                self._note_attempt(attempt, -1 if step is None else step)

    def _note_attempt(self, attempt: int, step: int) -> None:
        if attempt > 1 and 0 <= step < self._attempt_starts.get(attempt, math.inf):
            self._attempt_starts[attempt] = float(step)

    def axes(self) -> list[str]:
        """The x axes this run's metrics allow, in the order of `AXES`."""
        known = [axis for axis, source in AXIS_SOURCES.items() if len(self.series.get(source, ())) > 1]
        if self._stepped():
            known.append("step")
        known.append("clock")
        return [axis for axis in AXES if axis in known]

    def _stepped(self) -> list[Series]:
        return [series for series in self.series.values() if len(series) and not series.stepless]

    def x_range(self, axis: str) -> tuple[float, float] | None:
        """The common extent of the run's metrics on `axis`; None while nothing can be placed there."""
        stepped = self._stepped()
        if axis == "clock" or not stepped:
            ends = [(s.times[0], s.times[-1]) for s in stepped or self.series.values() if len(s)]
        else:
            ends = [(s.steps[0], s.steps[-1]) for s in stepped]
        if not ends:
            return None
        low, high = min(low for low, _ in ends), max(high for _, high in ends)
        if axis in AXIS_SOURCES:
            return self._from_step(axis, low), self._from_step(axis, high)
        return low, high

    def reference(self) -> Series | None:
        """The metric with the most points: it ties steps to time for telemetry."""
        return max(self._stepped(), key=len, default=None)

    def edges(self, series: Series, axis: str, xs: Sequence[float]) -> tuple[list[float], Key]:
        """Rising x positions on `axis` as the keys of `series`: steps, or unix times for telemetry."""
        if axis == "clock":
            return list(xs), "time"
        source = self.series.get(AXIS_SOURCES.get(axis, ""))
        steps = list(xs) if source is None else [_interpolate(source.values, source.steps, x) for x in xs]
        if not series.stepless:
            return steps, "step"
        tie = self.reference()
        return (steps if tie is None else [_interpolate(tie.steps, tie.times, s) for s in steps]), "time"

    def x_of(self, reading: Reading, axis: str) -> float:
        """The position of a point on `axis`."""
        if axis == "clock":
            return reading.t
        step = reading.step
        if math.isnan(step):
            tie = self.reference()
            if tie is None:
                return reading.t
            step = _interpolate(tie.times, tie.steps, reading.t)
        return self._from_step(axis, step)

    def _from_step(self, axis: str, step: float) -> float:
        source = self.series.get(AXIS_SOURCES.get(axis, ""))
        return step if source is None else _interpolate(source.steps, source.values, step)


def _same_events(metrics: Mapping[str, Points]) -> list[dict[str, StoredSeries]]:
    """The columns by the events they are of, which the store tells by giving them the same arrays."""
    groups: dict[int, dict[str, StoredSeries]] = {}
    for name, points in metrics.items():
        if isinstance(points, StoredSeries) and len(points):
            groups.setdefault(id(points.seq), {})[name] = points
    return list(groups.values())


def _stretches(metrics: Mapping[str, StoredSeries]) -> Iterator[Mapping[str, StoredSeries]]:
    """The same columns cut where another attempt begins or the step falls."""
    first = next(iter(metrics.values()))
    if never_falls(first.step) and first.attempt.count(first.attempt[0]) == len(first):
        yield metrics
        return
    falls = (i for i, (a, b) in enumerate(pairwise(first.step), 1) if b < a)
    cuts = {*falls, *(i for i, (a, b) in enumerate(pairwise(first.attempt), 1) if a != b)}
    for start, stop in pairwise([0, *sorted(cuts), len(first)]):
        yield {name: points.part(start, stop) for name, points in metrics.items()}


def _interpolate(xs: Sequence[float], ys: Sequence[float], x: float) -> float:
    """y at x on the polyline through (xs, ys), xs rising; beyond the ends along the end segment."""
    if len(xs) < 2:
        return ys[0] if ys else x
    right = min(max(bisect_left(xs, x), 1), len(xs) - 1)
    run = xs[right] - xs[right - 1]
    if run <= 0:
        return ys[right]
    return ys[right - 1] + (x - xs[right - 1]) / run * (ys[right] - ys[right - 1])
