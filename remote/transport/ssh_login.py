"""Logging in to an SSH host: its settings, our keys, hosts to jump over, and host keys by our own rules."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh
from asyncssh.encryption import get_encryption_algs
from asyncssh.kex import get_kex_algs
from asyncssh.mac import get_mac_algs

from nanochat.common.errors import UserError
from nanochat.common.paths import expanded
from remote.hosts.book import Host, parse_ssh_target
from remote.transport.base import AuthenticationFailed, ChangedHostKey, HostUnreachable, UnknownHostKey
from remote.transport.known_hosts import DEFAULT_PORT, first_line, key_line, on_record, read_files
from remote.transport.ssh_config import SSHSettings, read_settings

KEEPALIVE_COUNT = 3
HOST_KEY_ALGORITHMS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)
_ALGORITHMS = {
    "kexalgorithms": ("kex_algs", get_kex_algs),
    "ciphers": ("encryption_algs", get_encryption_algs),
    "macs": ("mac_algs", get_mac_algs),
}
_MOST_JUMPS = 8
_LOOK_AT = "look at the key and ~/.ssh/config"


class _Client(asyncssh.SSHClient):
    """Notes the host key that was shown and not trusted."""

    def __init__(self) -> None:
        self.shown: tuple[str, str, int, asyncssh.SSHKey] | None = None

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        self.shown = (host, addr, port, key)
        return False


@dataclass(frozen=True)
class _Keys:
    """What asyncssh is told of keys, and a line for each that had to be passed over."""

    arguments: dict[str, Any]
    passed_over: tuple[str, ...] = ()


class Login:
    """Opens connections to one host of the book. `keepalive` and `patience` are seconds."""

    def __init__(self, host: Host, known_hosts: Path, keepalive: float, patience: float) -> None:
        self.host = host
        self.name = host.name
        self._known_hosts = known_hosts
        self._keepalive = keepalive
        self._patience = patience
        self._jumps: list[asyncssh.SSHClientConnection] = []

    async def open(self) -> asyncssh.SSHClientConnection:
        """A new connection. Raises a transport's errors, and `UserError` for a fault of our own files."""
        host = self.host
        try:
            settings = await read_settings(host.address, host.user, host.port)
        except OSError as error:
            raise UserError(f"host '{self.name}': cannot run ssh: {error.strerror}", _LOOK_AT) from error
        keys = await asyncio.to_thread(_keys, host, settings)
        tunnel = await self._tunnel(settings)
        return await self._connect(host.address, settings, keys, tunnel)

    async def close(self) -> None:
        """Closes the connections to the hosts that were jumped over."""
        for jump in reversed(self._jumps):
            jump.close()
        self._jumps.clear()

    # ---- jumps ---------------------------------------------------------------------------------------

    async def _tunnel(self, settings: SSHSettings | None) -> asyncssh.SSHClientConnection | None:
        """The connection to the last host to jump over, opened once for all connections to the host."""
        if self._jumps and not self._jumps[-1].is_closed():
            return self._jumps[-1]
        await self.close()
        if settings is not None:
            await self._jump(settings.jumps)
        return self._jumps[-1] if self._jumps else None

    async def _jump(self, jumps: Sequence[str]) -> None:
        for target in jumps:
            if len(self._jumps) >= _MOST_JUMPS:
                raise UserError(f"host '{self.name}' lies behind more than {_MOST_JUMPS} jumps", _LOOK_AT)
            user, address, port = parse_ssh_target(target)
            settings = await read_settings(address, user, port)
            if not self._jumps and settings is not None and settings.jumps:
                await self._jump(settings.jumps)  # the first may have to be jumped to itself
            keys = await asyncio.to_thread(_keys, None, settings)
            last = self._jumps[-1] if self._jumps else None
            self._jumps.append(await self._connect(address, settings, keys, last))

    # ---- one connection ------------------------------------------------------------------------------

    async def _connect(
        self,
        address: str,
        settings: SSHSettings | None,
        keys: _Keys,
        tunnel: asyncssh.SSHClientConnection | None,
    ) -> asyncssh.SSHClientConnection:
        client = _Client()
        files = self._files(settings)
        try:
            options = await self._options(address, settings, keys, client, files)
        except OSError as error:
            raise self._own_file(error) from error
        except (asyncssh.ConfigParseError, asyncssh.KeyImportError, ValueError) as error:
            raise UserError(f"host '{self.name}': {error}", _LOOK_AT) from error
        try:
            return await asyncssh.connect(
                host=address if settings is None else settings.host,
                options=options,
                config=() if settings is None else None,
                tunnel=tunnel or (),
            )
        except asyncssh.HostKeyNotVerifiable as error:
            raise await asyncio.to_thread(self._untrusted, client, files, str(error)) from error
        except asyncssh.PermissionDenied as error:
            raise self._refused(address, settings, keys) from error
        except (asyncssh.Error, OSError) as error:
            if isinstance(error, OSError) and error.filename is not None:
                raise self._own_file(error) from error
            raise HostUnreachable(self.name, reason(error), f"target {self.host.target}") from error

    async def _options(
        self,
        address: str,
        settings: SSHSettings | None,
        keys: _Keys,
        client: _Client,
        files: Sequence[Path],
    ) -> asyncssh.SSHClientConnectionOptions:
        recorded = await asyncio.to_thread(read_files, files)  # the handshake asks for it on the event loop
        arguments: dict[str, Any] = {
            "client_factory": lambda: client,
            "known_hosts": lambda host, addr, port: _trusted(recorded, host, addr, port),
            "password_auth": False,
            "kbdint_auth": False,
            "preferred_auth": ("publickey",),
            "agent_forwarding": False,
            "x11_forwarding": False,
            "request_pty": False,
            "command": None,
            "keepalive_interval": self._keepalive,
            "keepalive_count_max": KEEPALIVE_COUNT,
            "login_timeout": self._patience,
            **(self._unread(address) if settings is None else _read(settings)),
            **keys.arguments,
        }
        options: asyncssh.SSHClientConnectionOptions
        options = await asyncssh.SSHClientConnectionOptions.construct(**arguments)
        # Ask for the kind of key we know first, or a host with several would seem to have changed.
        name = options.host_key_alias or options.host
        known = on_record(recorded, name, "", port_or_none(options.port))
        if not known.authorities:
            ours = [alg.decode() for key in known.keys for alg in key.sig_algorithms]
            wanted = [
                alg for alg in dict.fromkeys((*ours, *HOST_KEY_ALGORITHMS)) if alg in HOST_KEY_ALGORITHMS
            ]
            options = await asyncssh.SSHClientConnectionOptions.construct(
                **arguments, server_host_key_algs=wanted
            )
        return options

    def _unread(self, address: str) -> dict[str, Any]:
        """Without OpenSSH: asyncssh reads ~/.ssh/config itself, below what the book says."""
        arguments: dict[str, Any] = {"host": address}
        if self.host.user:
            arguments["username"] = self.host.user
        if self.host.port:
            arguments["port"] = self.host.port
        return arguments

    def _files(self, settings: SSHSettings | None) -> list[Path]:
        """The known_hosts files, ours first."""
        usual = [
            self._known_hosts,
            expanded("~/.ssh/known_hosts"),
            Path("/etc/ssh/ssh_known_hosts"),
        ]
        return list(dict.fromkeys([*usual, *(settings.known_hosts if settings else ())]))

    # ---- refusals ------------------------------------------------------------------------------------

    def _own_file(self, error: OSError) -> UserError:
        return UserError(
            f"host '{self.name}': cannot use {error.filename or 'a file of ~/.ssh'}: {error.strerror}",
            "mend or remove the line of ~/.ssh/config that names it",
        )

    def _untrusted(self, client: _Client, files: Sequence[Path], why: str) -> UserError:
        if client.shown is None:
            return HostUnreachable(self.name, f"its host key was refused: {why}")
        host, addr, port, key = client.shown
        fingerprint = key.get_fingerprint("sha256")
        name = f"[{host}]:{port}" if port_or_none(port) else host
        line_on_record = first_line(files, host, addr, port_or_none(port))
        if line_on_record is not None:
            return ChangedHostKey(self.name, fingerprint, *line_on_record, name)
        line = key_line(key, host, port)
        return UnknownHostKey(self.name, name, key.get_algorithm(), fingerprint, self._known_hosts, line)

    def _refused(self, address: str, settings: SSHSettings | None, keys: _Keys) -> AuthenticationFailed:
        user = (settings.user if settings else self.host.user) or "your user"
        if address != self.host.address:
            user += f" on {address}, over which it is reached"
        passed_over = f" (passed over: {'; '.join(keys.passed_over)})" if keys.passed_over else ""
        if self.host.key and address == self.host.address:
            return AuthenticationFailed(
                self.name,
                f"the key {self.host.key} is not accepted for {user}",
                "put its public half into ~/.ssh/authorized_keys there",
            )
        return AuthenticationFailed(
            self.name,
            f"no key of ssh-agent or ~/.ssh is accepted for {user}{passed_over}",
            "name one with `hosts add --key FILE`, or load it with ssh-add",
        )


