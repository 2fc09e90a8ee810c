"""From metrics to a finished picture: limits, canvas, ticks and marks, drawn off the event loop.

A `Frame` is immutable: the widget shows its strips and reads its mapping and readings without touching the
series, which belong to the plot thread.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from rich.style import Style
from textual.strip import Strip

from tui.canvas import Band, polylines
from tui.palette import Palette
from tui.plot_layout import ASCII, UNICODE, Glyphs, Layout, Mark, strips
from tui.plotting import Polyline, dots_per_cell, rasterise
from tui.run_metrics import RunMetrics, better, noisy
from tui.series import Columns, Reading, Series, Stats
from tui.ticks import LABEL_WIDTH, Tick, clock_ticks, duration_ticks, linear_ticks, log_ticks, nice_step

MAX_RUNS = 4
FAINT, DIMMED = MAX_RUNS, 2 * MAX_RUNS
"""Roles: run i draws its line in role i, its raw line in FAINT + i, its superseded points in DIMMED + i."""


@dataclass(frozen=True, slots=True)
class View:
    """How a plot looks at its metric. `x` and `y` are the limits asked for, None for all there is."""

    axis: str = "step"
    x: tuple[float, float] | None = None
    y: tuple[float, float] | None = None
    log: bool = False
    smoothing: float = 0.0
    raw: bool = True
    superseded: bool = False


@dataclass(frozen=True, slots=True)
class Alert:
    """A mark on the x axis: a loss spike, a stall, a non-finite step."""

    step: float
    t: float
    level: str = "warn"


@dataclass(frozen=True, slots=True)
class PlotSpec:
    """Everything a frame is drawn from; width and height are the cells below the title row."""

    metric: str
    runs: tuple[RunMetrics, ...]
    view: View
    width: int
    height: int
    palette: Palette
    unicode: bool = True
    alerts: tuple[Alert, ...] = ()


@dataclass(frozen=True, slots=True)
class Legend:
    """One run in one plot: its label, statistics, best point, a reading per cell column, and its trend.

    `trend` is the relative change from the twentieth of its points before last to the last twentieth.
    """

    label: str
    role: int
    stats: Stats | None
    best: Reading | None
    readings: Sequence[Reading | None]
    trend: float = 0.0


@dataclass(frozen=True, slots=True)
class Frame:
    """A drawn plot. The canvas begins at cell (`left`, 0) and is `columns` × `rows` cells.

    `x` and `y` are the limits shown, `extent` those of the whole run on the x axis.
    """

    width: int
    height: int
    left: int
    columns: int
    rows: int
    x: tuple[float, float]
    y: tuple[float, float]
    extent: tuple[float, float]
    view: View
    strips: Sequence[Strip] = ()
    legends: Sequence[Legend] = ()
    notes: Sequence[str] = ()
    approximate: bool = False

    @property
    def empty(self) -> bool:
        return all(legend.stats is None for legend in self.legends)

    def x_at(self, column: float) -> float:
        """The x in data units at the centre of a canvas column (0 = leftmost)."""
        return self.x[0] + (self.x[1] - self.x[0]) * (column + 0.5) / max(1, self.columns)

    def column_at(self, x: float) -> int | None:
        """The canvas column that holds x, None outside the limits."""
        low, high = self.x
        if not low <= x <= high:
            return None
        return min(self.columns - 1, int((x - low) / (high - low) * self.columns))

    def y_at(self, row: float) -> float:
        """The y in data units at the centre of a canvas row (0 = top)."""
        fraction = 1 - (row + 0.5) / max(1, self.rows)
        low, high = (math.log10(self.y[0]), math.log10(self.y[1])) if self.view.log else self.y
        value = low + (high - low) * fraction
        return float(10**value) if self.view.log else value


@dataclass(slots=True)
class _Trace:
    """One run's series, shrunk to the canvas."""

    index: int
    run: RunMetrics
    series: Series
    raw: Columns
    smooth: Columns | None
    superseded: list[Columns] = field(default_factory=list)

    def shown(self, view: View) -> list[Columns]:
        curves = [self.smooth] if self.smooth is not None else []
        if self.smooth is None or view.raw:
            curves.append(self.raw)
        return curves + self.superseded


