"""A port of this machine that leads to a port of a host, and outlives the connection it leads over."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from nanochat.common.errors import UserError
from remote.transport.base import ByteReader, ByteWriter

_READ_SIZE = 64 * 1024

Dial = Callable[[], Awaitable[tuple[ByteReader, ByteWriter]]]


class Forward:
    """Listens on this machine's own address; each connection goes over what `dial` opens for it.

    While the host cannot be reached a connection is closed at once. The port stays the same.
    """

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self) -> int:
        """Begins to listen at a free port, which it returns."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self.port

    async def close(self) -> None:
        """Stops listening and ends what goes over it."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer), name=f"forward {self.port}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far: ByteWriter | None = None
        try:
            far_reader, far = await self._dial()
            # One end that has said all may still listen; one that breaks takes the other with it.
            async with asyncio.TaskGroup() as both:
                both.create_task(_pump(reader, far))
                both.create_task(_pump(far_reader, writer))
        except* (OSError, UserError):
            pass  # the link was lost, or an end went away: the client sees its connection close
        finally:
            for end in (writer, far):
                if end is not None:
                    with contextlib.suppress(OSError):
                        end.close()


async def _pump(source: ByteReader, sink: ByteWriter) -> None:
    """Passes on what comes, then that no more comes."""
    while data := await source.read(_READ_SIZE):
        sink.write(data)
        await sink.drain()
    with contextlib.suppress(OSError):
        if sink.can_write_eof():
            sink.write_eof()
