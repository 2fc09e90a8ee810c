"""Lines made out of several runs for one plot: how far runs lie apart, and the mean and band of groups.

They are computed by `remote.comparison`, which the tables of figures come from too, from what the plot thread
has of the runs, each time a plot is drawn.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from remote.comparison.comparison import band_line
from remote.comparison.curves import RunCurves, Track
from remote.comparison.groups import Group
from remote.comparison.lines import BandKind, Line, Numbers, gap
from remote.comparison.table import Columns
from remote.metrics import AXIS_SOURCES
from tui.plots.draw import smooth_in_view
from tui.plots.frame import MAX_RUNS, PlotSpec, View
from tui.plots.points import Aggregate, Key, Keys, Reading
from tui.plots.pyramid import MinMaxPyramid
from tui.plots.run_metrics import RunMetrics
from tui.plots.series import Series


class MadeSeries(Series):
    """A line over an axis, its x standing in for steps, with a faint line or a band behind it."""

    def __init__(self, line: Line, *, faint: Line | None = None, decay: float = 0.0) -> None:
        super().__init__()
        self.where = Keys(array("d", line.x), array("d", line.x))
        bright = MinMaxPyramid()
        bright.adopt(array("d", line.y))
        self.raw = bright
        if faint is not None:
            self.raw, self._ema = MinMaxPyramid(), bright
            self.raw.adopt(array("d", np.interp(line.x, faint.x, faint.y)))
        self._beta = decay

    def set_smoothing(self, beta: float) -> None:
        """Nothing: the lines it is made of are smoothed."""


class BandSeries(MadeSeries):
    """The mean of a group over its band: the band is what the faint columns reach over."""

    def __init__(self, mean: Line, low: Numbers, high: Numbers, *, decay: float = 0.0) -> None:
        super().__init__(mean, faint=mean, decay=decay)
        self._low, self._high = MinMaxPyramid(), MinMaxPyramid()
        self._low.adopt(array("d", low))
        self._high.adopt(array("d", high))

    def band(self, view: range) -> tuple[array[float], array[float]]:
        at = slice(view.start, view.stop)
        return self._low.values[at], self._high.values[at]

    def _aggregate(self, start: int, stop: int, smooth: bool, positive: bool) -> tuple[Aggregate | None, int]:
        if smooth:
            return super()._aggregate(start, stop, smooth, positive)
        low = min(self._low.values[start:stop])
        high = max(self._high.values[start:stop])
        if positive and high <= 0:
            return None, stop - start
        if positive and low <= 0:
            low = min(value for value in self.values[start:stop] if value > 0) if high > 0 else high
        return Aggregate(low, low, high, self._high.values[stop - 1]), 0

    def drawn_at(self, index: int) -> Reading:
        return self.at(index)


class MadeMetrics(RunMetrics):
    """One metric that was made over `axis`; `extent` are the limits of the runs it was made of."""

    def __init__(self, label: str, axis: str, extent: tuple[float, float] | None) -> None:
        super().__init__(label)
        self._axis = axis
        self._extent = extent

    def axes(self) -> list[str]:
        return [self._axis]

    def x_range(self, axis: str) -> tuple[float, float] | None:
        return self._extent

    def edges(self, series: Series, axis: str, xs: Sequence[float]) -> tuple[list[float], Key]:
        return list(xs), "step"

    def x_of(self, reading: Reading, axis: str) -> float:
        return reading.step


def curves_of(run: RunMetrics, view: View, names: Collection[str] | None = None) -> RunCurves:
    """What the plot thread has of a run, smoothed as plots with `view` show it; only `names` where given."""
    tracks = {}
    for name, series in run.series.items():
        if series.stepless or not len(series) or not (names is None or name in names):
            continue
        smooth_in_view(series, _in_view(run, series, view), view.smoothing, name)
        raw = _rising(Line.of(series.steps, series.values))
        smooth = _rising(Line.of(*series.bright_line())) if series.layered else None
        tracks[name] = Track(raw, smooth, len(series.marks), sum(map(len, series.superseded)))
    return RunCurves(run.label, tracks)


def _in_view(run: RunMetrics, series: Series, view: View) -> int:
    if view.x is None or view.axis not in run.axes():
        return len(series)
    (low, high), by = run.edges(series, view.axis, view.x)
    return len(series.within(low, high, by))


def _rising(line: Line) -> Line:
    """Of several points at one step the last."""
    last = np.append(np.diff(line.x) > 0, True)
    return line if last.all() else Line(line.x[last], line.y[last])


def _source(spec: PlotSpec) -> object:
    """What the lines of a plot are made from: other than before when they have to be made anew."""
    view, names = spec.view, (spec.metric, *AXIS_SOURCES.values())
    points = [
        (id(run), [(len(s), s.attempt, len(s.marks)) for name in names if (s := run.series.get(name))])
        for run in spec.runs
    ]
    ranges = [run.x_range(view.axis) for run in spec.runs]
    return view.axis, view.smoothing, view.x if view.smoothing else None, points, ranges


@dataclass(frozen=True)
class Derivation:
    """Turns the runs of a plot into a line a group, or into the distances of the groups to the first.

    `labels` name the groups at the ends of their lines. At most as many lines as a plot can tell apart.
    """

    groups: tuple[Group, ...]
    labels: tuple[str, ...]
    gap: bool = False
    band: BandKind = "range"
    caption: str = ""
    _made: dict[str, tuple[object, tuple[RunMetrics, ...]]] = field(
        default_factory=dict, repr=False, compare=False
    )
    """By metric what it was made from last, and the lines."""

    def __call__(self, spec: PlotSpec) -> PlotSpec:
        source = _source(spec)
        if self._made.get(spec.metric, ("",))[0] != source:
            self._made[spec.metric] = source, self._make(spec)
        caption = self.caption if self.gap or any(len(group.members) > 1 for group in self.groups) else ""
        return replace(spec, runs=self._made[spec.metric][1], derive=None, caption=caption, signed=self.gap)

    def _make(self, spec: PlotSpec) -> tuple[RunMetrics, ...]:
        axis = spec.view.axis
        names = {spec.metric, *AXIS_SOURCES.values()}
        curves = [curves_of(run, spec.view, names) for run in spec.runs]
        columns = Columns(curves, self.groups, axis, self.band)
        ranges = [limits for run in spec.runs if axis in run.axes() and (limits := run.x_range(axis))]
        extent = (min(map(min, ranges)), max(map(max, ranges))) if ranges else None
        decay = max((s.decay for run in spec.runs if (s := run.series.get(spec.metric))), default=0.0)
        made = self._gaps(columns, spec.metric, decay) if self.gap else self._means(columns, spec, decay)
        labels = self.labels[1:] if self.gap else self.labels
        runs = []
        for label, series in zip(labels, made[:MAX_RUNS], strict=False):
            run = MadeMetrics(label, axis, extent)
            if series is not None:
                run.series[spec.metric] = series
            runs.append(run)
        return tuple(runs)

    def _gaps(self, columns: Columns, metric: str, decay: float) -> list[Series | None]:
        bright, faint = (
            [band_line(columns, metric, group, raw=raw) for group in columns.groups] for raw in (False, True)
        )
        made: list[Series | None] = []
        for shown, raw in zip(bright[1:], faint[1:], strict=True):
            if bright[0] is None or faint[0] is None or shown is None or raw is None:
                made.append(None)
                continue
            line = gap(bright[0].mean, shown.mean)
            behind = gap(faint[0].mean, raw.mean) if decay else None
            made.append(MadeSeries(line, faint=behind, decay=decay) if len(line) else None)
        return made

    def _means(self, columns: Columns, spec: PlotSpec, decay: float) -> list[Series | None]:
        made: list[Series | None] = []
        for group in columns.groups:
            found = band_line(columns, spec.metric, group)
            if found is None or not len(found.mean):
                made.append(None)
            elif found.count > 1:
                made.append(BandSeries(found.mean, found.low, found.high, decay=decay))
            else:
                raw = band_line(columns, spec.metric, group, raw=True) if decay else None
                faint = raw.mean if raw is not None else None
                made.append(MadeSeries(found.mean, faint=faint, decay=decay))
        return made