def draw_frame(spec: PlotSpec) -> Frame:
    """Draw one plot. Takes milliseconds whatever the number of points; runs on the plot thread only."""
    left = min(LABEL_WIDTH + 1, max(0, spec.width - 8))
    below = 2 if spec.height >= 9 else 1 if spec.height >= 3 else 0
    margin = _label_margin(spec, spec.width - left)
    columns, rows = max(1, spec.width - left - margin), max(1, spec.height - below)
    extent = _extent(spec)
    if extent is None:
        legends = [Legend(run.label, i, None, None, ()) for i, run in enumerate(spec.runs)]
        nowhere = (0.0, 1.0)
        return Frame(
            spec.width,
            spec.height,
            left,
            columns,
            rows,
            nowhere,
            nowhere,
            nowhere,
            spec.view,
            legends=legends,
        )
    x = spec.view.x or extent
    across, up = dots_per_cell(spec.unicode)
    traces = _traces(spec, x, across * columns)
    y = _y_limits(spec, traces)
    band = Band(across * columns, up * rows, y, spec.view.log)
    frame = Frame(
        width=spec.width,
        height=spec.height,
        left=left,
        columns=columns,
        rows=rows,
        x=x,
        y=y,
        extent=extent,
        view=spec.view,
        legends=[_legend(spec, trace, x, columns) for trace in traces],
        notes=_notes(traces),
        approximate=any(trace.series.stepless for trace in traces) and spec.view.axis != "clock",
    )
    canvas = rasterise(_lines(spec, traces, band, x), columns, rows, unicode=spec.unicode)
    layout = _layout(spec, frame, below)
    marks = _marks(spec, frame, traces, layout.glyphs)
    return replace(frame, strips=strips(canvas, _roles(spec.palette), marks, layout))


def _roles(palette: Palette) -> dict[int, Style]:
    roles = {-1: palette.rule}
    for index in range(MAX_RUNS):
        roles[index] = palette.line[index]
        roles[FAINT + index] = palette.faint[index]
        roles[DIMMED + index] = palette.muted
    return roles


def _label_margin(spec: PlotSpec, room: int) -> int:
    """Columns kept free at the right for the names of overlaid runs."""
    if len(spec.runs) < 2 or room < 40:
        return 0
    return min(12, max(len(run.label) for run in spec.runs)) + 1


def _extent(spec: PlotSpec) -> tuple[float, float] | None:
    """The x limits that hold every metric of every run, so that the plots of a grid align."""
    ranges = [limits for run in spec.runs if (limits := run.x_range(spec.view.axis))]
    if not ranges:
        return None
    low, high = min(r[0] for r in ranges), max(r[1] for r in ranges)
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _edges(limits: tuple[float, float], columns: int) -> list[float]:
    low, high = limits
    return [low + (high - low) * index / columns for index in range(columns)] + [high]


def _traces(spec: PlotSpec, x: tuple[float, float], columns: int) -> list[_Trace]:
    view, xs, traces = spec.view, _edges(x, columns), []
    for index, run in enumerate(spec.runs):
        series = run.series.get(spec.metric, _NOTHING)
        series.set_smoothing(view.smoothing)
        edges, by = run.edges(series, view.axis, xs)
        raw = series.downsample(edges, by, positive=view.log)
        smooth = series.downsample(edges, by, smooth=True, positive=view.log) if view.smoothing else None
        aside = series.superseded if view.superseded else ()
        old = [part.downsample(edges, by, positive=view.log) for part in aside]
        traces.append(_Trace(index, run, series, raw, smooth, old))
    return traces


