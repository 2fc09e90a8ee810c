"""The book of hosts: `<base>/hosts.json`, with this machine always in it as `local`."""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

from nanochat.common.errors import Exit, UserError, nearest
from nanochat.common.fields import real, whole
from nanochat.common.paths import Layout, atomic_write, expanded, make_dir
from nanochat.config.pass_env import check_names

LOCAL = "local"
DEFAULT_BASE = "~/.cache/nanochat"
LOCK_PATIENCE = 30.0
_PORT_DIGITS = 5
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
_ADDRESS = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,253})\Z")
_USER = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.@\\-]{0,63}\Z")


@dataclass(frozen=True)
class Host:
    """Where stages can run.

    `address` may also be a Host alias of ~/.ssh/config; `user` "" and `port` 0 mean: as that file says,
    else this user and 22. `python` is the interpreter stages run under ("" is the host's python3; on this
    machine the running one); `base_dir` the base directory there, `~` expanded on the host. `pass_env` names
    variables that its runs are handed from the shell they are started in (`nanochat.config.pass_env`).
    """

    name: str
    kind: Literal["local", "ssh"] = "ssh"
    user: str = ""
    address: str = ""
    port: int = 0
    key: str = ""
    python: str = ""
    base_dir: str = DEFAULT_BASE
    price_per_hour: float | None = None
    pass_env: tuple[str, ...] = ()

    @property
    def target(self) -> str:
        """The SSH target as a person writes it, or "this machine"."""
        if self.kind == "local":
            return "this machine"
        address = f"[{self.address}]" if ":" in self.address and self.port else self.address
        return f"{self.user}@" * bool(self.user) + address + f":{self.port}" * bool(self.port)


