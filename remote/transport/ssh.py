"""A host over SSH, through asyncssh: keys only, nothing forwarded, host keys checked by our own rules."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import asyncssh

from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from remote.hosts.book import Host
from remote.transport.base import (
    CONNECT_TIMEOUT,
    AuthenticationFailed,
    ChangedHostKey,
    Completed,
    HostUnreachable,
    LoginShellFailed,
    UnknownHostKey,
    read_all,
    split_lines,
)
from remote.transport.known_hosts import DEFAULT_PORT, first_line, key_line, look_up
from remote.transport.login_shell import AfterMark, command_line, new_mark

KEEPALIVE_INTERVAL = 5.0
KEEPALIVE_COUNT = 3  # a dead link is noticed after 15 s
HOST_KEY_ALGORITHMS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)
_STDERR_KEPT = 4096
_GRACE = 2.0
_LOGIN = 30.0  # seconds that login files may take


class _Client(asyncssh.SSHClient):
    """Notes the host key that was shown and not trusted."""

    def __init__(self) -> None:
        self.shown: tuple[str, str, int, asyncssh.SSHKey] | None = None

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        self.shown = (host, addr, port, key)
        return False


class SSHTransport:
    """Commands on an SSH host. ~/.ssh/config is honoured (aliases, ProxyJump, User, IdentityFile …)."""

    def __init__(self, host: Host, layout: Layout) -> None:
        self.host = host
        self.name = host.name
        self._known_hosts = layout.known_hosts
        self._connection: asyncssh.SSHClientConnection | None = None
        self._client = _Client()

    @property
    def files(self) -> list[Path]:
        """The known_hosts files, ours first."""
        return [
            self._known_hosts,
            Path("~/.ssh/known_hosts").expanduser(),
            Path("/etc/ssh/ssh_known_hosts"),
        ]

    async def connect(self) -> None:
        """Opens the connection within 10 s.

        Raises `UnknownHostKey`, `ChangedHostKey`, `AuthenticationFailed`, `HostUnreachable`, or `UserError`
        for a key or an ~/.ssh/config that cannot be used.
        """
        self._client = _Client()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                options = await self._options()
                self._connection = await asyncssh.connect(host=self.host.address, options=options)
        except asyncssh.HostKeyNotVerifiable as error:
            raise self._untrusted(str(error)) from error
        except asyncssh.PermissionDenied as error:
            raise self._refused() from error
        except (TimeoutError, OSError, asyncssh.Error) as error:
            raise HostUnreachable(self.name, _reason(error), f"target {self.host.target}") from error
        except (asyncssh.ConfigParseError, asyncssh.KeyImportError, ValueError) as error:
            raise UserError(f"host '{self.name}': {error}", "look at the key and ~/.ssh/config") from error

    async def _options(self) -> asyncssh.SSHClientConnectionOptions:
        host = self.host
        arguments: dict[str, Any] = {
            "host": host.address,
            "client_factory": lambda: self._client,
            "known_hosts": self._trusted,
            "password_auth": False,
            "kbdint_auth": False,
            "preferred_auth": ("publickey",),
            "agent_forwarding": False,
            "x11_forwarding": False,
            "request_pty": False,
            "keepalive_interval": KEEPALIVE_INTERVAL,
            "keepalive_count_max": KEEPALIVE_COUNT,
            "login_timeout": CONNECT_TIMEOUT,
        }
        if host.user:
            arguments["username"] = host.user
        if host.port:
            arguments["port"] = host.port
        if host.key:
            arguments.update(await asyncio.to_thread(_key_arguments, host))
        options: asyncssh.SSHClientConnectionOptions
        options = await asyncssh.SSHClientConnectionOptions.construct(**arguments)
        # Ask for the kind of key we know first, or a host with several would seem to have changed.
        name, port = options.host_key_alias or options.host, options.port
        known = await asyncio.to_thread(look_up, self.files, name, "", _port(port))
        if not known.authorities:
            ours = [alg.decode() for key in known.keys for alg in key.sig_algorithms]
            wanted = [
                alg for alg in dict.fromkeys((*ours, *HOST_KEY_ALGORITHMS)) if alg in HOST_KEY_ALGORITHMS
            ]
            options = await asyncssh.SSHClientConnectionOptions.construct(
                **arguments, server_host_key_algs=wanted
            )
        return options

    def _trusted(self, host: str, addr: str, port: int | None) -> tuple[Sequence[Any], ...]:
        record = look_up(self.files, host, addr, _port(port))
        keys = [key for key in record.keys if key not in record.revoked]
        return keys, list(record.authorities), list(record.revoked), [], [], [], []

    def _untrusted(self, reason: str) -> UserError:
        if self._client.shown is None:
            return HostUnreachable(self.name, f"its host key was refused: {reason}")
        host, addr, port, key = self._client.shown
        fingerprint = key.get_fingerprint("sha256")
        name = f"[{host}]:{port}" if _port(port) else host
        on_record = first_line(self.files, host, addr, _port(port))
        if on_record is not None:
            return ChangedHostKey(self.name, fingerprint, *on_record, name)
        return UnknownHostKey(
            self.name,
            name,
            key.get_algorithm(),
            fingerprint,
            self._known_hosts,
            key_line(key, host, port),
        )

    def _refused(self) -> AuthenticationFailed:
        user = self.host.user or "your user"
        if self.host.key:
            return AuthenticationFailed(
                self.name,
                f"the key {self.host.key} is not accepted for {user}",
                "put its public half into ~/.ssh/authorized_keys there",
            )
        return AuthenticationFailed(
            self.name,
            f"no key of ssh-agent or ~/.ssh is accepted for {user}",
            "name one with `hosts add --key FILE`, or load it with ssh-add",
        )

    async def close(self) -> None:
        """Closes the connection and everything over it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
            try:
                async with asyncio.timeout(_GRACE):
                    await connection.wait_closed()
            except TimeoutError:
                connection.abort()

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
            raise HostUnreachable(self.name, _reason(error)) from error
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

    async def _start(self, argv: Sequence[str], mark: bytes) -> asyncssh.SSHClientProcess[bytes]:
        if self._connection is None:
            raise HostUnreachable(self.name, "not connected")
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                return await self._connection.create_process(command_line(argv, mark), encoding=None)
        except TimeoutError:
            raise HostUnreachable(self.name, "it does not answer") from None
        except (asyncssh.Error, OSError) as error:
            raise HostUnreachable(self.name, _reason(error)) from error


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
            raise HostUnreachable(self._name, _reason(error)) from error
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
            raise HostUnreachable(self._name, _reason(error)) from error

    async def lines(self) -> AsyncIterator[bytes]:
        """Its standard output, line by line."""
        try:
            async for line in split_lines(self._out.read, self._name):
                yield line
        except (asyncssh.Error, OSError) as error:
            raise HostUnreachable(self._name, _reason(error)) from error

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


