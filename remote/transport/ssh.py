"""A host over SSH, through asyncssh: keys only, nothing forwarded, host keys checked by our own rules."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import asyncssh

from nanochat.common.errors import Exit, UserError
from nanochat.common.paths import Layout
from remote.hosts.book import Host
from remote.transport.base import (
    CONNECT_TIMEOUT,
    ByteReader,
    ByteWriter,
    Completed,
    HostUnreachable,
    LoginShellFailed,
    read_all,
    split_lines,
)
from remote.transport.login_shell import AfterMark, command_line, new_mark
from remote.transport.ssh_login import Login, reason
from remote.transport.ssh_sessions import Sessions

KEEPALIVE_INTERVAL = 5.0  # a dead link is noticed after three
_STDERR_KEPT = 4096
_GRACE = 2.0
_LOGIN = 30.0  # seconds that login files may take


class SSHTransport:
    """Commands on an SSH host. OpenSSH's configuration is honoured (aliases, ProxyJump, IdentityFile …)."""

    def __init__(self, host: Host, layout: Layout) -> None:
        self.host = host
        self.name = host.name
        self._known_hosts = layout.known_hosts
        self._login: Login | None = None
        self._sessions: Sessions | None = None

    async def connect(self) -> None:
        """Opens the connection within 10 s.

        Raises `UnknownHostKey`, `ChangedHostKey`, `AuthenticationFailed`, `HostUnreachable`, or `UserError`
        for a key or an ~/.ssh/config that cannot be used.
        """
        login = self._login = Login(self.host, self._known_hosts, KEEPALIVE_INTERVAL, CONNECT_TIMEOUT)
        self._sessions = Sessions(self.name, await self._open(login), lambda: self._open(login))

    async def _open(self, login: Login) -> asyncssh.SSHClientConnection:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                return await login.open()
        except TimeoutError:
            raise HostUnreachable(
                self.name, f"no answer within {CONNECT_TIMEOUT:g} s", f"target {self.host.target}"
            ) from None

    async def close(self) -> None:
        """Closes the connection and everything over it."""
        sessions, self._sessions = self._sessions, None
        if sessions is not None:
            await sessions.close()
        if self._login is not None:
            await self._login.close()

    async def run(self, argv: Sequence[str], input: bytes = b"", within: float = 60.0) -> Completed:
        """Runs a command to its end; `HostUnreachable` when the link is lost or `within` seconds pass.

        Only what the command itself reads and prints passes: a login file's words are left out, and `input`
        is sent once the login files are through. Raises `LoginShellFailed` when they never are.
        """
        mark = new_mark()
        process = await self._start(argv, mark)
        out, err = AfterMark(process.stdout.read, mark), AfterMark(process.stderr.read, mark)
        try:
            async with asyncio.timeout(within):
                stdout, stderr, _ = await asyncio.gather(
                    read_all(out.read, self.name), read_all(err.read, self.name), _feed(process, out, input)
                )
                await process.wait_closed()
        except TimeoutError:
            raise self._late(Path(argv[0]).name, within, out, err) from None
        except (asyncssh.Error, OSError) as error:
            raise HostUnreachable(self.name, reason(error)) from error
        finally:
            process.close()
        if process.returncode is None:
            raise HostUnreachable(self.name, "the connection was lost")
        if not out.found:
            what = f"ended without running our command (exit {process.returncode})"
            raise LoginShellFailed(self.name, what, out.before + err.before)
        return Completed(process.returncode, stdout, stderr)

    def _late(self, program: str, within: float, out: AfterMark, err: AfterMark) -> UserError:
        if out.found:
            return HostUnreachable(self.name, f"{program} gave no answer in {within:g} s")
        return LoginShellFailed(
            self.name, f"has not come to our command in {within:g} s", out.before + err.before
        )

    async def stream(self, argv: Sequence[str]) -> SSHStream:
        """Starts a command that goes on; returns once the login files are through."""
        mark = new_mark()
        stream = SSHStream(self.name, await self._start(argv, mark), mark)
        try:
            await stream.begin()
        except BaseException:
            await stream.close()
            raise
        return stream

    async def dial(self, port: int) -> tuple[ByteReader, ByteWriter]:
        """Connects to a port of the host's own address, over the connection that is there."""
        if self._sessions is None:
            raise HostUnreachable(self.name, "not connected")
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                reader, writer = await self._sessions.connect(port)
        except TimeoutError:
            raise HostUnreachable(self.name, "it does not answer") from None
        except asyncssh.ChannelOpenError as error:
            if error.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED:
                raise UserError(
                    f"host '{self.name}' forwards no ports, so a server there cannot be reached",
                    "let its sshd do so: AllowTcpForwarding local, in its sshd_config",
                    Exit.FAILED,
                ) from error
            what = f"nothing answers at port {port} of host '{self.name}'"
            raise UserError(what, reason(error), Exit.FAILED) from error
        except (asyncssh.Error, OSError) as error:
            raise HostUnreachable(self.name, reason(error)) from error
        return _Reader(reader), _Writer(writer)

    async def _start(self, argv: Sequence[str], mark: bytes) -> asyncssh.SSHClientProcess[bytes]:
        if self._sessions is None:
            raise HostUnreachable(self.name, "not connected")
        try:
            async with asyncio.timeout(2 * CONNECT_TIMEOUT):  # it may need another connection
                return await self._sessions.start(command_line(argv, mark))
        except TimeoutError:
            raise HostUnreachable(self.name, "it does not answer") from None
        except asyncssh.ChannelOpenError as error:
            raise HostUnreachable(self.name, f"it lets no command run: {reason(error)}") from error
        except (asyncssh.Error, OSError) as error:
            raise HostUnreachable(self.name, reason(error)) from error