class HostBook:
    """The hosts of a base directory, kept in `hosts.json`."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._path = layout.hosts_file

    def local(self) -> Host:
        """This machine, whose base directory is the control room's own."""
        return Host(name=LOCAL, kind="local", base_dir=str(self._layout.base))

    def all(self) -> list[Host]:
        """Every host, this machine first, the others by name. Raises `UserError` on a damaged file."""
        return [self.local(), *sorted(self._read(), key=lambda host: host.name)]

    def get(self, name: str) -> Host:
        """The host of that name; raises `UserError` with the nearest names when there is none."""
        hosts = {host.name: host for host in self.all()}
        if name not in hosts:
            raise UserError(f"no host '{name}'", nearest(name, hosts) + "; add one with `nanochat hosts add`")
        return hosts[name]

    def add(self, host: Host, replace: bool = False) -> None:
        """Writes a host into the book. Raises `UserError` for a bad field or a name already taken."""
        check_host(host)
        with self._locked():
            others = self._read()
            if any(known.name == host.name for known in others):
                if not replace:
                    raise UserError(
                        f"there is a host '{host.name}' already",
                        "change it with `hosts add --replace`, or choose another name",
                    )
                others = [known for known in others if known.name != host.name]
            self._write([*others, host])

    def remove(self, name: str) -> None:
        """Takes a host out of the book; its runs stay in the store. Raises `UserError` for `local`."""
        if name == LOCAL:
            raise UserError("'local' is this machine and always there")
        with self._locked():
            self.get(name)
            self._write([host for host in self._read() if host.name != name])

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # Two processes adding a host at once must both end up in the file.
        make_dir(self._path.parent)
        descriptor = os.open(self._path.parent / ".hosts.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._wait_for(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _wait_for(self, descriptor: int) -> None:
        deadline = time.monotonic() + LOCK_PATIENCE
        while True:
            try:
                return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise UserError(
                        f"{self._path} is held by another nanochat for more than {LOCK_PATIENCE:g} s",
                        "end that, or try again",
                        Exit.FAILED,
                    ) from None
            time.sleep(0.05)

    def _read(self) -> list[Host]:
        try:
            raw = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read {self._path}: {error}", exit_code=Exit.USAGE) from error
        try:
            document = json.loads(raw)
            return [_host(entry) for entry in document["hosts"]]
        except UserError as error:
            raise UserError(f"{self._path}: {error.message}", "mend it by hand") from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(f"{self._path} is damaged: {error}", "mend it by hand or move it away") from error

    def _write(self, hosts: list[Host]) -> None:
        entries = [
            {name: value for name, value in asdict(host).items() if value not in ("", 0, None, ())}
            for host in sorted(hosts, key=lambda host: host.name)
        ]
        text = json.dumps({"schema": 1, "hosts": entries}, indent=2, ensure_ascii=False)
        atomic_write(self._path, text + "\n", mode=0o600)


def parse_ssh_target(target: str) -> tuple[str, str, int]:
    """`(user, address, port)` of `[user@]host[:port]`; user "" and port 0 where not given.

    IPv6 addresses are written `::1`, or `[::1]:22` with a port. Raises `UserError` in one line.
    """
    text = target.strip().removeprefix("ssh://").rstrip("/")
    how = "write it as user@host:port"
    user, at, rest = text.rpartition("@")
    if at and not _USER.match(user):
        raise UserError(f"bad user name in the SSH target '{target[:200]}'", how)
    if rest.startswith("["):
        address, closed, tail = rest[1:].partition("]")
        if not closed or not _is_ipv6(address) or (tail and not tail.startswith(":")):
            raise UserError(
                f"bad IPv6 address in the SSH target '{target[:200]}'", "write it as user@[::1]:port"
            )
        return user, address, _port(tail[1:], target) if tail else 0
    if rest.count(":") > 1:
        if not _is_ipv6(rest):
            raise UserError(
                f"bad address in the SSH target '{target[:200]}'", "an IPv6 one is written [::1]:port"
            )
        return user, rest, 0
    address, colon, port = rest.partition(":")
    if not _ADDRESS.match(address):
        raise UserError(f"bad host name in the SSH target '{target[:200]}'", how)
    return user, address, _port(port, target) if colon else 0


def _is_ipv6(address: str) -> bool:
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return False
    return True


def _port(text: str, target: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= _PORT_DIGITS and 0 < int(text) < 65536:
        return int(text)
    raise UserError(f"bad port '{text[:40]}' in the SSH target '{target[:200]}'", "a port is 1 to 65535")


def check_host(host: Host) -> None:
    """Raises `UserError` in one line for a host that cannot be used."""
    if not _NAME.match(host.name):
        raise UserError(
            f"bad host name '{host.name}'",
            "letters, digits, '.', '_' and '-', beginning with a letter or digit",
        )
    if host.name == LOCAL or host.kind == "local":
        raise UserError("'local' is this machine and always there", "choose another name")
    parse_ssh_target(Host(name="x", user=host.user, address=host.address, port=host.port).target)
    for label, value in (("--key", host.key), ("--python", host.python), ("--base-dir", host.base_dir)):
        if any(ord(c) < 32 for c in value):
            raise UserError(f"{label} holds a control character")
    if host.key and not expanded(host.key).is_file():
        raise UserError(f"no such key file: {host.key}", "give the private key, e.g. ~/.ssh/id_ed25519")
    if not host.base_dir.startswith(("/", "~/")) and host.base_dir != "~":
        raise UserError(f"--base-dir '{host.base_dir}' is not absolute", "begin it with / or ~/")
    check_names(host.pass_env, "--pass-env")
    if host.price_per_hour is not None and not 0 <= host.price_per_hour < 1e6:
        raise UserError(f"bad price per hour: {host.price_per_hour}")


def _host(entry: dict[str, Any]) -> Host:
    fields = {name: entry[name] for name in Host.__dataclass_fields__ if name in entry}
    names = fields.pop("pass_env", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError("host field 'pass_env' is not a list of names")
    for name, value in fields.items():
        wanted: tuple[type, ...] = (int, float) if name in ("port", "price_per_hour") else (str,)
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise UserError(f"host field '{name}' has a value of the wrong type: {value!r}")
        if name == "port" and whole(value, 0, 65535) is None:
            raise UserError("host field 'port' is no port: 1 to 65535")
        if name == "price_per_hour" and real(value, 0, 1e6) is None:
            raise UserError("host field 'price_per_hour' is no price")
    host = Host(**fields, pass_env=check_names(names, "host field 'pass_env'"))
    if not _NAME.match(host.name) or host.name == LOCAL or host.kind != "ssh" or not host.address:
        raise UserError(f"'{host.name}' is not a usable host entry")
    return host
