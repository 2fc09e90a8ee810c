"""Server-sent events, read: from the bytes of a response to the data of each event (WHATWG HTML, 9.2).

A line ends with CR LF, LF or CR and nothing else: httpx's own `aiter_lines` also cuts at U+2028 and U+0085,
which JSON may hold as they are.
"""

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator

from nanochat.common.errors import Exit, UserError

TURN_SECONDS = 0.004
"""How long events that are there already are handled before others have their turn in the loop."""
MAX_EVENT_BYTES = 16 << 20
"""The largest event that is read. A server of language models sends a few hundred bytes."""


class EventReader:
    """Gives the data of every event as soon as the blank line after it has come."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._data: list[bytes] = []
        self._size = 0
        self._first = True
        self._after_cr = False

    def feed(self, chunk: bytes) -> list[str]:
        """The events that `chunk` completes. Raises `UserError` for one larger than `MAX_EVENT_BYTES`."""
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")  # the second half of a line end
            self._after_cr = False
        if not chunk:
            return []
        self._after_cr = chunk.endswith(b"\r")
        events: list[str] = []
        *lines, rest = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            whole = bytes(self._rest) + line
            self._rest.clear()
            self._line(whole, events)
        self._rest += rest
        self._bound(len(self._rest))
        return events

    def _line(self, line: bytes, events: list[str]) -> None:
        if self._first:
            line = line.removeprefix(b"\xef\xbb\xbf")
            self._first = False
        if not line:
            if self._data:
                events.append(b"\n".join(self._data).decode("utf-8", "replace"))
            self._data, self._size = [], 0
            return
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
            self._bound(len(value))
            self._size += len(value)

    def _bound(self, more: int) -> None:
        if self._size + more > MAX_EVENT_BYTES:
            raise UserError(
                f"the server sent an event of more than {MAX_EVENT_BYTES >> 20} MiB",
                "is it a server of language models?",
                Exit.FAILED,
            )


async def read_events(chunks: AsyncIterable[bytes]) -> AsyncIterator[str]:
    """The data of each event in a stream of bytes. One that the end cuts off is dropped, as the standard
    says."""
    reader, begun = EventReader(), time.perf_counter()
    async for chunk in chunks:
        for event in reader.feed(chunk):
            yield event
            if time.perf_counter() - begun > TURN_SECONDS:
                await asyncio.sleep(0)
                begun = time.perf_counter()