class _Reader:
    """asyncssh's reader, whose errors are a lost link's."""

    def __init__(self, reader: asyncssh.SSHReader[bytes]) -> None:
        self._reader = reader

    async def read(self, size: int, /) -> bytes:
        try:
            return await self._reader.read(size)
        except asyncssh.Error as error:
            raise ConnectionResetError(reason(error)) from error


class _Writer:
    """asyncssh's writer, likewise."""

    def __init__(self, writer: asyncssh.SSHWriter[bytes]) -> None:
        self._writer = writer
        self.write = writer.write
        self.can_write_eof = writer.can_write_eof
        self.write_eof = writer.write_eof
        self.close = writer.close

    async def drain(self) -> None:
        try:
            await self._writer.drain()
        except asyncssh.Error as error:
            raise ConnectionResetError(reason(error)) from error


class SSHStream:
    """A running command at the other end that talks in lines."""

    def __init__(self, name: str, process: asyncssh.SSHClientProcess[bytes], mark: bytes) -> None:
        self._name = name
        self._process = process
        self._out = AfterMark(process.stdout.read, mark)
        self._err = AfterMark(process.stderr.read, mark)
        self._said = b""
        self._listening = asyncio.create_task(self._listen())

    async def begin(self) -> None:
        """Waits until the command runs. Raises `LoginShellFailed` when the login shell never runs it."""
        try:
            async with asyncio.timeout(_LOGIN):
                if await self._out.begin():
                    return
                await self._process.wait_closed()
        except TimeoutError:
            what = f"has not come to our command in {_LOGIN:g} s"
            raise LoginShellFailed(self._name, what, self._out.before) from None
        except (asyncssh.Error, OSError) as error:
            raise HostUnreachable(self._name, reason(error)) from error
        if self._process.returncode is None:
            raise HostUnreachable(self._name, "the connection was lost")
        what = f"ended without running our command (exit {self._process.returncode})"
        raise LoginShellFailed(self._name, what, self._out.before)

    async def _listen(self) -> None:
        with contextlib.suppress(asyncssh.Error, OSError):
            while data := await self._err.read(4096):
                self._said = (self._said + data)[-_STDERR_KEPT:]

    async def write(self, data: bytes) -> None:
        """Sends bytes to its standard input."""
        try:
            self._process.stdin.write(data)
            await self._process.stdin.drain()
        except (asyncssh.Error, OSError) as error:
            raise HostUnreachable(self._name, reason(error)) from error

    async def lines(self) -> AsyncIterator[bytes]:
        """Its standard output, line by line."""
        try:
            async for line in split_lines(self._out.read, self._name):
                yield line
        except (asyncssh.Error, OSError) as error:
            raise HostUnreachable(self._name, reason(error)) from error

    async def close(self) -> str:
        """Ends it; the end of what it said on standard error."""
        with contextlib.suppress(asyncssh.Error, OSError):
            self._process.stdin.write_eof()
        with contextlib.suppress(TimeoutError, asyncssh.Error, OSError):
            async with asyncio.timeout(_GRACE):
                await self._process.wait_closed()
        self._process.close()
        self._listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._listening
        return self._said.decode(errors="replace")


async def _feed(process: asyncssh.SSHClientProcess[bytes], out: AfterMark, input: bytes) -> None:
    """Sends the input and closes it. A command that ends before it has read all tells why by its exit."""
    with contextlib.suppress(asyncssh.Error, OSError):
        if input:
            # Sent at once, a login file that reads its input would take it, or a shell run it as a script.
            await out.settled.wait()
            if out.found:
                process.stdin.write(input)
        process.stdin.write_eof()
