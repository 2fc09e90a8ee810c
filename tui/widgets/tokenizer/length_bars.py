"""How many tokens have how many bytes, as bars."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.widget import Widget

from nanochat.common.text import short
from tui.widgets.evals.score_cells import bar

LABEL, FIGURE = 4, 6
"""Columns of the length and of the number."""


def grouped(lengths: Sequence[int], rows: int) -> list[tuple[str, int]]:
    """`lengths[n]` tokens of n bytes as at most `rows` bars from the shortest on, the last one for all that
    are longer. Lengths of nothing at either end are left out."""
    there = [length for length, count in enumerate(lengths) if count]
    if not there or rows < 1:
        return []
    first, last = there[0], there[-1]
    ends = last if last - first < rows else first + rows - 2
    bars = [(f"{length}", lengths[length]) for length in range(first, ends + 1)]
    return bars if ends == last else [*bars, (f"{ends + 1}+", sum(lengths[ends + 1 :]))]


class LengthBars(Widget):
    """A bar a length in bytes; their number at its end."""

    def __init__(self, *, unicode: bool = True, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lengths: Sequence[int] = ()
        self._unicode = unicode

    def show(self, lengths: Sequence[int]) -> None:
        """Shows how many tokens have 0, 1, 2 … bytes."""
        if list(lengths) != list(self._lengths):
            self._lengths = lengths
            self.refresh()

    def render(self) -> Content:
        bars = grouped(self._lengths, self.size.height)
        most = max((count for _, count in bars), default=0)
        width = max(1, self.size.width - LABEL - FIGURE - 2)
        lines = [
            Content.assemble(
                (f"{label:>{LABEL}} ", "$muted"),
                (bar(count / most, width, unicode=self._unicode), "$primary"),
                (f" {short(count) if count >= 10_000 else count:>{FIGURE}}", ""),
            )
            for label, count in bars
        ]
        return Content("\n").join(lines)
