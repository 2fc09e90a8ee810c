"""A window over a console log of any length, read a chunk at a time from either end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from nanochat.common.text import sanitize

CHUNK = 256 * 1024
MAX_LINES = 20_000

Fetch = Callable[[int, int], Awaitable[tuple[bytes, int, int]]]
"""`fetch(offset, most)` gives `(bytes, offset, size of the file)`; a negative offset counts from the end."""


class Line(NamedTuple):
    """A line as shown, and the byte it begins at."""

    offset: int
    text: str


class Console:
    """A window of whole lines over a growing file.

    Bytes `start`..`end` are held as `lines`; `size` is the file's size as last reported. A line longer than a
    chunk is held in pieces. At most `MAX_LINES` are held: growing at one end drops lines at the other.
    """

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self.start = 0
        self.end = 0
        self.size = 0
        self.lines: list[Line] = []
        self._partial = b""

    @property
    def at_start(self) -> bool:
        """True when the window reaches the first byte."""
        return self.start == 0

    @property
    def at_end(self) -> bool:
        """True when the window reaches the last byte that is known."""
        return self.end + len(self._partial) >= self.size

    @property
    def shown(self) -> list[Line]:
        """The lines; the last one may have no newline yet."""
        if self._partial and self.at_end:
            return [*self.lines, Line(self.end, _text(self._partial))]
        return self.lines

    async def to_end(self) -> None:
        """Moves the window to the last chunk."""
        data, offset, self.size = await self._fetch(-CHUNK, CHUNK)
        skipped = 0
        if offset > 0:
            newline = data.find(b"\n")
            skipped = newline + 1 if newline >= 0 else 0
        self._restart(offset + skipped)
        self._append(data[skipped:])

    async def to_start(self) -> None:
        """Moves the window to the first chunk."""
        await self._begin_at(0)

    async def around(self, offset: int) -> None:
        """Moves the window so that the line at byte `offset` is in it, with lines before and after."""
        await self._begin_at(offset)
        await self.older()

    async def _begin_at(self, offset: int) -> None:
        data, offset, self.size = await self._fetch(offset, CHUNK)
        self._restart(offset)
        self._append(data)

    async def newer(self) -> int:
        """Reads further at the end; returns how many lines were dropped at the start."""
        have = self.end + len(self._partial)
        data, offset, self.size = await self._fetch(have, CHUNK)
        if self.size < have:  # the file was truncated: the lines we hold are no longer in it
            await self.to_end()
            return 0
        if data and offset == have:
            self._append(data)
        excess = max(0, len(self.lines) - MAX_LINES)
        if excess:
            del self.lines[:excess]
            self.start = self.lines[0].offset
        return excess

    async def older(self) -> int:
        """Reads backwards at the start; returns how many lines were added in front."""
        if self.at_start:
            return 0
        begin = max(0, self.start - CHUNK)
        data, begin, self.size = await self._fetch(begin, self.start - begin)
        if begin > 0:
            newline = data.find(b"\n", 0, len(data) - 1)
            if newline >= 0:
                begin, data = begin + newline + 1, data[newline + 1 :]
        fresh = _split(data, begin)
        self.lines[:0] = fresh
        self.start = begin
        excess = max(0, len(self.lines) - MAX_LINES)
        if excess:
            self.end = self.lines[-excess].offset
            self._partial = b""
            del self.lines[-excess:]
        return len(fresh)

    def _restart(self, offset: int) -> None:
        self.start = self.end = offset
        self.lines = []
        self._partial = b""

    def _append(self, data: bytes) -> None:
        held = self._partial + data
        whole = held.rfind(b"\n") + 1
        if not whole and len(held) >= CHUNK:
            whole = len(held)
        self.lines += _split(held[:whole], self.end)
        self.end += whole
        self._partial = held[whole:]


def _split(data: bytes, offset: int) -> list[Line]:
    """Lines by newline only: a carriage return redraws a line, it does not end one."""
    lines = []
    pieces = data.split(b"\n")
    last = pieces.pop()
    for raw in pieces:
        lines.append(Line(offset, _text(raw)))
        offset += len(raw) + 1
    return [*lines, Line(offset, _text(last))] if last else lines


def _text(raw: bytes) -> str:
    return sanitize(raw.decode("utf-8", "replace"))
