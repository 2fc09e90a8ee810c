"""The tables of `nanochat data stats` as lines, side by side where there is room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len

from nanochat.commands.data_stats_print import tables
from nanochat.common.text import sanitize

if TYPE_CHECKING:
    from nanochat.commands.data_stats_print import Table
    from nanochat.data.stats import CorpusStats

FOLDER = "data_stats"
"""Under the base directory: the results of what was measured from the control room."""
GAP = 4
LEFT = ("", "begins")
"""Columns that stand to the left, as the first ones do."""

Line = tuple[tuple[str, str], ...]
"""Texts and their styles."""


def lines(stats: CorpusStats, width: int, unicode: bool = True) -> list[Line]:
    """All tables as lines of at most `width` cells, as the command prints them."""
    found: list[Line] = []
    row: list[list[Line]] = []
    used = 0
    for table in tables(stats):
        block = _block(table, width, unicode)
        wide = max(_size(line) for line in block)
        if row and used + GAP + wide > width:
            found += _beside(row)
            row, used = [], 0
        used += wide + (GAP if row else 0)
        row.append(block)
    return [*found, *_beside(row)][:-1]


def _beside(blocks: Sequence[Sequence[Line]]) -> list[Line]:
    """Blocks side by side, and an empty line below."""
    widths = [max(map(_size, block)) for block in blocks]
    found: list[Line] = []
    for at in range(max(map(len, blocks), default=0)):
        line: list[tuple[str, str]] = []
        for block, wide in zip(blocks, widths, strict=True):
            here = block[at] if at < len(block) else ()
            line += [*here, (" " * (wide + GAP - _size(here)), "")]
        found.append(tuple(line[:-1]))
    return [*found, ()]


def _size(line: Line) -> int:
    return sum(cell_len(text) for text, _ in line)


def _block(table: Table, width: int, unicode: bool) -> list[Line]:
    rows = [[_shown(cell, unicode) for cell in row] for row in table.rows]
    widths = [max(map(cell_len, column)) for column in zip(table.header, *rows, strict=True)]
    left = {0} | {at for at, name in enumerate(table.header) if name in LEFT}
    gap = " " * (2 if sum(widths) + 2 * len(widths) - 2 <= width else 1)
    head = _cells(table.header, widths, left, gap)
    body = [_cells(row, widths, left, gap) for row in rows]
    return [
        ((table.title, "bold $primary"),),
        ((_cut(head, width), "$muted"),),
        *(((_cut(line, width), ""),) for line in body),
    ]


def _cells(row: Sequence[str], widths: Sequence[int], left: set[int], gap: str) -> str:
    parts = []
    for at, (cell, wide) in enumerate(zip(row, widths, strict=True)):
        pad = " " * (wide - cell_len(cell))
        parts.append(cell + pad if at in left else pad + cell)
    return gap.join(parts).rstrip()


def _shown(cell: str, unicode: bool) -> str:
    return sanitize(cell if unicode else cell.replace("█", "#").replace("–", "-"), 200)


def _cut(text: str, width: int) -> str:
    """The beginning of a line that is too long, with a sign that it is cut: a figure is never half shown."""
    if cell_len(text) <= width:
        return text
    while cell_len(text) >= width:
        text = text[: -max(1, (cell_len(text) - width) // 2)]
    return f"{text}…"


def about(stats: CorpusStats) -> str:
    """The corpus in a line, for a title."""
    total = stats.total
    tokens = f", {total.tokens:,} tokens" if stats.unit == "tokens" else ""
    return f"{total.documents:,} documents, {total.bytes:,} bytes{tokens}"
