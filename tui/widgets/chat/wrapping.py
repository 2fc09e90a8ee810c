"""Styled text broken into lines of a given width."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.cells import cell_len

from tui.data.chat.finding import CUT, PREFIX, Line
from tui.widgets.chat.markdown_blocks import Block, Span

__all__ = ["Line", "LineBreaker", "wrap"]

PER_CELL = 4
"""Characters of a line for each of its cells: marks that take no cell of their own must not pile up."""
_WORDS = re.compile(r"\n|[^\S\n]+|\S+")
_LINES = re.compile(r"\n|[^\n]+")


class LineBreaker:
    """Puts text into lines of at most `width` cells, between words where that can be.

    `first` stands before the first line and `rest` before the others. With `is_code` lines are broken where
    they are full.
    """

    def __init__(self, width: int, first: str = "", rest: str = "", is_code: bool = False) -> None:
        self.width = max(1, width)
        self.lines: list[Line] = []
        """The lines that are full: what follows does not change them."""
        self._most = self.width * PER_CELL
        self._rest = rest
        self._is_code = is_code
        self._begin(first, soft=False)

    def _begin(self, prefix: str, *, soft: bool) -> None:
        # A prefix as wide as the line would leave no room: deep lists in a narrow pane.
        prefix = prefix if cell_len(prefix) <= self.width // 2 else ""
        self._line: list[Span] = [(prefix, PREFIX)] if prefix else []
        self._used = cell_len(prefix)
        self._characters = 0
        self._soft = soft

    def _end(self, *, soft: bool = True, cut: bool = False) -> None:
        self.lines.append(self.current)
        self._begin(self._rest, soft=soft)
        if cut:
            self._line.append(("", CUT))  # the line goes on with a word, which a search must find whole

    @property
    def current(self) -> Line:
        """The line that is not full yet; it may be empty."""
        return tuple(self._line)

    def add(self, text: str, look: str) -> None:
        """More text, which may hold line ends. A word lies within one call, else it may be broken."""
        for match in (_LINES if self._is_code else _WORDS).finditer(text):
            word = match[0]
            if word == "\n":
                self._end(soft=False)
                continue
            width = cell_len(word)
            if self._fits(word, width):
                if self._characters or not self._soft or not word.isspace():
                    self._append(word, look, width)
            elif word.isspace() and not self._is_code:
                self._end()
            else:
                if self._characters and width <= self.width // 2 and not self._is_code:
                    self._end(cut=not self._strip())
                self._put(word, look)

    def _fits(self, word: str, width: int) -> bool:
        return self._used + width <= self.width and self._characters + len(word) <= self._most

    def _append(self, text: str, look: str, width: int) -> None:
        if self._line and self._line[-1][1] == look:
            self._line[-1] = (self._line[-1][0] + text, look)
        else:
            self._line.append((text, look))
        self._used += width
        self._characters += len(text)

    def _strip(self) -> bool:
        """Takes the spaces away that would stand at the end of a full line; whether there were any."""
        text, look = self._line[-1]
        kept = text.rstrip(" ")
        if look == PREFIX or kept == text:
            return False
        self._line[-1:] = [(kept, look)] if kept else []
        return True

    def _put(self, text: str, look: str) -> None:
        """Text that is broken where the line is full."""
        while text:
            piece = _fitting(text, self.width - self._used, self._most - self._characters)
            if not piece and self._characters:
                self._end(cut=True)
                continue
            piece = piece or text[0]  # a letter wider than the line
            self._append(piece, look, cell_len(piece))
            text = text[len(piece) :]

    def all_lines(self) -> list[Line]:
        """All lines, with the last one, which may be empty."""
        return [*self.lines, self.current]


def _fitting(text: str, cells: int, characters: int) -> str:
    """As much of the beginning of `text` as takes at most so many cells and characters."""
    piece = text[: max(0, min(characters, cells * PER_CELL))]
    if piece.isascii():
        return piece[: max(0, cells)]
    while piece and (over := cell_len(piece) - cells) > 0:
        piece = piece[: -max(1, over // 2)]
    return piece


def wrap(block: Block, width: int) -> Iterator[Line]:
    """The lines of a block, with the empty one before it where it has a gap."""
    if block.gap:
        yield ()
    breaker = LineBreaker(width, block.first, block.rest, block.is_code)
    for text, look in block.spans:
        breaker.add(text, look)
    yield from breaker.all_lines()
