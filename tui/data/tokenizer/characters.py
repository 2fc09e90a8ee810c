"""The characters of a text as a terminal can show them: nothing that acts on it, and known widths.

What joins, reorders or hides characters is shown as its code point: `⟨200d⟩`. So a family of emoji is its
members one by one, as a tokenizer sees them, and the width of a text is the sum of its characters' widths.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len

from nanochat.common.text import UNSAFE

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

TAB_CELLS = 4
UNKNOWN = 255
CARRIER = "◌"
"""A mark stands on this where its letter is in another token."""
MOST_MARKS = 3
"""Marks on a letter that are drawn on it; what piles up higher would cover other lines."""
_JOINING = (
    (0x1F1E6, 0x1F1FF),  # two regional indicators make a flag
    (0x1F3FB, 0x1F3FF),  # skin tones
    (0xFE00, 0xFE0F),  # variation selectors
    (0xE0100, 0xE01EF),
)
_CODES = 0x110000
NEWLINE, CARRIAGE_RETURN, TAB = 10, 13, 9


class Glyphs(dict[int, str]):
    """What stands for each character, for `str.translate`; without `unicode` signs of ours are ASCII."""

    def __init__(self, unicode: bool = True, spaces: bool = False) -> None:
        super().__init__()
        self.unicode = unicode
        self.open, self.close = ("⟨", "⟩") if unicode else ("<", ">")
        self[NEWLINE] = "↵" if unicode else "$"
        self[TAB] = ("⇥" if unicode else ">").ljust(TAB_CELLS)
        if spaces:
            self[ord(" ")] = "·" if unicode else "_"

    def __missing__(self, code: int) -> str:
        self[code] = shown = self._shown(code)
        return shown

    def _shown(self, code: int) -> str:
        character = chr(code)
        if code < 0x20:
            return chr(0x2400 + code) if self.unicode else f"{self.open}{code:02x}{self.close}"
        if UNSAFE.match(character) or any(first <= code <= last for first, last in _JOINING):
            return f"{self.open}{code:04x}{self.close}"
        return character


@dataclass(frozen=True, eq=False)
class Characters:
    """A text of n characters: `codes` (n,) uint32, `starts` (n + 1,) the first byte of each and the text's
    length, `widths` (n,) int32 cells that each takes alone, 0 for a mark on the letter before it."""

    text: str
    codes: npt.NDArray[np.uint32]
    starts: npt.NDArray[np.int64]
    widths: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.codes)

    @cached_property
    def is_start(self) -> npt.NDArray[np.bool_]:
        """(bytes + 1,) whether a character begins, or the text ends, at each byte."""
        import numpy as np

        found = np.zeros(int(self.starts[-1]) + 1, np.bool_)
        found[self.starts] = True
        return found

    @cached_property
    def at_byte(self) -> npt.NDArray[np.int64]:
        """(bytes + 1,) the character that holds each byte; n at the end of the text."""
        import numpy as np

        counted: npt.NDArray[np.int64] = np.cumsum(self.is_start, dtype=np.int64) - 1
        return counted

    @cached_property
    def marks(self) -> npt.NDArray[np.int64]:
        """The places of characters that take no cell of their own."""
        import numpy as np

        return np.flatnonzero(self.widths == 0)


class Widths:
    """Cells of every character, worked out when it is first seen."""

    def __init__(self, glyphs: Glyphs) -> None:
        self._glyphs = glyphs
        self._table: Any = None

    def of(self, codes: npt.NDArray[np.uint32]) -> npt.NDArray[np.int32]:
        """(n,) cells of each code point."""
        import numpy as np

        if self._table is None:
            self._table = np.full(_CODES, UNKNOWN, np.uint8)
        found = self._table[codes]
        if (found == UNKNOWN).any():
            for code in np.unique(codes[found == UNKNOWN]).tolist():
                self._table[code] = cell_len(self._glyphs[code])
            found = self._table[codes]
        widths: npt.NDArray[np.int32] = found.astype(np.int32)
        return widths


def characters(text: str, widths: Widths) -> Characters:
    """The characters of a text without half surrogate pairs."""
    import numpy as np

    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    sizes = 1 + (codes >= 0x80).astype(np.int64) + (codes >= 0x800) + (codes >= 0x10000)
    starts = np.zeros(len(codes) + 1, np.int64)
    np.cumsum(sizes, out=starts[1:])
    return Characters(text, codes, starts, widths.of(codes))
