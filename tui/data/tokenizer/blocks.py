"""A split as blocks: a token each, or several that share a character, with their bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tui.data.tokenizer.characters import CARRIER, MOST_MARKS, NEWLINE, Characters, Glyphs

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nanochat.tokenizer.explore.splitter import Split

Piece = tuple[str, int]
"""What is painted: a text, and the token it belongs to; -1 for what belongs to none."""


@dataclass(frozen=True, eq=False)
class Blocks:
    """The blocks of a split, m of them, and the atoms that lines are made of.

    `first` (m + 1,) the first token of each block, and the number of tokens. An atom is a character, or a
    whole block of tokens that share a character: `atom_char` (k + 1,) its first character, `atom_block` (k,)
    its block, `cells` (k,) its width, `ends_line` the atoms after which a line ends.
    """

    split: Split
    characters: Characters
    glyphs: Glyphs
    separated: bool
    first: npt.NDArray[np.int64]
    shared: npt.NDArray[np.bool_]
    """(m,) blocks that are painted as bytes."""
    atom_char: npt.NDArray[np.int64]
    atom_block: npt.NDArray[np.int64]
    atom_first: npt.NDArray[np.int64]
    """(m + 1,) the first atom of each block."""
    cells: npt.NDArray[np.int64]
    carried: frozenset[int]
    """Characters that stand on a carrier."""
    ends_line: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.first) - 1

    def block_of(self, token: int) -> int:
        """The block that a token is in."""
        return int(self.first.searchsorted(token, "right")) - 1

    def pieces(self, start: int, stop: int) -> list[Piece]:
        """What is painted of the atoms `start` … `stop` - 1, which are not empty."""
        found: list[Piece] = []
        first, last = int(self.atom_block[start]), int(self.atom_block[stop - 1])
        tokens = self.first[first : last + 2].tolist()
        shared = self.shared[first : last + 1].tolist()
        atoms = self.atom_first[first : last + 2].tolist()
        edges = [max(start, atoms[0]), *atoms[1:-1], min(stop, atoms[-1])]
        chars = self.atom_char[edges].tolist()
        for at, token in enumerate(tokens[:-1]):
            if shared[at]:
                found += self._bytes(token, tokens[at + 1], chars[at], chars[at + 1])
            elif chars[at] == chars[at + 1]:
                found.append(("∅" if self.glyphs.unicode else "0", token))
            else:
                found.append((self._text(chars[at], chars[at + 1]), token))
            if self.separated and edges[at + 1] == atoms[at + 1]:
                found.append(("|", -1))
        return found

    def _text(self, start: int, stop: int) -> str:
        text = self.characters.text[start:stop]
        if not self.carried or text.isascii():
            return text.translate(self.glyphs)
        return "".join(
            self._carried(char) if start + at in self.carried else self.glyphs[ord(char)]
            for at, char in enumerate(text)
        )

    def _carried(self, mark: str) -> str:
        return f"{CARRIER if self.glyphs.unicode else '.'}{mark}"

    def _bytes(self, token: int, end: int, start: int, stop: int) -> list[Piece]:
        """A block of several tokens: what they spell together, then the bytes of each."""
        found = [(self._text(start, stop) + self.glyphs.open, token)]
        for index in range(token, end):
            if index > token:
                found.append(("│" if self.glyphs.unicode else "|", -1))
            found.append((self.split.piece(index).hex(), index))
        found.append((self.glyphs.close, end - 1))
        return found


def make_blocks(split: Split, text: Characters, glyphs: Glyphs, *, separated: bool = False) -> Blocks:
    """The blocks of a split; with `separated` a sign stands after each."""
    import numpy as np

    ends = split.ends
    count = len(ends)
    last = np.flatnonzero(text.is_start[ends]) if count else np.zeros(0, np.int64)
    first = np.concatenate([[0], last + 1]).astype(np.int64)
    tokens = np.diff(first)
    byte_at = np.concatenate([[0], ends]).astype(np.int64)[first]
    char_at = text.at_byte[byte_at]
    shared = tokens > 1
    is_atom = np.ones(len(text), np.bool_)
    is_atom[char_at[-1] :] = False  # white space after the last word is in no token
    chars = np.diff(char_at)
    for block in np.flatnonzero(shared & (chars > 1)).tolist():
        is_atom[char_at[block] + 1 : char_at[block + 1]] = False
    cells = text.widths.astype(np.int64)
    carried = _carried(text, char_at)
    cells[carried] += 1
    if shared.any():
        _widen(cells, text, char_at, shared, tokens, byte_at, glyphs)
    atom_char = np.flatnonzero(is_atom)
    sizes = np.concatenate([[0], np.cumsum(is_atom)])[char_at]
    atom_cells, atom_first = cells[atom_char], sizes
    empty = np.flatnonzero(chars == 0)
    if len(empty):  # a token of no byte is an atom too: it stands before the character where it is
        atom_char = np.insert(atom_char, sizes[empty], char_at[empty])
        atom_cells = np.insert(atom_cells, sizes[empty], 1)
        atom_first = sizes + np.concatenate([[0], np.cumsum(chars == 0)])
    if separated:
        atom_cells[atom_first[1:] - 1] += 1
    atom_block = np.repeat(np.arange(len(chars)), np.diff(atom_first))
    ends_line = np.flatnonzero(text.codes[np.minimum(atom_char, max(0, len(text) - 1))] == NEWLINE)
    if len(empty):
        ends_line = ends_line[chars[atom_block[ends_line]] > 0]
    return Blocks(
        split,
        text,
        glyphs,
        separated,
        first,
        shared,
        np.append(atom_char, len(text)),
        atom_block,
        atom_first,
        atom_cells,
        frozenset(carried.tolist()),
        ends_line,
    )


def _widen(
    cells: npt.NDArray[np.int64],
    text: Characters,
    char_at: npt.NDArray[np.int64],
    shared: npt.NDArray[np.bool_],
    tokens: npt.NDArray[np.int64],
    byte_at: npt.NDArray[np.int64],
    glyphs: Glyphs,
) -> None:
    """Gives the first character of each shared block the cells of the whole block."""
    import numpy as np

    summed = np.concatenate([[0], np.cumsum(cells)])
    whole = summed[char_at[1:]] - summed[char_at[:-1]]
    brackets = len(glyphs.open) + len(glyphs.close)
    whole += brackets + 2 * np.diff(byte_at) + tokens - 1
    cells[char_at[:-1][shared]] = whole[shared]


def _carried(text: Characters, char_at: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The marks that have no letter before them in their own block, or too many marks below them."""
    import numpy as np

    marks = text.marks
    if not len(marks):
        return marks
    wide = np.arange(len(text))
    wide[marks] = -1
    base = np.maximum.accumulate(wide)[marks]
    block = np.searchsorted(char_at, marks, "right") - 1
    codes = text.codes[np.maximum(base, 0)]
    is_letter = (base >= 0) & (codes > 0x20) & (text.widths[np.maximum(base, 0)] <= 2)
    return marks[~is_letter | (base < char_at[block]) | (marks - base > MOST_MARKS)]
