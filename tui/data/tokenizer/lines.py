"""A split as lines of a given width, in three views: its text, its ids, a table of its tokens."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from rich.cells import cell_len, set_cell_size

from tui.data.tokenizer.blocks import Blocks, Piece

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nanochat.tokenizer.explore.splitter import Splitter

View = Literal["tokens", "ids", "table"]
VIEWS: tuple[View, ...] = ("tokens", "ids", "table")
WINDOW = 1 << 15
"""Atoms that are looked at together."""
SHOWN_BYTES = 24
"""Bytes of a token that the table shows in hex."""


class Lines(Protocol):
    """Lines of tokens: `head` stands above them all, "" for nothing; a `Piece` is part of a token."""

    @property
    def head(self) -> str: ...
    def __len__(self) -> int: ...
    def line_of(self, token: int) -> int:
        """The line on which a token begins."""

    def lines_of(self, token: int) -> range:
        """The lines that a token stands on."""

    def tokens_on(self, line: int) -> range:
        """The tokens that stand on a line."""

    def pieces(self, line: int) -> Sequence[Piece]:
        """What is painted on a line."""


def break_lines(
    cells: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], groups: npt.NDArray[np.int64], width: int
) -> npt.NDArray[np.int64]:
    """(lines + 1,) where each line begins, and the number of atoms.

    `cells` (n,) of each atom; a line ends after each of `ends` (ascending) and where the next atom does not
    fit. There it ends before a group, where what is left of the line would not be over half empty: `groups`
    (n,) has the first atom of the group of each.
    """
    import numpy as np

    count = len(cells)
    summed = np.concatenate([[0], np.cumsum(cells)])
    is_ended = not count or (len(ends) and int(ends[-1]) == count - 1)
    stops = ends + 1 if is_ended else np.append(ends + 1, count)
    starts = np.concatenate([[0], stops[:-1]]) if count else stops
    fits = summed[stops] - summed[starts] <= width
    if fits.all():
        return np.concatenate([starts, [count]])
    whole: list[int] = []
    for start, stop in zip(starts[~fits].tolist(), stops[~fits].tolist(), strict=True):
        whole += _broken(summed, groups, start, stop, width)
    return np.concatenate([np.sort(np.concatenate([starts, np.asarray(whole, np.int64)])), [count]])


def _broken(
    summed: npt.NDArray[np.int64], groups: npt.NDArray[np.int64], start: int, stop: int, width: int
) -> list[int]:
    """Where the lines after the first begin, of a stretch that is too wide for one."""
    found: list[int] = []
    at = start
    while at < stop:
        last = min(stop, at + WINDOW)
        sums, owners = summed[at : last + 1].tolist(), groups[at:last].tolist()
        first, count, here = at, last - at, 0
        while sums[count] - sums[here] > width:
            end = max(here + 1, bisect_right(sums, sums[here] + width, here) - 1)
            group = owners[end] - first if end < count else end
            if group > here and 2 * (sums[group] - sums[here]) >= width:
                end = group
            if end >= count:
                break
            here = end
            found.append(first + end)
        if last == stop:
            break
        at = first + here if here else last
    return found


@dataclass(frozen=True, eq=False)
class TextLines:
    """The text itself, in the blocks of its tokens."""

    blocks: Blocks
    starts: npt.NDArray[np.int64]
    """(lines + 1,) the first atom of each line."""
    head: str = ""

    def __len__(self) -> int:
        return len(self.starts) - 1

    def _line_of_atom(self, atom: int) -> int:
        return min(int(self.starts.searchsorted(atom, "right")) - 1, len(self) - 1)

    def lines_of(self, token: int) -> range:
        block = self.blocks.block_of(token)
        first = int(self.blocks.atom_first[block])
        last = max(first, int(self.blocks.atom_first[block + 1]) - 1)
        return range(self._line_of_atom(first), self._line_of_atom(last) + 1)

    def line_of(self, token: int) -> int:
        return self.lines_of(token).start

    def tokens_on(self, line: int) -> range:
        start, stop = int(self.starts[line]), int(self.starts[line + 1])
        if start == stop:
            return range(0)
        blocks = self.blocks
        first, last = int(blocks.atom_block[start]), int(blocks.atom_block[stop - 1])
        return range(int(blocks.first[first]), int(blocks.first[last + 1]))

    def pieces(self, line: int) -> Sequence[Piece]:
        start, stop = int(self.starts[line]), int(self.starts[line + 1])
        return self.blocks.pieces(start, stop) if stop > start else []


@dataclass(frozen=True, eq=False)
class IdLines:
    """The ids in a row."""

    blocks: Blocks
    starts: npt.NDArray[np.int64]
    head: str = ""

    def __len__(self) -> int:
        return len(self.starts) - 1

    def line_of(self, token: int) -> int:
        return min(int(self.starts.searchsorted(token, "right")) - 1, len(self) - 1)

    def lines_of(self, token: int) -> range:
        line = self.line_of(token)
        return range(line, line + 1)

    def tokens_on(self, line: int) -> range:
        return range(int(self.starts[line]), int(self.starts[line + 1]))

    def pieces(self, line: int) -> Sequence[Piece]:
        tokens = self.tokens_on(line)
        found: list[Piece] = []
        for token, number in zip(tokens, self.blocks.split.ids[tokens.start : tokens.stop], strict=True):
            found += [(str(number), token), (" ", -1)]
        return found


class TableLines:
    """A token a line: its number, what it spells, its id, its bytes."""

    def __init__(self, blocks: Blocks, splitter: Splitter, width: int) -> None:
        self.blocks = blocks
        self._number = max(2, len(f"{len(blocks.split):,}"))
        ids = blocks.split.ids
        self._id = max(5, len(f"{int(ids.max()):,}") if len(ids) else 5)
        left = max(8, width - self._number - self._id - 4)
        self._text = max(6, min(24, left // 2))
        self._bytes = max(1, (width - self._number - self._text - self._id - 4) // 3)
        self._has_ids = splitter.vocab_size is not None
        named = "id" if self._has_ids else "word"
        self.head = f"{'#':>{self._number}}  {'token':<{self._text}} {named:>{self._id}}  bytes"

    def __len__(self) -> int:
        return len(self.blocks.split)

    def line_of(self, token: int) -> int:
        return token

    def lines_of(self, token: int) -> range:
        return range(token, token + 1)

    def tokens_on(self, line: int) -> range:
        return range(line, line + 1)

    def pieces(self, line: int) -> Sequence[Piece]:
        split = self.blocks.split
        text = self.spelled(line)
        if cell_len(text) > self._text:
            text = set_cell_size(text, self._text - 1) + "…"
        text = set_cell_size(text, self._text)
        piece = split.piece(line)
        fit = min(SHOWN_BYTES, self._bytes)
        shown = piece.hex(" ") if len(piece) <= fit else piece[: fit - 1].hex(" ") + " …"
        return [
            (f"{line + 1:>{self._number},}  ", -1),
            (text, line),
            (f" {int(split.ids[line]):>{self._id},}  {shown}", -1),
        ]

    def spelled(self, token: int) -> str:
        """What a token spells; its bytes where it is a part of a character."""
        blocks = self.blocks
        start, stop = blocks.split.span(token)
        text = blocks.characters
        if start == stop:
            return "∅" if blocks.glyphs.unicode else "0"
        if text.is_start[start] and text.is_start[stop]:
            first, last = int(text.at_byte[start]), int(text.at_byte[stop])
            shown = text.text[first:last].translate(blocks.glyphs)
            return (
                shown if cell_len(shown) else f"{blocks.glyphs.open}{ord(shown[0]):04x}{blocks.glyphs.close}"
            )
        part = blocks.split.piece(token).hex(" ")
        return f"{blocks.glyphs.open}{part}{blocks.glyphs.close}"


def make_lines(view: View, blocks: Blocks, splitter: Splitter, width: int) -> Lines:
    """The lines of a split at a width of so many cells, at least 8."""
    import numpy as np

    if view == "table":
        return TableLines(blocks, splitter, width)
    if view == "ids":
        ids = blocks.split.ids
        digits = 1 + np.floor(np.log10(np.maximum(ids, 1))).astype(np.int64)
        groups = np.arange(len(ids))
        return IdLines(blocks, break_lines(digits + 1, np.zeros(0, np.int64), groups, width))
    groups = blocks.atom_first[blocks.atom_block]
    return TextLines(blocks, break_lines(blocks.cells, blocks.ends_line, groups, width))