def _trusted(
    recorded: asyncssh.SSHKnownHosts, host: str, addr: str, port: int | None
) -> tuple[Sequence[Any], ...]:
    record = on_record(recorded, host, addr, port_or_none(port))
    keys = [key for key in record.keys if key not in record.revoked]
    return keys, list(record.authorities), list(record.revoked), [], [], [], []


def _read(settings: SSHSettings) -> dict[str, Any]:
    """OpenSSH's settings in asyncssh's words; an algorithm that asyncssh does not have is left out."""
    arguments: dict[str, Any] = {
        "config": None,
        "host": settings.host,
        "port": settings.port,
        "username": settings.user,
        "host_key_alias": settings.host_key_alias or None,
        "family": settings.address_family,
        "env": settings.env,
        "send_env": None,
    }
    if settings.bind_address:
        arguments["local_addr"] = (settings.bind_address, 0)
    if settings.compression:
        arguments["compression_algs"] = ["zlib@openssh.com", "none"]
    if settings.proxy_command:
        # asyncssh takes what comes on standard error for the host's words, and its end for the link's: so the
        # shell keeps it, and the command has another.
        script = f"( {settings.proxy_command}\n) 2>/dev/null; exit $?"
        arguments["proxy_command"] = ["/bin/sh", "-c", script]
    for word, (name, supported) in _ALGORITHMS.items():
        there = {algorithm.decode() for algorithm in supported()}
        chosen = [algorithm for algorithm in settings.algorithms.get(word, ()) if algorithm in there]
        if chosen:
            arguments[name] = chosen
    return arguments