def _y_limits(spec: PlotSpec, traces: Sequence[_Trace]) -> tuple[float, float]:
    """The values in sight with a little air, snapped outwards to round numbers so that ticks stay put."""
    if spec.view.y is not None:
        return spec.view.y
    shown = [columns for trace in traces for columns in trace.shown(spec.view) if columns.column]
    if not shown:
        return (0.1, 1.0) if spec.view.log else (0.0, 1.0)
    low, high = min(min(c.low) for c in shown), max(max(c.high) for c in shown)
    if spec.view.log:
        bottom, top = math.log10(low), math.log10(high)
        air = max(0.02, 0.04 * (top - bottom))
        return 10 ** max(-307.0, bottom - air), 10 ** min(308.0, top + air)
    span = max(high - low, 2e-4 * max(abs(low), abs(high)), 1e-300)
    middle = low / 2 + high / 2
    step = nice_step(span / 16, 1)
    if not math.isfinite(span * 4) or middle - span == middle + span:
        return low - abs(low) / 2 - 1, high + abs(high) / 2 + 1
    floor = math.floor((middle - 0.53 * span) / step) * step
    return (0.0 if low >= 0 > floor else floor), math.ceil((middle + 0.53 * span) / step) * step


def _lines(spec: PlotSpec, traces: Sequence[_Trace], band: Band, x: tuple[float, float]) -> list[Polyline]:
    """Superseded dots, then raw, then smoothed lines, the first run last: a braille cell keeps one colour."""
    lines: list[Polyline] = []
    for trace in traces:
        for columns in trace.superseded:
            lines += polylines(columns, band, DIMMED + trace.index, before=None, after=None, joined=False)
    for trace in reversed(traces):
        if trace.smooth is None or spec.view.raw:
            role = trace.index if trace.smooth is None else FAINT + trace.index
            lines += _curve(trace, trace.raw, spec, band, x, role)
    for trace in reversed(traces):
        if trace.smooth is not None:
            lines += _curve(trace, trace.smooth, spec, band, x, trace.index)
    return lines


def _curve(
    trace: _Trace, columns: Columns, spec: PlotSpec, band: Band, x: tuple[float, float], role: int
) -> list[Polyline]:
    def place(neighbour: tuple[float, float] | None) -> float | None:
        if neighbour is None:
            return None
        index = trace.series.nearest(neighbour[0], "time" if spec.view.axis == "clock" else "step")
        if index is None:
            return None
        at = trace.run.x_of(trace.series.at(index), spec.view.axis)
        return (at - x[0]) / (x[1] - x[0]) * band.columns

    return polylines(columns, band, role, before=place(columns.before), after=place(columns.after))


def _legend(spec: PlotSpec, trace: _Trace, x: tuple[float, float], columns: int) -> Legend:
    series, stats = trace.series, trace.series.stats()
    readings: list[Reading | None] = [None] * columns
    if stats is not None:
        width = (x[1] - x[0]) / columns
        centres = [x[0] + width * (column + 0.5) for column in range(columns)]
        keys, by = trace.run.edges(series, spec.view.axis, centres)
        known = series.keys(by)
        reach = max(keys[-1] - keys[0], known[-1] - known[0]) / min(columns, max(1, len(series)))
        readings = [
            series.value_at(key, by) if known[0] - reach <= key <= known[-1] + reach else None for key in keys
        ]
    direction = better(spec.metric)
    best = None if stats is None or direction == 0 else stats.lowest if direction < 0 else stats.highest
    return Legend(trace.run.label, trace.index, stats, best, readings, _trend(series))


