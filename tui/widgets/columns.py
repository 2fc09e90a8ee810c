"""Columns of a table: which of them fit, and how wide they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.cells import cell_len, set_cell_size

from tui.data.ordering import SortValue

Cell = tuple[str, str] | tuple[str, str, str]
"""A cell's text and the role of its colour; then, for a column too narrow for it, a shorter text."""
GAP = 2
UP, DOWN = "▲", "▼"


@dataclass(frozen=True)
class Column:
    """A column of at least `width` cells; `ideal` cells show all of most rows.

    Where not all columns fit, those of a lower `rank` are shown; a rank of 0 is always. Cells left over widen
    columns to their ideal width, in order of rank, and are then shared out by `grow`; `wider` is a rank and
    the cells that this column gets before columns of a higher one are shown. `sort` gives what an item is
    sorted by, None where it has no value; `descending` is the direction of the first press. A `frozen` column
    stays in sight when the others are gone through.
    """

    name: str
    title: str
    width: int
    align: Literal["left", "right"] = "left"
    grow: int = 0
    rank: int = 0
    ideal: int = 0
    sort: Callable[[Any], SortValue | None] | None = None
    descending: bool = False
    frozen: bool = False
    wider: tuple[int, int] = (0, 0)

    @property
    def full(self) -> int:
        """The width that shows all of most rows."""
        return max(self.width, self.ideal)


Placed = list[tuple[Column, int]]


def fit(text: str, width: int, align: str = "left") -> str:
    """`text` in exactly `width` cells, cut with an ellipsis when it is longer."""
    if width <= 0:
        return ""
    length = cell_len(text)
    if length > width:
        return set_cell_size(text, width - 1) + "…"
    return " " * (width - length) + text if align == "right" else text + " " * (width - length)


def fit_cell(cell: Cell, width: int, align: str) -> str:
    """A cell's text in exactly `width` cells: its shorter form where the whole does not fit."""
    short = len(cell) == 3 and cell_len(cell[0]) > width
    return fit(cell[2] if len(cell) == 3 and short else cell[0], width, align)


def layout(columns: Sequence[Column], width: int, keep: str = "") -> Placed:
    """The most important columns that fit into `width` cells, in their order, with their widths.

    The column called `keep` counts as most important. The widths and gaps add up to `width`, unless not
    even the most important columns fit.
    """

    def importance(column: Column) -> int:
        return 0 if column.name == keep else column.rank

    wishes = [(importance(column), column, column.width) for column in columns]
    wishes += [(column.wider[0], column, column.wider[1]) for column in columns if column.wider[1]]
    shown: list[Column] = []
    widths: dict[str, int] = {}
    left = width + GAP
    for rank, column, cells in sorted(wishes, key=lambda wish: wish[0]):
        cost = cells - widths[column.name] if column.name in widths else cells + GAP
        if rank == 0 or cost <= left:
            shown += [] if column.name in widths else [column]
            widths[column.name] = cells
            left -= cost
    for column in shown:
        extra = max(0, min(column.full - widths[column.name], left))
        widths[column.name] += extra
        left -= extra
    shares = sum(column.grow for column in shown)
    for column in shown:
        extra = left * column.grow // shares if left > 0 and shares else 0
        widths[column.name] += extra
        left, shares = left - extra, shares - column.grow
    return [(column, widths[column.name]) for column in columns if column.name in widths]


def wide_layout(columns: Sequence[Column], width: int, skip: int = 0) -> Placed:
    """Every column in full: the frozen ones, then the others but the first `skip`, as far as `width` goes.

    The last one is cut where it reaches over the edge.
    """
    fixed = [column for column in columns if column.frozen]
    others = [column for column in columns if not column.frozen]
    placed: Placed = []
    left = width
    for column in [*fixed, *others[skip:]]:
        if left <= 0:
            break
        placed.append((column, min(column.full, left)))
        left -= column.full + GAP
    if left > -GAP and placed:  # all fit: the last one takes what is over
        last, size = placed[-1]
        placed[-1] = (last, size + left + GAP)
    return placed


def most_skipped(columns: Sequence[Column], width: int) -> int:
    """How many columns have to be skipped in the wide layout to bring the last one into sight whole."""
    others = [column for column in columns if not column.frozen]
    room = width - sum(column.full + GAP for column in columns if column.frozen)
    for skip in range(len(others)):
        if sum(column.full + GAP for column in others[skip:]) - GAP <= room:
            return skip
    return max(0, len(others) - 1)
