"""Lines of a file that hold a text, found where the file lies, from any byte on and in either direction.

What counts as a match is what `grep --fixed-strings --ignore-case` finds: ASCII letters match in either case,
other letters as Python lowers them. Lines end at newlines only.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from .files import AgentError, open_regular, os_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Json = dict[str, Any]
    Read = Callable[[int, int], bytes]

BLOCK = 1024 * 1024
LONGEST = 4 * BLOCK
"""A line longer than this is taken in pieces."""
LINE_CAP = 64 * 1024
MOST_BYTES = 1024 * 1024
"""Of matching lines in one answer."""
MOST_SECONDS = 1.0
_TEXT_CAP = 2_000


class Wanted(NamedTuple):
    """What is asked for: lines with `text` that begin before byte `offset` (`back`), or at it and after.

    At most `most` of them, nearest to `offset` first; the search ends after `seconds`, wherever it is.
    A negative `offset` is the end of the file.
    """

    text: str
    offset: int
    back: bool
    most: int
    seconds: float

    @classmethod
    def parse(cls, content: Json) -> Wanted:
        """Raises AgentError for what cannot be searched for."""
        text = content.get("text")
        if not isinstance(text, str) or not text or "\n" in text or len(text) > _TEXT_CAP:
            raise AgentError(f"'text' must be one line of 1 to {_TEXT_CAP} characters", "usage")
        try:
            offset, most = int(content.get("offset", -1)), int(content.get("most", 1))
            seconds = float(content.get("seconds", MOST_SECONDS))
        except (TypeError, ValueError, OverflowError) as error:
            raise AgentError(f"'offset', 'most' and 'seconds' must be numbers: {error}", "usage") from error
        return cls(text, offset, bool(content.get("back")), max(1, most), min(seconds, MOST_SECONDS))


def search(path: Path, wanted: Wanted) -> Json:
    """Searches a file. One that is not there is empty. Raises AgentError when it cannot be read."""
    try:
        descriptor = open_regular(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return find_lines(lambda at, most: b"", 0, wanted)
    except OSError as error:
        raise os_error(f"cannot search {path.name}", error) from error
    try:
        return find_lines(
            lambda at, most: os.pread(descriptor, most, at), os.fstat(descriptor).st_size, wanted
        )
    finally:
        os.close(descriptor)


def find_lines(read: Read, size: int, wanted: Wanted) -> Json:
    """Searches `size` bytes that `read(offset, most)` gives.

    The answer: `lines` as `[offset, text]`, nearest first; `from` and `to`, the bytes whose lines have been
    searched; `size`; `whole`, how many of the bytes are lines with a newline; and `torn`, the line after
    those where it matches.
    """
    finder = _Finder(read, size, wanted)
    offset = size if wanted.offset < 0 else min(wanted.offset, size)
    start, stop = finder.back(offset) if wanted.back else finder.onward(offset)
    torn, whole = finder.torn, finder.whole
    return {"lines": finder.lines, "torn": torn, "from": start, "to": stop, "whole": whole, "size": size}


class _Finder:
    def __init__(self, read: Read, size: int, wanted: Wanted) -> None:
        self.lines: list[tuple[int, str]] = []
        self._read = read
        self._size = size
        self._most = wanted.most
        self._bytes = 0
        self._until = time.monotonic() + wanted.seconds
        self._text = wanted.text.lower()
        self._needle = self._text.encode() if wanted.text.isascii() else b""
        self.whole, last = self._last_line()
        self.torn = (self.whole, _shown(last)) if any(True for _ in self._matches(last)) else None

    def onward(self, at: int) -> tuple[int, int]:
        """Lines that begin at `at` or after it; the bytes searched."""
        if at and self._read(at - 1, 1) != b"\n":
            at = self._line_end(at)
        at = first = min(at, self.whole)
        while at < self.whole:
            block = self._read(at, min(BLOCK, self.whole - at))
            while b"\n" not in block and len(block) < min(LONGEST, self.whole - at):
                more = self._read(at + len(block), min(BLOCK, self.whole - at - len(block)))
                if not more:
                    break
                block += more
            if not block:
                break  # the file is shorter by now
            block = block[: block.rfind(b"\n") + 1 or len(block)]
            for start, stop in self._matches(block):
                self._take(at + start, block[start:stop])
                if self._full():
                    return first, at + stop
            at += len(block)
            if time.monotonic() > self._until:
                break
        return first, at

    def back(self, before: int) -> tuple[int, int]:
        """Lines that begin before `before`; the bytes searched."""
        end = stop = min(self._line_end(before), self.whole) if before else 0
        while end > 0:
            length = min(end, BLOCK)
            block = self._read(end - length, length)
            while b"\n" not in block[:-1] and length < min(end, LONGEST):
                more = min(end - length, BLOCK)
                block = self._read(end - length - more, more) + block
                length += more
            cut = block.find(b"\n", 0, len(block) - 1) + 1 if length < end else 0
            block, first = block[cut:], end - length + cut
            for start, at in self._matches_back(block):
                self._take(first + start, block[start:at])
                if self._full():
                    return first + start, stop
            end = first
            if time.monotonic() > self._until:
                break
        return end, stop

    def _line_end(self, at: int) -> int:
        """Where the line that byte `at - 1` belongs to ends: after its newline, or at the end of the file."""
        at -= 1
        last = min(self._size, at + LONGEST)
        while at < last:
            block = self._read(at, min(BLOCK, last - at))
            if not block:
                return self._size
            newline = block.find(b"\n")
            if newline >= 0:
                return at + newline + 1
            at += len(block)
        return at

    def _last_line(self) -> tuple[int, bytes]:
        """The line at the end of the file that has no newline yet, and where it begins."""
        block = b""
        while len(block) < min(self._size, LONGEST) and b"\n" not in block:
            more = min(self._size - len(block), BLOCK)
            block = self._read(self._size - len(block) - more, more) + block
        last = block[block.rfind(b"\n") + 1 :]
        return self._size - len(last), last

    def _take(self, at: int, raw: bytes) -> None:
        text = _shown(raw)
        self.lines.append((at, text))
        self._bytes += len(text)

    def _full(self) -> bool:
        return len(self.lines) >= self._most or self._bytes >= MOST_BYTES

    def _matches(self, block: bytes) -> Iterator[tuple[int, int]]:
        """Where lines of whole lines begin and end that match, in order."""
        if not self._needle:
            yield from self._matches_folded(block)
            return
        folded, at = block.lower(), 0
        while (found := folded.find(self._needle, at)) >= 0:
            start = folded.rfind(b"\n", at, found) + 1 or at
            at = folded.find(b"\n", found) + 1 or len(folded)
            yield start, at

    def _matches_back(self, block: bytes) -> Iterator[tuple[int, int]]:
        if not self._needle:
            yield from reversed(list(self._matches_folded(block)))
            return
        folded, end = block.lower(), len(block)
        while (found := folded.rfind(self._needle, 0, end)) >= 0:
            stop = folded.find(b"\n", found) + 1 or len(folded)
            end = folded.rfind(b"\n", 0, found) + 1
            yield end, stop

    def _matches_folded(self, block: bytes) -> Iterator[tuple[int, int]]:
        start = 0
        while start < len(block):
            stop = block.find(b"\n", start) + 1 or len(block)
            if self._text in block[start:stop].decode("utf-8", "replace").lower():
                yield start, stop
            start = stop


def _shown(raw: bytes) -> str:
    """A line's text without its newline. Much too long a line is cut, behind its last redrawing."""
    raw = raw.rstrip(b"\n")
    if len(raw) > LINE_CAP:
        raw = raw[raw.rstrip(b"\r").rfind(b"\r") + 1 :][:LINE_CAP]
    return raw.decode("utf-8", "replace")
