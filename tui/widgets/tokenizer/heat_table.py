"""Texts by tokenizers, coloured by how well each is compressed; a glyph in each cell says the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.color import Color
from rich.segment import Segment
from rich.style import Style

from nanochat.common.text import sanitize, size_bytes
from tui.data.tokenizer.compression import LEVELS, HeatRow
from tui.style.palette import palette
from tui.widgets.columns import GAP, Cell, Column, Placed, fit, layout, wide_layout
from tui.widgets.table import VirtualTable

GLYPHS, ASCII_GLYPHS = "▁▂▃▄▅▆▇█", ".:-=+*#%"
"""From the worst to the best."""
BEST, ASCII_BEST = "★", "!"
GROUPS = {"built-in": "built in", "corpus": "corpus", "own": "own"}
CELL_WIDTH = 12


class HeatTable(VirtualTable[HeatRow]):
    """A row a text, a column a tokenizer."""

    def __init__(self, *, unicode: bool = True, id: str | None = None) -> None:
        super().__init__((), self._row_cells, lambda row: row.source.name, id=id)
        self.wide = True
        self._glyphs = GLYPHS if unicode else ASCII_GLYPHS
        self.best = BEST if unicode else ASCII_BEST

    def show_rows(self, rows: Sequence[HeatRow], titles: Sequence[str]) -> None:
        """Shows these rows under the names of the tokenizers."""
        columns = [
            Column("text", "text", 18, ideal=30, frozen=True, sort=lambda row: (0, row.source.name)),
            Column("size", "bytes", 7, "right", frozen=True, sort=_size, descending=True),
            *(
                Column(
                    f"{number}",
                    title,
                    max(CELL_WIDTH, min(len(title), 22)),
                    "right",
                    sort=lambda row, number=number: _value(row, number),  # type: ignore[misc]
                    descending=True,
                    ideal=16,
                )
                for number, title in enumerate(titles)
            ),
        ]
        if [(column.name, column.title) for column in columns] != [
            (column.name, column.title) for column in self.columns
        ]:
            self.columns = columns
        self.show(rows)
        self.refresh()

    def _placed(self) -> Placed:
        """All columns; those that do not fit come into sight with the arrow keys."""
        width = self._inner_width
        fits = sum(column.width + GAP for column in self.columns) - GAP <= width
        if fits:
            return layout(self.columns, width)
        placed = wide_layout(self.columns, width, self._skip)
        while len(placed) > 3 and placed[-1][1] < placed[-1][0].width:  # half a figure is another figure
            placed.pop()
        return placed

    @property
    def hidden(self) -> int:
        """How many columns do not fit."""
        return len(self.columns) - len(self._placed())

    def _row_cells(self, row: HeatRow) -> Mapping[str, Cell]:
        role = {"own": "accent", "corpus": "live"}.get(row.source.group, "")
        cells: dict[str, Cell] = {
            "text": (sanitize(row.source.name, 80), role),
            "size": ("" if row.count is None else size_bytes(row.count.size.bytes), "muted"),
        }
        for number, cell in enumerate(row.cells):
            if cell is None:
                cells[f"{number}"] = ("✗" if row.problem else "…", "bad" if row.problem else "muted")
                continue
            glyph = "" if cell.level is None else f" {self._glyphs[cell.level]}"
            best = self.best if cell.best else " "
            heat = "" if cell.level is None else f"heat{cell.level}"
            cells[f"{number}"] = (f"{best}{cell.text}{glyph}", heat)
        return cells

    def _cell(self, cell: Cell, column: Column, width: int, base: Style) -> list[Segment]:
        """The value on its colour; its bar beside it, in that colour on the row's own."""
        if not cell[1].startswith("heat"):
            return super()._cell(cell, column, width, base)
        filled = self._role(cell[1])
        bar = Style(color=filled.bgcolor)
        value, glyph = cell[0][:-2], cell[0][-1]
        return [
            Segment(fit(f"{value} ", width - 2, "right"), base + filled),
            Segment(f" {glyph}", base + bar),
        ]

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._heat: tuple[Style, ...] = ()

    def _role(self, role: str) -> Style:
        if not role.startswith("heat"):
            return super()._role(role)
        if not self._heat:
            colours = palette(self.app.current_theme, self.app.theme_variables, self.background_colors[1])
            self._heat = tuple(_filled(style) for style in colours.heat)
        return self._heat[min(int(role.removeprefix("heat")), LEVELS - 1)]


def _filled(style: Style) -> Style:
    """A colour as the background of a cell, with the text on it black or white."""
    assert style.color is not None
    red, green, blue = style.color.get_truecolor()
    is_light = 0.299 * red + 0.587 * green + 0.114 * blue > 120
    return Style(color=Color.parse("#000000" if is_light else "#ffffff"), bgcolor=style.color)


def _size(row: HeatRow) -> tuple[int, int] | None:
    return None if row.count is None else (0, row.count.size.bytes)


def _value(row: HeatRow, number: int) -> tuple[int, float] | None:
    cell = row.cells[number] if number < len(row.cells) else None
    return None if cell is None or cell.value is None else (0, cell.value)
