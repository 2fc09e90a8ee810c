"""Commands over one SSH connection, or over more where a host lets few commands share one (MaxSessions)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import asyncssh

from remote.transport.base import HostUnreachable

MOST_CONNECTIONS = 8
_GRACE = 2.0
_AGAIN = 0.05
_TRIES = 10


@dataclass
class _Shared:
    """One connection: how many commands run over it, and how many it takes (None: not known to be few)."""

    connection: asyncssh.SSHClientConnection
    busy: int = 0
    room: int | None = None
    used: bool = False

    @property
    def free(self) -> bool:
        return not self.connection.is_closed() and (self.room is None or self.busy < self.room)


class Sessions:
    """Starts commands; `first` is the connection they begin with, `another` opens one more."""

    def __init__(
        self,
        name: str,
        first: asyncssh.SSHClientConnection,
        another: Callable[[], Awaitable[asyncssh.SSHClientConnection]],
    ) -> None:
        self._name = name
        self._another = another
        self._first = first
        self._all = [_Shared(first)]
        self._opening = asyncio.Lock()
        self._watching: set[asyncio.Task[None]] = set()

    async def start(self, line: str) -> asyncssh.SSHClientProcess[bytes]:
        """Runs `line` under the login shell. Raises asyncssh's errors, and `HostUnreachable`."""
        while True:
            shared = await self._with_room()
            process = await self._try(shared, line)
            if process is not None:
                return process

    async def connect(self, port: int) -> tuple[asyncssh.SSHReader[bytes], asyncssh.SSHWriter[bytes]]:
        """Both ends of a connection to a port of the host's own address. Raises asyncssh's errors, and
        `HostUnreachable`. MaxSessions does not count it."""
        if self._first.is_closed():
            raise HostUnreachable(self._name, "the connection was lost")
        return await self._first.open_connection("127.0.0.1", port)

    async def _try(self, shared: _Shared, line: str) -> asyncssh.SSHClientProcess[bytes] | None:
        """The command over this connection; None when it takes no more, which is then known of it."""
        for _ in range(_TRIES):
            shared.busy += 1
            try:
                process = await shared.connection.create_process(line, encoding=None)
            except asyncssh.ChannelOpenError:
                shared.busy -= 1
                if shared.connection.is_closed() or not (shared.used or shared.busy):
                    raise  # not even one command: no other connection would help
                if shared.busy:
                    shared.room = shared.busy
                    return None
                await asyncio.sleep(_AGAIN)  # its last command has ended here, but not yet there
                continue
            except BaseException:
                shared.busy -= 1
                raise
            shared.used = True
            self._watch(shared, process)
            return process
        shared.room = 0  # a command that we gave up still runs there
        return None

    def _watch(self, shared: _Shared, process: asyncssh.SSHClientProcess[bytes]) -> None:
        async def until_closed() -> None:
            try:
                with contextlib.suppress(asyncssh.Error, OSError):
                    await process.wait_closed()
            finally:
                shared.busy -= 1

        task = asyncio.create_task(until_closed())
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)

    async def _with_room(self) -> _Shared:
        """A connection that takes one more command, opened if need be."""
        while True:
            if self._first.is_closed():
                raise HostUnreachable(self._name, "the connection was lost")
            async with self._opening:
                self._all = [shared for shared in self._all if not shared.connection.is_closed()]
                for shared in self._all:
                    if shared.free:
                        return shared
                if len(self._all) < MOST_CONNECTIONS:
                    self._all.append(_Shared(await self._another()))
                    return self._all[-1]
            await asyncio.sleep(_AGAIN)

    async def close(self) -> None:
        """Closes every connection and what runs over it."""
        connections = [shared.connection for shared in self._all]
        for connection in connections:
            connection.close()
        try:
            async with asyncio.timeout(_GRACE):
                await asyncio.gather(*(connection.wait_closed() for connection in connections))
        except TimeoutError:
            for connection in connections:
                connection.abort()
        for task in list(self._watching):
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