def _trend(series: Series) -> float:
    size = min(500, max(1, len(series) // 20))
    if len(series) < 2 * size:
        return 0.0
    latest, earlier = sum(series.values[-size:]) / size, sum(series.values[-2 * size : -size]) / size
    scale = max(abs(latest), abs(earlier))
    return (latest - earlier) / scale if math.isfinite(scale) and scale > 0 else 0.0


def _notes(traces: Sequence[_Trace]) -> list[str]:
    broken: dict[str, int] = {}
    for trace in traces:
        for mark in trace.series.marks:
            broken[mark.kind] = broken.get(mark.kind, 0) + 1
    notes = [f"{count:,} {kind}" for kind, count in sorted(broken.items())]
    dropped = sum(trace.raw.dropped for trace in traces)
    if dropped:
        notes.append(f"{dropped:,} ≤ 0 left out")
    return notes


def _layout(spec: PlotSpec, frame: Frame, below: int) -> Layout:
    band = Band(frame.columns, frame.rows, frame.y, frame.view.log)
    y_labels = {}
    for tick in _y_ticks(frame):
        row = band.row(tick.value)
        if 0 <= row <= frame.rows:
            y_labels[frame.rows - 1 - min(frame.rows - 1, int(row))] = tick.label
    x_labels = {}
    for tick in _x_ticks(frame):
        column = frame.column_at(tick.value)
        if column is not None:
            x_labels[column] = tick.label
    name = {"active time": "active"}.get(frame.view.axis, frame.view.axis)
    return Layout(
        width=frame.width,
        left=frame.left,
        columns=frame.columns,
        below=below,
        y_labels=y_labels,
        x_labels=x_labels,
        axis_name=name,
        glyphs=UNICODE if spec.unicode else ASCII,
        text=spec.palette.muted,
        rule=spec.palette.rule,
    )


def _y_ticks(frame: Frame) -> list[Tick]:
    count = max(1, min(6, frame.rows // 2))
    return log_ticks(*frame.y, count) if frame.view.log else linear_ticks(*frame.y, count)


def _x_ticks(frame: Frame) -> list[Tick]:
    count = max(1, min(10, frame.columns // 14))
    if frame.view.axis == "clock":
        return clock_ticks(*frame.x, count)
    return (
        duration_ticks(*frame.x, count) if frame.view.axis == "active time" else linear_ticks(*frame.x, count)
    )


def _marks(spec: PlotSpec, frame: Frame, traces: Sequence[_Trace], glyphs: Glyphs) -> list[Mark]:
    marks: list[Mark] = []
    band = Band(frame.columns, frame.rows, frame.y, frame.view.log)

    def put(run: RunMetrics, reading: Reading, glyph: str, style: Style, row: int | None = None) -> None:
        column = frame.column_at(run.x_of(reading, frame.view.axis))
        height = band.row(reading.value) if row is None else 0.0
        if column is None or not 0 <= height <= frame.rows:
            return
        top = frame.rows - 1 - min(frame.rows - 1, int(height)) if row is None else row
        marks.append(Mark(top, column, glyph, style))

    for trace, legend in zip(traces, frame.legends, strict=True):
        line = spec.palette.line[trace.index]
        if 0 < trace.raw.points <= 0.7 * frame.columns:
            for column, last in zip(trace.raw.column, trace.raw.last, strict=True):
                across = band.columns / (2 * band.columns if spec.unicode else band.columns)
                row = band.row(last)
                if 0 <= row <= frame.rows:
                    top = frame.rows - 1 - min(frame.rows - 1, int(row))
                    marks.append(Mark(top, int(column * across), glyphs.point, line))
        if legend.best is not None and not noisy(spec.metric):
            put(trace.run, legend.best, glyphs.best, line + Style(bold=True))
        for broken in trace.series.marks:
            put(
                trace.run,
                Reading(broken.step, broken.t, 0),
                glyphs.broken,
                spec.palette.error,
                frame.rows - 1,
            )
        marks += _end_label(spec, frame, trace, legend, marks)
    for alert in spec.alerts:
        style = spec.palette.error if alert.level == "error" else spec.palette.warning
        put(spec.runs[0], Reading(alert.step, alert.t, 0), glyphs.alert, style, 0)
    return marks


def _end_label(
    spec: PlotSpec, frame: Frame, trace: _Trace, legend: Legend, taken: Sequence[Mark]
) -> list[Mark]:
    """The run's name in the right margin beside the end of its line, moved off other names."""
    margin = frame.width - frame.left - frame.columns
    if margin <= 0 or not trace.raw.last:
        return []
    shown = trace.smooth if trace.smooth is not None and trace.smooth.last else trace.raw
    height = Band(frame.columns, frame.rows, frame.y, frame.view.log).row(shown.last[-1])
    row = frame.rows - 1 - min(frame.rows - 1, max(0, int(max(-1.0, height))))
    used = {mark.row for mark in taken if mark.column > frame.columns}
    free = sorted(range(frame.rows), key=lambda other: (other in used, abs(other - row)))
    label = legend.label if len(legend.label) < margin else legend.label[: margin - 2] + "…"
    return [Mark(free[0], frame.columns + 1, label, spec.palette.line[trace.index])]


_NOTHING = Series()
