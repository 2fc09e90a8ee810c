"""A drawn canvas with its gutter, ticks and marks, as strips of exactly the given width and height."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from tui.plots.raster import Run

Cell = tuple[str, Style]


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters around a canvas; the ASCII set is for terminals without Unicode fonts."""

    axis: str
    tick: str
    grid: str
    corner: str
    floor: str
    floor_tick: str
    point: str
    best: str
    alert: str
    broken: str
    above: str
    below: str


UNICODE = Glyphs(
    axis="│",
    tick="┤",
    grid="┈",
    corner="└",
    floor="─",
    floor_tick="┴",
    point="●",
    best="★",
    alert="▲",
    broken="✖",
    above="↑",
    below="↓",
)
ASCII = Glyphs(
    axis="|",
    tick="+",
    grid=".",
    corner="+",
    floor="-",
    floor_tick="+",
    point="o",
    best="@",
    alert="^",
    broken="X",
    above="A",
    below="V",
)


@dataclass(frozen=True, slots=True)
class Mark:
    """One character laid over the canvas at (row from the top, column).

    `exact` is the point that it marks, in cells from the canvas's lower left corner: for pictures.
    """

    row: int
    column: int
    glyph: str
    style: Style
    exact: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """What surrounds a canvas of `columns` cells: tick labels by canvas row and by canvas column.

    `grid` are the canvas rows with a gridline.
    """

    width: int
    left: int
    columns: int
    below: int
    y_labels: Mapping[int, str]
    grid: frozenset[int]
    x_labels: Mapping[int, str]
    axis_name: str
    glyphs: Glyphs
    text: Style
    rule: Style


def strips(
    canvas: Sequence[Sequence[Run]], roles: Mapping[int, Style], marks: Sequence[Mark], layout: Layout
) -> list[Strip]:
    """Canvas rows behind their gutter, then the axis and its labels where `below` leaves room for them."""
    by_row: dict[int, list[Mark]] = {}
    for mark in marks:
        by_row.setdefault(mark.row, []).append(mark)
    rows = [_canvas_row(row, runs, roles, by_row.get(row, ()), layout) for row, runs in enumerate(canvas)]
    if layout.below >= 2:
        rows.append(_floor(layout))
    if layout.below >= 1:
        rows.append(_x_labels(layout))
    return rows


def _canvas_row(
    row: int, runs: Sequence[Run], roles: Mapping[int, Style], marks: Sequence[Mark], layout: Layout
) -> Strip:
    label = layout.y_labels.get(row)
    blank = layout.glyphs.grid if row in layout.grid else " "
    cells: list[Cell] = []
    for text, role in runs:
        style = roles[role]
        cells.extend((blank if character == " " and role < 0 else character, style) for character in text)
    cells = (cells + [(blank, roles[-1])] * layout.columns)[: layout.width - layout.left]
    cells += [(" ", roles[-1])] * (layout.width - layout.left - len(cells))
    for mark in marks:
        for offset, character in enumerate(mark.glyph):
            if 0 <= mark.column + offset < len(cells):
                cells[mark.column + offset] = (character, mark.style)
    return _strip(_gutter(label, layout) + cells)


def _gutter(label: str | None, layout: Layout) -> list[Cell]:
    if layout.left <= 0:
        return []
    text = (label or "").rjust(layout.left - 1)[-(layout.left - 1) :] if layout.left > 1 else ""
    bar = layout.glyphs.axis if label is None else layout.glyphs.tick
    return [(character, layout.text) for character in text] + [(bar, layout.rule)]


def _floor(layout: Layout) -> Strip:
    line = [layout.glyphs.floor] * layout.columns
    for column in layout.x_labels:
        line[column] = layout.glyphs.floor_tick
    corner = layout.glyphs.corner if layout.left else ""
    text = (" " * (layout.left - 1) + corner + "".join(line)).ljust(layout.width)
    return Strip([Segment(text, layout.rule)], layout.width)


def place_labels(layout: Layout, gap: int = 1) -> list[tuple[int, str]]:
    """(cell, label) of the x labels that fit, each centred under its column, `gap` cells between two."""
    free = len(_axis_name(layout)) + 1 if layout.axis_name else 0
    placed = []
    for column, label in sorted(layout.x_labels.items()):
        start = min(layout.left + column - (len(label) - 1) // 2, layout.width - len(label))
        if start >= free:
            placed.append((start, label))
            free = start + len(label) + gap
    return placed


def _axis_name(layout: Layout) -> str:
    return layout.axis_name[: max(0, layout.left - 1)]


def _x_labels(layout: Layout) -> Strip:
    text = [" "] * layout.width
    name = _axis_name(layout)
    text[: len(name)] = name
    for start, label in place_labels(layout):
        text[start : start + len(label)] = label
    return Strip([Segment("".join(text), layout.text)], layout.width)


def _strip(cells: Sequence[Cell]) -> Strip:
    segments: list[Segment] = []
    text, style = "", None
    for character, own in cells:
        if own is not style and text:
            segments.append(Segment(text, style))
            text = ""
        text, style = text + character, own
    segments.append(Segment(text, style))
    return Strip(segments, len(cells))


def restyle(strip: Strip, start: int, stop: int, style: Style) -> Strip:
    """`strip` with the background of `style` on cells [start, stop)."""
    ground = Style(bgcolor=style.bgcolor)
    inside = Strip(Segment.apply_style(strip.crop(start, stop), post_style=ground), stop - start)
    return Strip.join([strip.crop(0, start), inside, strip.crop(stop)])
