"""Marks over a drawn canvas: evaluation points, the best one, non-finite values, alerts, names of runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.style import Style

from tui.plots.canvas import Band
from tui.plots.frame import Frame, PlotSpec
from tui.plots.layout import Glyphs, Mark
from tui.plots.points import Columns, Reading
from tui.plots.run_metrics import RunMetrics
from tui.plots.series import Series

SPARSE = 0.7
"""Points per cell column up to which every point gets a mark of its own."""


@dataclass(slots=True)
class Trace:
    """One run's series, shrunk to the canvas."""

    index: int
    run: RunMetrics
    series: Series
    raw: Columns
    smooth: Columns | None
    superseded: list[Columns] = field(default_factory=list)

    def shown(self) -> list[Columns]:
        """Everything that is drawn of the run. The raw line always is: an average hides spikes."""
        smooth = [] if self.smooth is None else [self.smooth]
        return [*smooth, self.raw, *self.superseded]


def marks(spec: PlotSpec, frame: Frame, traces: Sequence[Trace], glyphs: Glyphs) -> list[Mark]:
    """All marks of a plot, those that must stay visible last."""
    placed: list[Mark] = []
    margin = frame.width - frame.left - frame.columns
    names = shortened([legend.label for legend in frame.legends], margin - 1)
    for trace, legend, name in zip(traces, frame.legends, names, strict=True):
        line = spec.palette.line[trace.index]
        if shows_points(trace, frame.columns):
            placed += _points(spec, frame, trace, glyphs.point, line)
        placed += _outside(spec, frame, trace, glyphs)
        if legend.best is not None:
            placed += _at(frame, trace.run, legend.best, glyphs.best, line + Style(bold=True))
        for broken in trace.series.marks:
            reading = Reading(broken.step, broken.t, 0.0)
            placed += _at(frame, trace.run, reading, glyphs.broken, spec.palette.error, row=frame.rows - 1)
        placed += _end_label(spec, frame, trace, name, placed)
    for alert in spec.alerts:
        style = spec.palette.error if alert.level == "error" else spec.palette.warning
        placed += _at(frame, spec.runs[0], Reading(alert.step, alert.t, 0.0), glyphs.alert, style, row=0)
    return placed


def shows_points(trace: Trace, columns: int) -> bool:
    """Whether the line is so sparse that each of its points gets a mark."""
    return trace.smooth is None and 0 < trace.raw.points <= SPARSE * columns


def _points(spec: PlotSpec, frame: Frame, trace: Trace, glyph: str, style: Style) -> list[Mark]:
    dots = 2 if spec.unicode else 1
    pairs = zip(trace.raw.column, trace.raw.last, strict=True)
    rows = [(column // dots, _row(frame, value)) for column, value in pairs]
    return [Mark(row, column, glyph, style) for column, row in rows if row is not None]


def _outside(spec: PlotSpec, frame: Frame, trace: Trace, glyphs: Glyphs) -> list[Mark]:
    """An arrow at the edge for each column with a point beyond limits that were asked for."""
    dots = 2 if spec.unicode else 1
    style, (low, high) = spec.palette.line[trace.index], frame.y
    placed = []
    for column, bottom, top in zip(trace.raw.column, trace.raw.low, trace.raw.high, strict=True):
        if top > high:
            placed.append(Mark(0, column // dots, glyphs.above, style))
        if bottom < low:
            placed.append(Mark(frame.rows - 1, column // dots, glyphs.below, style))
    return placed


def _at(
    frame: Frame, run: RunMetrics, reading: Reading, glyph: str, style: Style, *, row: int | None = None
) -> list[Mark]:
    """A mark at a point, in its own row or a given one; none when the point is outside the limits."""
    x = run.x_of(reading, frame.view.axis)
    column = frame.column_at(x)
    height = frame.rows - row - 0.5 if row is not None else _height(frame, reading.value)
    row = _row(frame, reading.value) if row is None else row
    if column is None or row is None:
        return []
    across = (x - frame.x[0]) / (frame.x[1] - frame.x[0]) * frame.columns
    return [Mark(row, column, glyph, style, (across, height))]


def _row(frame: Frame, value: float) -> int | None:
    """The canvas row (0 = top) that shows a value; None when it lies outside the limits."""
    height = _height(frame, value)
    return frame.rows - 1 - min(frame.rows - 1, int(height + 1e-6)) if 0 <= height <= frame.rows else None


def _height(frame: Frame, value: float) -> float:
    """How high a value stands over the canvas's lower edge, in cells."""
    return Band(frame.columns, frame.rows, frame.y, frame.view.log).row(value)


def _end_label(spec: PlotSpec, frame: Frame, trace: Trace, name: str, taken: Sequence[Mark]) -> list[Mark]:
    """The run's name in the right margin beside the end of its line, moved away from other names."""
    margin = frame.width - frame.left - frame.columns
    if margin <= 0 or not trace.raw.last:
        return []
    shown = trace.smooth if trace.smooth is not None and trace.smooth.last else trace.raw
    height = Band(frame.columns, frame.rows, frame.y, frame.view.log).row(shown.last[-1])
    row = frame.rows - 1 - min(frame.rows - 1, int(max(0.0, min(float(frame.rows), height))))
    used = {mark.row for mark in taken if mark.column > frame.columns}
    free = sorted(range(frame.rows), key=lambda other: (other in used, abs(other - row)))
    return [Mark(free[0], frame.columns + 1, name, spec.palette.line[trace.index])]


def shortened(names: Sequence[str], room: int) -> list[str]:
    """Names in at most `room` characters: cut at the end, or in front where their ends tell them apart."""
    cut = [name if len(name) <= room else f"{name[: max(0, room - 1)]}…" for name in names]
    if len(set(cut)) == len(set(names)) or room < 2:
        return cut
    return [name if len(name) <= room else f"…{name[1 - room :]}" for name in names]
