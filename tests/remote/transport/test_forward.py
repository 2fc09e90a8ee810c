"""A port that leads to another: both directions, ends that leave, and a link that is down."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from nanochat.common.errors import UserError
from remote.transport.base import ByteReader, ByteWriter
from remote.transport.forward import Forward


class Far:
    """A server at the other end that echoes, and notes which of its clients have left."""

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self.writers: list[asyncio.StreamWriter] = []
        self.up = True
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write(b"bye")
        writer.close()
        self.left.set()

    async def dial(self) -> tuple[ByteReader, ByteWriter]:
        if not self.up:
            raise UserError("the connection was lost")
        return await asyncio.open_connection("127.0.0.1", self.port)


@asynccontextmanager
async def forwarded() -> AsyncIterator[tuple[Forward, Far]]:
    far = Far()
    server = await asyncio.start_server(far.serve, "127.0.0.1", 0)
    far.port = server.sockets[0].getsockname()[1]
    forward = Forward(far.dial)
    await forward.start()
    try:
        yield forward, far
    finally:
        await forward.close()
        server.close()


async def connect(forward: Forward) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", forward.port)


async def test_bytes_go_both_ways_and_an_end_that_has_said_all_still_hears_the_rest() -> None:
    async with forwarded() as (forward, _):
        reader, writer = await connect(forward)
        sent = bytes(range(256)) * 20_000  # more than any buffer on the way

        async def send() -> None:
            writer.write(sent)
            await writer.drain()
            writer.write_eof()

        _, heard = await asyncio.gather(send(), reader.read(-1))
        assert heard == sent + b"bye"
        writer.close()


async def test_a_client_that_leaves_ends_the_far_connection() -> None:
    async with forwarded() as (forward, far):
        reader, writer = await connect(forward)
        writer.write(b"x")
        assert await reader.read(1) == b"x"
        writer.close()
        async with asyncio.timeout(10):
            await far.left.wait()


async def test_a_far_end_that_goes_away_ends_the_clients_connection() -> None:
    async with forwarded() as (forward, far):
        reader, writer = await connect(forward)
        writer.write(b"x")
        assert await reader.read(1) == b"x"
        far.writers[0].transport.abort()
        async with asyncio.timeout(10):
            with suppress(ConnectionResetError):
                assert await reader.read(-1) in (b"", b"bye")
        writer.close()


async def test_while_the_link_is_down_a_connection_closes_at_once_and_the_port_stays() -> None:
    async with forwarded() as (forward, far):
        far.up = False
        reader, writer = await connect(forward)
        async with asyncio.timeout(10):
            assert await reader.read(-1) == b""
        writer.close()
        far.up = True
        reader, writer = await connect(forward)
        writer.write(b"again")
        assert await reader.readexactly(5) == b"again"
        writer.close()


async def test_closing_it_ends_what_goes_over_it() -> None:
    async with forwarded() as (forward, _):
        reader, writer = await connect(forward)
        writer.write(b"x")
        assert await reader.read(1) == b"x"
        await forward.close()
        async with asyncio.timeout(10):
            await reader.read(-1)
        with pytest.raises(OSError):
            await connect(forward)
        writer.close()