def _keys(host: Host | None, settings: SSHSettings | None) -> _Keys:
    """The one key that the book names, else what OpenSSH's settings name and what of it can be used."""
    if host is not None and host.key:
        return _Keys(_named_key(host))
    if settings is None:
        return _Keys({})
    usable: list[str] = []
    passed_over: list[str] = []
    for file in settings.identity_files:
        why = _unusable(file)
        if why is None:
            usable.append(str(file))
        elif file.exists() or file.name not in _DEFAULT_NAMES:
            passed_over.append(f"{file}: {why}")
    arguments: dict[str, Any] = {
        "client_keys": usable,
        "client_certs": [str(file) for file in settings.certificates if _is_certificate(file)],
        "agent_path": os.environ.get("SSH_AUTH_SOCK") if settings.agent is None else settings.agent or None,
    }
    if settings.identities_only:
        public = [key for file in settings.identity_files if (key := _public_half(file)) is not None]
        arguments["agent_identities"] = public or None
        if not public:
            arguments["agent_path"] = None
    return _Keys(arguments, tuple(passed_over))


_DEFAULT_NAMES = frozenset(
    f"id_{kind}" for kind in ("rsa", "ecdsa", "ecdsa_sk", "ed25519", "ed25519_sk", "xmss", "dsa")
)


def _unusable(file: Path) -> str | None:
    """Why a private key cannot be used as it lies there, None when it can."""
    try:
        asyncssh.load_keypairs([str(file)])
    except OSError as error:
        return str(error.strerror).lower()
    except asyncssh.KeyImportError as error:
        return "it has a passphrase" if "passphrase" in str(error).lower() else "it is no private key"
    return None


def _is_certificate(file: Path) -> bool:
    try:
        asyncssh.read_certificate(file)
    except (OSError, asyncssh.KeyImportError):
        return False
    return True


def _public_half(file: Path) -> asyncssh.SSHKey | None:
    for candidate in (Path(f"{file}.pub"), file):
        with contextlib.suppress(OSError, asyncssh.KeyImportError):
            return asyncssh.read_public_key(candidate)
    return None


def _named_key(host: Host) -> dict[str, Any]:
    """Only the named key is offered; one with a passphrase has to be in ssh-agent."""
    path = expanded(host.key)
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


def port_or_none(port: int | None) -> int | None:
    """None for SSH's own port, which known_hosts does not write."""
    return None if port == DEFAULT_PORT else port


def reason(error: BaseException) -> str:
    """An error of the network or of asyncssh, in words."""
    if isinstance(error, socket.gaierror):
        return f"its name does not resolve ({error.strerror})"
    if isinstance(error, OSError):
        return os.strerror(error.errno).lower() if error.errno else str(error)
    return str(error) or type(error).__name__
