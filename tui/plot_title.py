"""The title row of a plot: the metric's name and, as far as they fit, figures or the cursor's readings."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from tui.palette import Palette
from tui.plot_frame import Frame, Legend
from tui.run_metrics import better
from tui.series import Reading
from tui.text import clock, number

Part = list[tuple[str, Style]]
"""Text that is shown whole or not at all."""

_FLAT = 1e-4


def title(
    metric: str, frame: Frame | None, cursor: float | None, width: int, colours: Palette, focused: bool
) -> Strip:
    """Name at the left, figures at the right, the less important ones dropped until they fit."""
    name = [("▌" if focused else " ", colours.focus), (metric, colours.focus if focused else colours.title)]
    left: list[Part] = [name]
    right: list[Part] = []
    if frame is not None:
        left += _modes(frame, colours)
        column = None if cursor is None else frame.column_at(cursor)
        right = _figures(metric, frame, colours) if column is None else _readings(frame, column, colours)
    return _fit(left, right, width, colours)


def _modes(frame: Frame, colours: Palette) -> list[Part]:
    parts: list[Part] = []
    view = frame.view
    if view.smoothing:
        parts.append([(f" ⟨ema {view.smoothing:g}⟩".replace("0.", "."), colours.muted)])
    if view.log:
        parts.append([(" log", colours.muted)])
    if view.superseded:
        parts.append([(" +superseded", colours.muted)])
    parts += [[(f" ✖ {note}", colours.error)] for note in frame.notes]
    return parts


def _figures(metric: str, frame: Frame, colours: Palette) -> list[Part]:
    if len(frame.legends) > 1:
        return [
            _named(legend, legend.stats.last if legend.stats else None, colours) for legend in frame.legends
        ]
    legend = frame.legends[0] if frame.legends else None
    if legend is None or legend.stats is None:
        return []
    stats = legend.stats
    arrow = "" if abs(legend.trend) < _FLAT else " ▲" if legend.trend > 0 else " ▼"
    wanted = better(metric)
    style = colours.muted if not wanted else colours.good if legend.trend * wanted > 0 else colours.warning
    parts: list[Part] = [[(number(stats.last.value), colours.title), (arrow, style)]]
    if legend.best is not None:
        parts.append([("  best ", colours.muted), *_at(legend.best, colours)])
    if wanted >= 0:
        parts.append([("  min ", colours.muted), (number(stats.lowest.value), colours.text)])
    if wanted <= 0:
        parts.append([("  max ", colours.muted), (number(stats.highest.value), colours.text)])
    return parts


def _at(reading: Reading, colours: Palette) -> Part:
    text: Part = [(number(reading.value), colours.text)]
    if not math.isnan(reading.step):
        text.append((f" @{reading.step:,.0f}", colours.muted))
    return text


def _named(legend: Legend, reading: Reading | None, colours: Palette) -> Part:
    value = "–" if reading is None else number(reading.value)
    return [("  ● ", colours.line[legend.role]), (legend.label + " ", colours.muted), (value, colours.title)]


def _readings(frame: Frame, column: int, colours: Palette) -> list[Part]:
    readings = [legend.readings[column] if legend.readings else None for legend in frame.legends]
    first = next((reading for reading in readings if reading is not None), None)
    if first is None:
        return []
    where = clock(first.t) if math.isnan(first.step) else f"step {first.step:,.0f}"
    approximate = "≈" if frame.approximate else ""
    parts: list[Part] = [[(f"{approximate}{where}", colours.muted)]]
    if len(readings) == 1:
        return [[(f"{approximate}{where}  ", colours.muted), (number(first.value), colours.title)]]
    return parts + [
        _named(legend, reading, colours) for legend, reading in zip(frame.legends, readings, strict=True)
    ]


def _fit(left: list[Part], right: list[Part], width: int, colours: Palette) -> Strip:
    def length(parts: Sequence[Part]) -> int:
        return sum(len(text) for part in parts for text, _ in part)

    while length(left) + length(right) + 2 > width and (len(right) > 1 or len(left) > 1):
        if len(right) > 1:
            right = right[:-1]
        else:
            left = left[:-1]
    if length(left) + length(right) + 1 > width:
        right = []
    space = max(0, width - length(left) - length(right) - 1)
    parts = [*left, [(" " * space, colours.text)], *right, [(" ", colours.text)]]
    segments = [Segment(text, style) for part in parts for text, style in part if text]
    return Strip(segments).adjust_cell_length(width, colours.text)