def _key_arguments(host: Host) -> dict[str, Any]:
    """Only the named key is offered; one with a passphrase has to be in ssh-agent."""
    path = Path(host.key).expanduser()
    try:
        return {"client_keys": [asyncssh.read_private_key(path)], "agent_path": None}
    except asyncssh.KeyImportError as error:
        if "passphrase" not in str(error).lower():
            raise UserError(f"cannot use the key {host.key} of host '{host.name}': {error}") from error
        if not os.environ.get("SSH_AUTH_SOCK"):
            raise UserError(
                f"the key {host.key} has a passphrase", f"load it into ssh-agent: ssh-add {host.key}"
            ) from error
        return {"client_keys": [], "agent_identities": [str(path)]}
    except OSError as error:
        raise UserError(f"cannot read the key {host.key} of host '{host.name}': {error.strerror}") from error


def _port(port: int | None) -> int | None:
    return None if port == DEFAULT_PORT else port


async def _feed(process: asyncssh.SSHClientProcess[bytes], out: AfterMark, input: bytes) -> None:
    """Sends the input and closes it. A command that ends before it has read all tells why by its exit."""
    with contextlib.suppress(asyncssh.Error, OSError):
        if input:
            # Sent at once, a login file that reads its input would take it, or a shell run it as a script.
            await out.settled.wait()
            if out.found:
                process.stdin.write(input)
        process.stdin.write_eof()


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_TIMEOUT:g} s"
    if isinstance(error, socket.gaierror):
        return f"its name does not resolve ({error.strerror})"
    if isinstance(error, OSError):
        return os.strerror(error.errno).lower() if error.errno else str(error)
    return str(error) or type(error).__name__
