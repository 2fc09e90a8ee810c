"""The title row of a plot: the metric's name and, where they fit, statistics or readings at the cursor."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from nanochat.common.text import clock, number
from tui.plots.frame import Frame, Legend
from tui.plots.run_metrics import better
from tui.plots.series import Reading
from tui.style.palette import Palette

Part = list[tuple[str, Style]]
"""Text that is shown completely or not at all."""

_FLAT = 1e-4


def title(
    metric: str, frame: Frame | None, *, cursor: float | None, width: int, colours: Palette, focused: bool
) -> Strip:
    """Name at the left, statistics or readings at the right; the least important are left out first."""
    name: Part = [
        ("▌" if focused else " ", colours.focus),
        (metric, colours.focus if focused else colours.title),
    ]
    column = None if frame is None or cursor is None else frame.column_at(cursor)
    if frame is None:
        return _fit([([name], [])], width, colours)
    modes = _modes(frame, colours)
    lefts = [[name, *modes[:count]] for count in range(len(modes), -1, -1)]
    if column is not None:
        readings = _readings(frame, column, colours)
        return _fit([(left, right) for right in readings for left in lefts], width, colours)
    statistics = _statistics(metric, frame, colours)
    rights = [statistics[:count] for count in range(len(statistics), 0, -1)]
    return _fit([(left, right) for left in lefts for right in rights] or [(lefts[0], [])], width, colours)


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


def _statistics(metric: str, frame: Frame, colours: Palette) -> list[Part]:
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


def _named(legend: Legend, reading: Reading | None, colours: Palette, label: bool = True) -> Part:
    value = "–" if reading is None else number(reading.value)
    name = legend.label + " " if label else ""
    return [("  ● ", colours.line[legend.role]), (name, colours.muted), (value, colours.title)]


def _readings(frame: Frame, column: int, colours: Palette) -> list[list[Part]]:
    """The values under the cursor, from the fullest form to the shortest."""
    readings = [legend.readings[column] if legend.readings else None for legend in frame.legends]
    first = next((reading for reading in readings if reading is not None), None)
    if first is None:
        return [[[("no value here", colours.muted)]], []]
    place = clock(first.t) if math.isnan(first.step) else f"step {first.step:,.0f}"
    where: Part = [(("≈ " if frame.approximate else "") + place, colours.muted)]
    pairs = list(zip(frame.legends, readings, strict=True))
    if len(pairs) == 1:
        value: Part = [("  " + number(first.value), colours.title)]
        return [[where, value], [value]]
    named = [_named(legend, reading, colours) for legend, reading in pairs]
    bare = [_named(legend, reading, colours, label=False) for legend, reading in pairs]
    return [[where, *named], [where, *bare], bare]


def _fit(choices: Sequence[tuple[list[Part], list[Part]]], width: int, colours: Palette) -> Strip:
    """The first pair of left and right side that fits; the last left side alone where none does."""
    for left, right in choices:
        space = width - _length(left) - _length(right) - 1
        if space >= 1:
            return _join([*left, [(" " * space, colours.text)], *right], width, colours)
    return _join(choices[-1][0], width, colours)


def _length(parts: Sequence[Part]) -> int:
    return sum(len(text) for part in parts for text, _ in part)


def _join(parts: Sequence[Part], width: int, colours: Palette) -> Strip:
    segments = [Segment(text, style) for part in parts for text, style in part if text]
    return Strip(segments).adjust_cell_length(width, colours.text)
