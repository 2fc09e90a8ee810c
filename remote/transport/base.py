"""How commands reach a host: one protocol, spoken by `local` (this machine) and by `ssh`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nanochat.common.errors import Exit, UserError
from nanochat.common.text import sanitize

CONNECT_TIMEOUT = 10.0
_READ_SIZE = 64 * 1024
_MAX_LINE = 8 << 20
ANSWER_LIMIT = 64 << 20


@dataclass(frozen=True)
class Completed:
    """A command that ended. `exit_code` is negative for the signal that killed it."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class HostUnreachable(UserError):  # noqa: N818 - the name says what it is
    """The host cannot be reached, or the connection was lost on the way."""

    def __init__(self, host: str, reason: str, hint: str = "") -> None:
        super().__init__(f"host '{host}' is unreachable: {sanitize(reason)}", hint, Exit.UNREACHABLE)


class LoginShellFailed(UserError):  # noqa: N818 - the name says what it is
    """The host let us in, and its login shell did something else than to run our command."""

    def __init__(self, host: str, what: str, said: bytes) -> None:
        words = " ".join(sanitize(said.decode(errors="replace")).split())[-200:]
        super().__init__(
            f"host '{host}': its login shell {what}" + (f"; it printed: {words}" if words else ""),
            "a login file there (.bashrc, .zshenv, config.fish, .cshrc) starts another program, waits or "
            "ends: let it do so in an interactive shell only",
            Exit.UNREACHABLE,
        )


class AuthenticationFailed(UserError):  # noqa: N818 - the name says what it is
    """The host answered and refused every key we have."""

    def __init__(self, host: str, reason: str, hint: str) -> None:
        super().__init__(f"host '{host}' refused the login: {sanitize(reason)}", hint, Exit.UNREACHABLE)


class UnknownHostKey(UserError):  # noqa: N818 - the name says what it is
    """The host's key has never been seen; `accept()` stores it so that the next connect trusts it."""

    def __init__(
        self, host: str, where: str, algorithm: str, fingerprint: str, known_hosts: Path, line: str
    ) -> None:
        super().__init__(
            f"host '{host}' ({where}) shows an unknown key: {algorithm} {fingerprint}",
            f"compare it on the host; accept it with `nanochat hosts test {host} --accept-key {fingerprint}`",
            Exit.UNREACHABLE,
        )
        self.host = host
        self.where = where
        self.algorithm = algorithm
        self.fingerprint = fingerprint
        self._known_hosts = known_hosts
        self._line = line

    def accept(self) -> None:
        """Adds the key to the control room's own known_hosts file."""
        from remote.transport.known_hosts import append_line

        append_line(self._known_hosts, self._line)


class ChangedHostKey(UserError):  # noqa: N818 - the name says what it is
    """The host shows another key than the one on record: refused, always."""

    def __init__(self, host: str, fingerprint: str, file: Path, line: int, name: str) -> None:
        super().__init__(
            f"host '{host}' shows another key ({fingerprint}) than the one in {file} line {line}: refused",
            "someone may be in between; only if the host was set up anew: "
            f"ssh-keygen -R '{name}' -f '{file}'",
            Exit.UNREACHABLE,
        )
        self.fingerprint = fingerprint
        self.file = file
        self.line = line


class ByteReader(Protocol):
    """The receiving half of a connection."""

    async def read(self, size: int, /) -> bytes:
        """What has come, at most `size` bytes; b"" when no more comes. Raises OSError on a lost link."""
        ...


class ByteWriter(Protocol):
    """The sending half of a connection. Every method may raise OSError on a lost link."""

    def write(self, data: bytes, /) -> None:
        """Sends bytes."""

    async def drain(self) -> None:
        """Waits until more may be sent."""

    def can_write_eof(self) -> bool:
        """Whether the other end can be told that no more comes."""
        ...

    def write_eof(self) -> None:
        """Tells so."""

    def close(self) -> None:
        """Closes both halves."""


class Stream(Protocol):
    """A command that keeps running and talks in lines."""

    async def write(self, data: bytes) -> None:
        """Sends bytes to its standard input."""

    def lines(self) -> AsyncIterator[bytes]:
        """Its standard output, line by line without the newline; raises `HostUnreachable` on a lost link."""
        ...

    async def close(self) -> str:
        """Ends it and returns the end of what it said on standard error."""
        ...


class Transport(Protocol):
    """A way to run commands on one host. Every method may raise `HostUnreachable`."""

    async def connect(self) -> None:
        """Opens the connection; raises one of the errors above."""

    async def close(self) -> None:
        """Closes it and everything that runs over it."""

    async def run(self, argv: Sequence[str], input: bytes = b"", within: float = 60.0) -> Completed:
        """Runs a command to its end."""
        ...

    async def stream(self, argv: Sequence[str]) -> Stream:
        """Starts a command that goes on."""
        ...

    async def dial(self, port: int) -> tuple[ByteReader, ByteWriter]:
        """Connects to a port of the host's own address. Raises `UserError` where the host lets nobody do
        that, or nothing listens there."""
        ...


AskHostKey = Callable[[UnknownHostKey], Awaitable[bool]]


async def split_lines(read: Callable[[int], Awaitable[bytes]], host: str) -> AsyncIterator[bytes]:
    """Lines out of a byte reader. A torn last line is dropped; an absurdly long one is an error."""
    rest: list[bytes] = []
    held = 0
    while data := await read(_READ_SIZE):
        first, newline, more = data.partition(b"\n")
        rest.append(first)
        held += len(first)
        if held > _MAX_LINE:
            raise HostUnreachable(host, f"it sent a line of more than {_MAX_LINE >> 20} MiB")
        if not newline:
            continue
        yield b"".join(rest)
        *whole, last = more.split(b"\n")
        for line in whole:
            yield line
        rest, held = [last], len(last)


async def read_all(read: Callable[[int], Awaitable[bytes]], host: str) -> bytes:
    """Everything out of a byte reader; `HostUnreachable` beyond 64 MiB."""
    parts: list[bytes] = []
    held = 0
    while data := await read(_READ_SIZE):
        parts.append(data)
        held += len(data)
        if held > ANSWER_LIMIT:
            raise HostUnreachable(host, f"it answered with more than {ANSWER_LIMIT >> 20} MiB")
    return b"".join(parts)
