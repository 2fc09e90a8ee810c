"""From metrics to a finished frame: limits, canvas, ticks and readings, drawn off the event loop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from rich.style import Style

from nanochat.common.smoothing import decay
from remote.metrics import noisy
from tui.plots.canvas import Band, polylines
from tui.plots.figures import legend_of
from tui.plots.frame import MAX_RUNS, Frame, Legend, PlotSpec
from tui.plots.layout import ASCII, UNICODE, Layout, place_labels, strips
from tui.plots.marks import Trace, marks
from tui.plots.points import Columns
from tui.plots.raster import Polyline, dots_per_cell, rasterise
from tui.plots.run_metrics import RunMetrics
from tui.plots.scale import Scale, fitted, given
from tui.plots.series import Series
from tui.plots.ticks import LABEL_WIDTH, Tick, clock_ticks, duration_ticks, linear_ticks
from tui.style.palette import Palette

FAINT, DIMMED = MAX_RUNS, 2 * MAX_RUNS
"""Roles: run i draws its line in role i, its raw line in FAINT + i, its superseded points in DIMMED + i."""

HUGE = 1e300
"""Limits of an axis, so that sums and differences of limits stay finite."""

_NOTHING = Series()


@dataclass(frozen=True, slots=True)
class Arranged:
    """A plot before its dots: the strips on screen and exported pictures are made from the same.

    `spec` is on an axis that its runs have. Without a point there are no traces, no scale and no layout.
    `x_ticks` are the ticks with a label, by their canvas column.
    """

    spec: PlotSpec
    frame: Frame
    traces: Sequence[Trace] = ()
    scale: Scale | None = None
    layout: Layout | None = None
    x_ticks: Mapping[int, Tick] = field(default_factory=dict)


def draw_frame(spec: PlotSpec) -> Frame:
    """Draw one plot. Takes milliseconds whatever the number of points; runs on the plot thread only."""
    made = arrange(spec)
    if made.layout is None:
        return made.frame
    spec, frame, layout = made.spec, made.frame, made.layout
    across, up = dots_per_cell(spec.unicode)
    band = Band(across * frame.columns, up * frame.rows, frame.y, spec.view.log)
    lines = _lines(made.traces, band, frame.x, spec.view.axis)
    canvas = rasterise(lines, frame.columns, frame.rows, unicode=spec.unicode)
    laid_over = marks(spec, frame, made.traces, layout.glyphs)
    return replace(frame, strips=strips(canvas, _roles(spec.palette), laid_over, layout))


def arrange(spec: PlotSpec) -> Arranged:
    """The limits, canvas, ticks and readings of a plot. Runs on the plot thread only."""
    spec = _on_known_axis(spec)
    spec, lacking = _placed(spec if spec.derive is None else spec.derive(spec))
    left = min(LABEL_WIDTH + 1, max(0, spec.width - 8))
    below = 2 if spec.height >= 9 else 1 if spec.height >= 3 else 0
    margin = _label_margin(spec, spec.width - left)
    columns, rows = max(1, spec.width - left - margin), max(1, spec.height - below)
    extent = _extent(spec)
    if extent is None:
        return Arranged(spec, replace(_empty(spec, left, columns, rows), caption=spec.caption))
    x = spec.view.x or extent
    across, _ = dots_per_cell(spec.unicode)
    traces = trace_lines(spec, x, across * columns)
    scale = _y_scale(spec, traces, rows, max(1, left - 1))
    frame = Frame(
        width=spec.width,
        height=spec.height,
        left=left,
        columns=columns,
        rows=rows,
        x=x,
        y=(scale.low, scale.high),
        extent=extent,
        view=spec.view,
        legends=[legend_of(spec, trace, x, columns) for trace in traces],
        notes=[*_notes([trace.series for trace in traces], sum(t.raw.dropped for t in traces)), *lacking],
        approximate=any(trace.series.stepless for trace in traces) and spec.view.axis != "clock",
        caption=spec.caption,
    )
    layout = _layout(spec, frame, scale, below)
    ticks = _x_labels(frame, layout) if below else {}
    layout = replace(layout, x_labels={column: tick.label for column, tick in ticks.items()})
    return Arranged(spec, frame, traces, scale, layout, ticks)


def _empty(spec: PlotSpec, left: int, columns: int, rows: int) -> Frame:
    return Frame(
        width=spec.width,
        height=spec.height,
        left=left,
        columns=columns,
        rows=rows,
        x=(0.0, 1.0),
        y=(0.0, 1.0),
        extent=(0.0, 1.0),
        view=spec.view,
        legends=[Legend(run.label, role) for role, run in enumerate(spec.runs)],
        notes=_notes([run.series.get(spec.metric, _NOTHING) for run in spec.runs]),
    )


def _on_known_axis(spec: PlotSpec) -> PlotSpec:
    """Fall back to steps, or to the clock for metrics without steps, when no run has the axis asked for."""
    known = {axis for run in spec.runs for axis in run.axes()}
    if spec.view.axis in known:
        return spec
    return replace(spec, view=replace(spec.view, axis="step" if "step" in known else "clock"))


def _placed(spec: PlotSpec) -> tuple[PlotSpec, list[str]]:
    """The spec without the points of runs that have no place on the axis, and a note on those."""
    axis = spec.view.axis
    lacking = [run for run in spec.runs if run.series and axis not in run.axes()]
    if not lacking:
        return spec, []
    kept = tuple(RunMetrics(run.label) if run in lacking else run for run in spec.runs)
    return replace(spec, runs=kept), [f"{run.label} has no {axis}" for run in lacking]


def _roles(palette: Palette) -> dict[int, Style]:
    roles = {-1: palette.rule}
    for index in range(MAX_RUNS):
        roles[index] = palette.line[index]
        roles[FAINT + index] = palette.faint[index]
        roles[DIMMED + index] = palette.muted
    return roles


def _label_margin(spec: PlotSpec, room: int) -> int:
    """Columns kept free at the right for the names of overlaid runs."""
    if (len(spec.runs) < 2 and not spec.signed) or room < 24:
        return 0
    return min(12 if room >= 40 else 7, max((len(run.label) for run in spec.runs), default=0)) + 1


def _extent(spec: PlotSpec) -> tuple[float, float] | None:
    """The x limits that hold every metric of every run, so that the plots of a grid align."""
    ranges = [limits for run in spec.runs if (limits := run.x_range(spec.view.axis))]
    if not ranges:
        return None
    low, high = _bounded(min(map(min, ranges)), max(map(max, ranges)))
    half = max(0.5, abs(low) * 1e-3)
    return (low, high) if high > low else (low - half, low + half)


def _bounded(low: float, high: float) -> tuple[float, float]:
    """Limits whose difference a double can hold; values beyond them are clipped."""
    return max(-HUGE, min(HUGE, low)), max(-HUGE, min(HUGE, high))


def _edges(limits: tuple[float, float], columns: int) -> list[float]:
    low, high = limits
    return [low + (high - low) * index / columns for index in range(columns)] + [high]


def trace_lines(spec: PlotSpec, x: tuple[float, float], columns: int) -> list[Trace]:
    """The metric of each run over the x limits `x`, shrunk to `columns` columns of dots."""
    view, xs, traces = spec.view, _edges(x, columns), []
    for index, run in enumerate(spec.runs):
        series = run.series.get(spec.metric, _NOTHING)
        edges, by = run.edges(series, view.axis, xs)
        smooth_in_view(series, len(series.within(edges[0], edges[-1], by)), view.smoothing, spec.metric)
        raw = series.downsample(edges, by, positive=view.log)
        smooth = series.downsample(edges, by, smooth=True, positive=view.log) if series.layered else None
        aside = series.superseded if view.superseded else ()
        old = [part.downsample(edges, by, positive=view.log) for part in aside]
        traces.append(Trace(index, run, series, raw=raw, smooth=smooth, superseded=old))
    return traces


def smooth_in_view(series: Series, points: int, share: float, metric: str) -> None:
    """Smooths a noisy metric over `share` of its `points` in view, before it is shrunk to columns."""
    series.set_smoothing(decay(points, share if noisy(metric) else 0.0))


def _y_scale(spec: PlotSpec, traces: Sequence[Trace], rows: int, width: int) -> Scale:
    """Limits that hold every point in view, so that no spike is lost, and stay as long as points fit."""
    log = spec.view.log
    if spec.view.y is not None:
        return given(*spec.view.y, rows=rows, log=log, width=width)
    shown = [columns for trace in traces for columns in trace.shown() if columns.column]
    if not shown:
        return fitted(0.1 if log else 0.0, 1.0, rows=rows, log=log, width=width)
    low, high = _bounded(min(min(c.low) for c in shown), max(max(c.high) for c in shown))
    if spec.signed and not log:
        low, high = min(0.0, low), max(0.0, high)
    return fitted(low, high, rows=rows, log=log, width=width)


def _lines(traces: Sequence[Trace], band: Band, x: tuple[float, float], axis: str) -> list[Polyline]:
    """Superseded dots, then faint, then bright lines, the first run last: a braille cell has one colour."""
    lines: list[Polyline] = []
    for trace in traces:
        for columns in trace.superseded:
            lines += polylines(columns, band, DIMMED + trace.index, before=None, after=None, joined=False)
    for trace in reversed(traces):
        if trace.smooth is not None:
            lines += _curve(trace, trace.raw, FAINT + trace.index, band, x=x, axis=axis)
    for trace in reversed(traces):
        bright = trace.raw if trace.smooth is None else trace.smooth
        lines += _curve(trace, bright, trace.index, band, x=x, axis=axis)
    return lines


def _curve(
    trace: Trace, columns: Columns, role: int, band: Band, *, x: tuple[float, float], axis: str
) -> list[Polyline]:
    before, after = neighbours(trace, columns, band, x=x, axis=axis)
    return polylines(columns, band, role, before=before, after=after)


def neighbours(
    trace: Trace, columns: Columns, band: Band, *, x: tuple[float, float], axis: str
) -> tuple[float | None, float | None]:
    """Where the points just outside the limits lie, in columns of dots: a zoomed line still leads to them."""

    def place(neighbour: tuple[float, float] | None) -> float | None:
        if neighbour is None:
            return None
        index = trace.series.nearest(neighbour[0], "time" if axis == "clock" else "step")
        if index is None:
            return None
        at = trace.run.x_of(trace.series.at(index), axis)
        return (at - x[0]) / (x[1] - x[0]) * band.columns

    return place(columns.before), place(columns.after)


def _notes(shown: Sequence[Series], dropped: int = 0) -> list[str]:
    """What the plot cannot show: non-finite values by kind, and values that a log axis leaves out."""
    kinds = Counter(mark.kind for series in shown for mark in series.marks)
    notes = [f"{count:,} {kind}" for kind, count in sorted(kinds.items())]
    return [*notes, f"{dropped:,} ≤ 0 left out"] if dropped else notes


def _layout(spec: PlotSpec, frame: Frame, scale: Scale, below: int) -> Layout:
    name = frame.view.axis_name or {"active time": "active"}.get(frame.view.axis, frame.view.axis)
    return Layout(
        width=frame.width,
        left=frame.left,
        columns=frame.columns,
        below=below,
        y_labels=scale.labels,
        grid=scale.grid,
        x_labels={},
        axis_name=name,
        glyphs=UNICODE if spec.unicode else ASCII,
        text=spec.palette.muted,
        rule=spec.palette.rule,
    )


def _x_labels(frame: Frame, layout: Layout) -> dict[int, Tick]:
    """As many ticks as have two cells of air between their labels, by canvas column."""
    ticks: dict[int, Tick] = {}
    for count in range(max(1, frame.columns // 5), 0, -1):
        ticks = {}
        for tick in _named_ticks(frame, count) if frame.view.places else _x_ticks(frame, count):
            column = frame.column_at(tick.value)
            if column is not None:
                ticks[column] = tick
        labels = {column: tick.label for column, tick in ticks.items()}
        places = place_labels(replace(layout, x_labels=labels), gap=2)
        if len(places) == len(labels):
            break
    return ticks


def _named_ticks(frame: Frame, count: int) -> list[Tick]:
    """At most `count` of the named places in sight, at equal distances by number."""
    shown = [Tick(x, label) for x, label in frame.view.places if frame.x[0] <= x <= frame.x[1]]
    return shown[:: max(1, -(-len(shown) // count))]


def _x_ticks(frame: Frame, count: int) -> list[Tick]:
    if frame.view.axis == "clock":
        return clock_ticks(*frame.x, count)
    if frame.view.axis == "active time":
        return duration_ticks(*frame.x, count)
    return linear_ticks(*frame.x, count, least=1.0)  # steps, tokens and FLOPs are counted
