"""This machine as a host: commands are subprocesses in a session of their own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

from remote.transport.base import ByteReader, ByteWriter, Completed, HostUnreachable, read_all, split_lines
from remote.transport.child import end_child, start_child

_GRACE = 5.0
_STDERR_KEPT = 4096


class LocalTransport:
    """Runs commands here. A session of their own keeps a ctrl+c in the terminal from reaching them."""

    def __init__(self, name: str = "local") -> None:
        self.name = name
        self._streams: list[LocalStream] = []

    async def connect(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Ends every stream."""
        for stream in list(self._streams):
            await stream.close()

    async def run(self, argv: Sequence[str], input: bytes = b"", within: float = 60.0) -> Completed:
        """Runs a command to its end; killed, with `HostUnreachable`, after `within` seconds."""
        process = await start_child(argv)
        try:
            async with asyncio.timeout(within):
                stdout, stderr, _ = await asyncio.gather(
                    read_all(_reader(process.stdout), self.name),
                    read_all(_reader(process.stderr), self.name),
                    _feed(process, input),
                )
                await process.wait()
        except TimeoutError:
            raise HostUnreachable(self.name, f"{Path(argv[0]).name} gave no answer in {within:g} s") from None
        finally:
            await end_child(process)
        assert process.returncode is not None
        return Completed(process.returncode, stdout, stderr)

    async def stream(self, argv: Sequence[str]) -> LocalStream:
        """Starts a command that goes on."""
        stream = LocalStream(self.name, await start_child(argv), self._streams)
        self._streams.append(stream)
        return stream

    async def dial(self, port: int) -> tuple[ByteReader, ByteWriter]:
        """For the protocol only: ports of this machine are used as they are."""
        return await asyncio.open_connection("127.0.0.1", port)


class LocalStream:
    """A running subprocess that talks in lines."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, owner: list[LocalStream]) -> None:
        self._name = name
        self._process = process
        self._owner = owner
        self._said = b""
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        assert self._process.stderr is not None
        while data := await self._process.stderr.read(4096):
            self._said = (self._said + data)[-_STDERR_KEPT:]

    async def write(self, data: bytes) -> None:
        """Sends bytes to its standard input."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            await self._process.stdin.drain()
        except OSError as error:
            raise HostUnreachable(self._name, f"the agent went away ({error.strerror})") from error

    def lines(self) -> AsyncIterator[bytes]:
        """Its standard output, line by line."""
        assert self._process.stdout is not None
        return split_lines(self._process.stdout.read, self._name)

    async def close(self) -> str:
        """Closes its standard input, waits a little, kills it if it must; the end of its stderr."""
        if self in self._owner:
            self._owner.remove(self)
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
            await end_child(self._process, within=_GRACE)
            await asyncio.wait({self._listening}, timeout=_GRACE)
        finally:
            await end_child(self._process)
            self._listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listening
        return self._said.decode(errors="replace")


def _reader(stream: asyncio.StreamReader | None) -> Callable[[int], Awaitable[bytes]]:
    assert stream is not None
    return stream.read


async def _feed(process: asyncio.subprocess.Process, input: bytes) -> None:
    """Sends the input and closes it; a command that ends before it has read all tells why by its exit."""
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.write(input)
        await process.stdin.drain()
    process.stdin.close()
