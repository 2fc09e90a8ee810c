"""The title row of a plot: the metric's name and, where they fit, statistics or readings at the cursor."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from nanochat.common.text import clock, number, sanitize
from remote.metrics import better
from tui.plots.frame import Figures, Frame, Legend
from tui.plots.points import Reading
from tui.style.palette import Palette

Part = list[tuple[str, Style]]
"""Text that is shown completely or not at all."""

_FLAT = 1e-4


def title(
    metric: str,
    frame: Frame | None,
    *,
    cursor: float | None,
    width: int,
    colours: Palette,
    focused: bool,
    run: str = "",
) -> Strip:
    """Name at the left, statistics or readings at the right; the least important are left out first.

    `run` is the name of the run where nothing around the plot tells it.
    """
    name: Part = [
        ("▌" if focused else " ", colours.focus),
        (sanitize(metric), colours.focus if focused else colours.title),
    ]
    column = None if frame is None or cursor is None else frame.column_at(cursor)
    if frame is None:
        return _fit([([name], [])], width, colours)
    modes = _modes(frame, colours)
    if run:
        modes.append([(f"  {run}", colours.muted)])
    lefts = [[name, *modes[:count]] for count in range(len(modes), -1, -1)]
    if column is not None:
        readings = _readings(frame, column, colours)
        return _fit([(left, right) for right in readings for left in lefts], width, colours)
    if len(frame.legends) > 1:
        overlaid = _overlaid(frame, colours)
        return _fit([(left, right) for right in overlaid for left in lefts], width, colours)
    statistics = _statistics(metric, frame, colours, brackets=focused)
    rights = [statistics[:count] for count in range(len(statistics), 0, -1)]
    rights.append(_statistics(metric, frame, colours, brackets=False)[:1])
    return _fit([(left, right) for left in lefts for right in rights] or [(lefts[0], [])], width, colours)


def _modes(frame: Frame, colours: Palette) -> list[Part]:
    view = frame.view
    parts: list[Part] = [[(f" {frame.caption}", colours.focus)]] if frame.caption else []
    parts += [[(" so far", colours.warning)]] if view.partial else []
    decays = {legend.decay for legend in frame.legends if legend.points}
    if decays - {0.0}:
        # Runs of different lengths are smoothed over the same share of what is in view.
        word = f"{100 * view.smoothing:g} %" if len(decays) > 1 else f"{decays.pop():g}".lstrip("0")
        parts.append([(f" ⟨ema {word}⟩", colours.muted)])
    if view.log:
        parts.append([(" log", colours.muted)])
    if view.superseded:
        parts.append([(" +superseded", colours.muted)])
    parts += [[(f" ✖ {note}", colours.error)] for note in frame.notes]
    return parts


def _statistics(metric: str, frame: Frame, colours: Palette, *, brackets: bool) -> list[Part]:
    """What is told of the line in view, the most important first; with `brackets` the raw figures too."""
    legend = frame.legends[0] if frame.legends else None
    if legend is None or legend.line is None:
        return []
    line, raw = legend.line, legend.raw if brackets else None
    wanted = better(metric)
    parts = [_last(legend, raw, wanted, colours)]
    if legend.best is not None:
        parts.append([("  best ", colours.muted), *_at(legend.best, colours)])
    if wanted >= 0 or legend.best is None:  # else the lowest is the best
        parts.append(_named_value("min", line.low, raw.low if raw else None, colours))
    if wanted <= 0 or legend.best is None:
        parts.append(_named_value("max", line.high, raw.high if raw else None, colours))
    return parts


def _overlaid(frame: Frame, colours: Palette) -> list[list[Part]]:
    """The last value of every run, with its name, else in its colour alone, else of as many as fit."""
    lines = [(legend, legend.line.last if legend.line else None) for legend in frame.legends]
    bare = [_named(legend, value, colours, label=False) for legend, value in lines]
    named = [_named(legend, value, colours) for legend, value in lines]
    return [named, *(bare[:count] for count in range(len(bare), 0, -1))]


def _last(legend: Legend, raw: Figures | None, wanted: int, colours: Palette) -> Part:
    """The line's last value, the measured one behind it, and where the run is heading."""
    assert legend.line is not None
    arrow = "" if abs(legend.trend) < _FLAT else " ▲" if legend.trend > 0 else " ▼"
    style = colours.muted if not wanted else colours.good if legend.trend * wanted > 0 else colours.warning
    part: Part = [(number(legend.line.last), colours.title)]
    if raw is not None:
        part.append(_bracketed(raw.last, colours))
    return [*part, (arrow, style)]


def _named_value(word: str, value: float, measured: float | None, colours: Palette) -> Part:
    part: Part = [(f"  {word} ", colours.muted), (number(value), colours.text)]
    return part if measured is None else [*part, _bracketed(measured, colours)]


def _bracketed(value: float, colours: Palette) -> tuple[str, Style]:
    return f" ({number(value)})", colours.muted


def _at(reading: Reading, colours: Palette) -> Part:
    text: Part = [(number(reading.value), colours.text)]
    if not math.isnan(reading.step):
        text.append((f" @{reading.step:,.0f}", colours.muted))
    return text


def _named(legend: Legend, value: float | None, colours: Palette, label: bool = True) -> Part:
    shown = "–" if value is None else number(value)
    name = legend.label + " " if label else ""
    return [("  ● ", colours.line[legend.role]), (name, colours.muted), (shown, colours.title)]


def _readings(frame: Frame, column: int, colours: Palette) -> list[list[Part]]:
    """The values under the cursor, from the fullest form to the shortest."""
    readings = [legend.readings[column] if legend.readings else None for legend in frame.legends]
    first = next((reading for reading in readings if reading is not None), None)
    if first is None:
        return [[[("no value here", colours.muted)]], []]
    place = clock(first.t) if math.isnan(first.step) else _place(frame, first.step)
    where: Part = [(("≈ " if frame.approximate else "") + place, colours.muted)]
    pairs = list(zip(frame.legends, readings, strict=True))
    if len(pairs) == 1:
        value: Part = [("  " + number(first.value), colours.title)]
        raw: list[Part] = [[_bracketed(first.raw, colours)]] if first.raw is not None else []
        return [[where, value, *raw], [where, value], [value]]
    values = [(legend, None if reading is None else reading.value) for legend, reading in pairs]
    named = [_named(legend, shown, colours) for legend, shown in values]
    bare = [_named(legend, shown, colours, label=False) for legend, shown in values]
    return [[where, *named], [where, *bare], bare]


def _place(frame: Frame, x: float) -> str:
    """A place on the x axis in words: its own name where it has one."""
    named = next((label for at, label in frame.view.places if at == x), f"{x:,.0f}")
    return f"{frame.view.axis_name or 'step'} {named}"


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
