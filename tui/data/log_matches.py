"""The lines of a log that hold a text, as a window over all of them, read from either end as it is walked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanochat.common.text import sanitize
from tui.data import console
from tui.data.console import Line

if TYPE_CHECKING:
    from remote.runs import Found
    from tui.data.console_source import LogSource

MOST = 2_000
"""Lines asked for at once."""


class Matches:
    """A window as `Console` is one, of matching lines only.

    Bytes `start` to `end` have been searched, and `lines` are all matches in them. At most `MAX_LINES` are
    held: going on at one end drops lines at the other, never at the same. Each step ends after a second
    at the latest, wherever it has come to, so that a search of a huge log shows how far it is.
    """

    def __init__(self, source: LogSource, text: str) -> None:
        self.text = text
        self.start = 0
        self.end = 0
        self.size = 0
        self.lines: list[Line] = []
        self._source = source
        self._torn: Line | None = None
        self._whole = 0

    @property
    def at_start(self) -> bool:
        """True when everything from the first byte on has been searched."""
        return self.start == 0

    @property
    def at_end(self) -> bool:
        """True when everything up to the last line that is known has been searched."""
        return self.end >= self._whole

    @property
    def shown(self) -> list[Line]:
        """The lines; the last one may have no newline yet."""
        return [*self.lines, self._torn] if self._torn is not None and self.at_end else self.lines

    async def to_end(self) -> None:
        """Moves the window to the last matches."""
        found = await self._search(-1, back=True)
        self.start, self.end = found.start, found.end
        self.lines = _lines(found)[::-1]

    async def to_start(self) -> None:
        """Moves the window to the first matches."""
        self.lines, self.start, self.end = [], 0, 0
        await self.newer()

    async def around(self, offset: int) -> None:
        """Moves the window so that matches before and after `offset` are in it."""
        self.lines, self.start, self.end = [], offset, offset
        await self.newer()
        await self.older()

    async def newer(self) -> int:
        """Searches on at the end; returns how many lines were dropped at the start."""
        found = await self._search(self.end, back=False)
        if found.size < self.end:  # the file was truncated: the lines we hold are no longer in it
            await self.to_end()
            return 0
        self.lines += _lines(found)
        self.end = found.end
        excess = max(0, len(self.lines) - console.MAX_LINES)
        if excess:
            del self.lines[:excess]
            self.start = self.lines[0].offset
        return excess

    async def older(self) -> int:
        """Searches backwards at the start; returns how many lines were added in front."""
        if self.at_start:
            return 0
        found = await self._search(self.start, back=True)
        fresh = _lines(found)[::-1]
        self.lines[:0] = fresh
        self.start = min(self.start, found.start)
        excess = max(0, len(self.lines) - console.MAX_LINES)
        if excess:
            self.end = self.lines[-excess].offset
            del self.lines[-excess:]
        return len(fresh)

    async def _search(self, offset: int, back: bool) -> Found:
        found = await self._source.search(self.text, offset, back, MOST)
        self.size, self._whole = found.size, found.whole
        self._torn = None if found.torn is None else _line(found.torn)
        return found


def _lines(found: Found) -> list[Line]:
    return [_line(line) for line in found.lines]


def _line(told: tuple[int, str]) -> Line:
    offset, text = told
    return Line(offset, sanitize(text))
