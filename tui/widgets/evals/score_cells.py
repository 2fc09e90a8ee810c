"""A score as a cell of a table: its value, its standard error, and a bar."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len

from remote.evaluation_tables import figure_text

if TYPE_CHECKING:
    from tui.data.evals.scores import Score

EIGHTHS = " ▏▎▍▌▋▊▉█"
MISSING = "·"
NARROWEST, BAR = 11, 3
"""Cells of a value with its standard error, and the shortest bar."""
WIDEST_BAR = 12

Piece = tuple[str, str]
"""Text and the role of its colour."""


def score_pieces(score: Score | None, width: int, *, unicode: bool, best: bool = False) -> list[Piece]:
    """A score in exactly `width` cells: value, ± standard error, and a bar where there is room for one."""
    if score is None:
        return [(MISSING.ljust(width), "muted")]
    value = figure_text(score.value) if abs(score.value) < 100 else f"{score.value:,.0f}"
    error = "" if score.stderr is None else f"±{figure_text(score.stderr, 3)}".replace("±0.", "±.")
    value = value.rjust(6)
    if cell_len(value) + cell_len(error) > width:
        error = ""
    told: list[Piece] = [(value[:width], "strong" if best else ""), (error, "muted")]
    left = width - sum(cell_len(text) for text, _ in told)
    size = min(WIDEST_BAR, left - 1)
    if score.share is not None and size >= BAR:
        told.append((" " + bar(score.share, size, unicode=unicode), "live"))
        left -= size + 1
    told.append((" " * left, ""))
    return told


def bar(share: float, width: int, *, unicode: bool) -> str:
    """A share of `width` cells, in eighths of one. Below 0 there is nothing to draw: the value says it."""
    share = min(1.0, max(0.0, share))
    if not unicode:
        return ("#" * round(share * width)).ljust(width)
    eighths = round(share * width * 8)
    return ("█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()).ljust(width)
