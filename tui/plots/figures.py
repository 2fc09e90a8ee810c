"""The figures that a plot's title and cursor tell: read off what is drawn, never off what is not."""

from __future__ import annotations

import math

from remote.metrics import better, evaluated
from tui.plots.frame import Figures, Legend, PlotSpec
from tui.plots.marks import Trace
from tui.plots.points import Columns, Reading
from tui.plots.series import Series


def legend_of(spec: PlotSpec, trace: Trace, x: tuple[float, float], columns: int) -> Legend:
    """The legend of one run over the x limits `x`, with a reading for each of `columns` cell columns."""
    line = trace.raw if trace.smooth is None else trace.smooth
    return Legend(
        trace.run.label,
        trace.index,
        points=len(trace.series),
        line=_figures(line),
        raw=None if trace.smooth is None else _figures(trace.raw),
        decay=0.0 if trace.smooth is None else trace.series.decay,
        best=_best(spec, trace, x),
        readings=_readings(spec, trace, x, columns),
        trend=_trend(trace.series),
    )


def _figures(line: Columns) -> Figures | None:
    return Figures(line.last[-1], min(line.low), max(line.high)) if line.column else None


def _best(spec: PlotSpec, trace: Trace, x: tuple[float, float]) -> Reading | None:
    """The run's best evaluation; None while more are to be read, where it is out of view, or on a log axis
    that cannot show it."""
    direction, stats = better(spec.metric), trace.series.stats()
    if stats is None or direction == 0 or not evaluated(spec.metric) or spec.view.partial or spec.signed:
        return None
    best = stats.lowest if direction < 0 else stats.highest
    in_view = x[0] <= trace.run.x_of(best, spec.view.axis) <= x[1]
    return best if in_view and (best.value > 0 or not spec.view.log) else None


def _readings(spec: PlotSpec, trace: Trace, x: tuple[float, float], columns: int) -> list[Reading | None]:
    """The point in view nearest to each column's centre; None well before the first or after the last."""
    series = trace.series
    width = (x[1] - x[0]) / columns
    centres = [x[0] + width * (column + 0.5) for column in range(columns)]
    (first, *keys, last), by = trace.run.edges(series, spec.view.axis, [x[0], *centres, x[1]])
    view = series.within(first, last, by)
    if not view:
        return [None] * columns
    known = series.keys(by)
    reach = max(last - first, known[-1] - known[0]) / min(columns, len(series))
    readings: list[Reading | None] = []
    for key in keys:
        index = series.nearest(key, by)
        if index is None or not known[0] - reach <= key <= known[-1] + reach:
            readings.append(None)
        else:
            index = min(max(index, view.start), view.stop - 1)
            readings.append(_drawn(series, index, trace.smooth is not None, spec.view.log))
    return readings


def _drawn(series: Series, index: int, smooth: bool, log: bool) -> Reading | None:
    reading = series.drawn_at(index) if smooth else series.at(index)
    if not log:
        return reading
    if reading.value <= 0:
        return None
    shown = reading.raw is None or reading.raw > 0
    return reading if shown else Reading(reading.step, reading.t, reading.value)


def _trend(series: Series) -> float:
    size = min(500, max(1, len(series) // 20))
    if len(series) < 2 * size:
        return 0.0
    latest, earlier = sum(series.values[-size:]) / size, sum(series.values[-2 * size : -size]) / size
    scale = max(abs(latest), abs(earlier))
    return (latest - earlier) / scale if math.isfinite(scale) and scale > 0 else 0.0
