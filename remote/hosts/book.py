"""The book of hosts: `<base>/hosts.json`, with this machine always in it as `local`."""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from nanochat.common.errors import Exit, UserError, nearest
from nanochat.common.fields import real, whole
from nanochat.common.paths import Layout, atomic_write, expanded, make_dir
from nanochat.common.text import sanitize
from nanochat.config.pass_env import check_names

LOCAL = "local"
DEFAULT_BASE = "~/.cache/nanochat"
LOCK_PATIENCE = 30.0
MOST_AN_HOUR = 1e6
_LOCAL_PRICE = "local_price_per_hour"
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


@dataclass(frozen=True)
class _Entry:
    """An entry of the file: as it stands there, and the host that it is or why it cannot be used."""

    raw: Any
    host: Host | None
    problem: UserError | None = None

    @property
    def name(self) -> str:
        """The name that is written there; "" for none."""
        name = self.raw.get("name") if isinstance(self.raw, dict) else None
        return name if isinstance(name, str) else ""


class HostBook:
    """The hosts of a base directory, kept in `hosts.json`.

    An entry that cannot be used costs the others nothing: it is told by `read`, and stays in the file as
    it is until it is mended, replaced or removed by its name.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._path = layout.hosts_file

    def local(self) -> Host:
        """This machine, whose base directory is the control room's own, without its price."""
        return Host(name=LOCAL, kind="local", base_dir=str(self._layout.base))

    def read(self) -> tuple[list[Host], list[str]]:
        """Every host that can be used, this machine first, the others by name; and a line for each entry
        that cannot. Raises `UserError` for a file that is damaged as a whole."""
        entries, local = self._read()
        hosts = [entry.host for entry in entries if entry.host is not None]
        problems = [str(entry.problem) for entry in entries if entry.problem is not None]
        if local is not None and real(local, 0, MOST_AN_HOUR) is None:
            problems.append(f"{self._path}: '{_LOCAL_PRICE}' is no price; set it with `nanochat hosts price`")
        return [self._here(local), *sorted(hosts, key=lambda host: host.name)], problems

    def _here(self, price: Any) -> Host:
        return replace(self.local(), price_per_hour=real(price, 0, MOST_AN_HOUR))

    def all(self) -> list[Host]:
        """The hosts of `read`."""
        return self.read()[0]

    def get(self, name: str) -> Host:
        """The host of that name. Raises `UserError`: what is wrong with its entry, or the nearest names when
        there is none."""
        entries, local = self._read()
        hosts = {LOCAL: self._here(local), **{entry.name: entry.host for entry in entries if entry.host}}
        if name in hosts:
            return hosts[name]
        for entry in entries:
            if entry.problem is not None and entry.name == name:
                raise entry.problem
        raise UserError(f"no host '{name}'", nearest(name, hosts) + "; add one with `nanochat hosts add`")

    def add(self, host: Host, replace: bool = False) -> None:
        """Writes a host into the book. Raises `UserError` for a bad field or a name already taken."""
        check_host(host)
        with self._locked():
            entries, local = self._read()
            if any(known.name == host.name for known in entries):
                if not replace:
                    raise UserError(
                        f"there is a host '{host.name}' already",
                        "change it with `hosts add --replace`, or choose another name",
                    )
                entries = [known for known in entries if known.name != host.name]
            self._write([*entries, _Entry(_written(host), host)], local)

    def set_price(self, name: str, price: float | None) -> None:
        """Sets what an hour of a host costs, also of this machine; None: unknown. Raises `UserError` for what
        is no price, or a host that is not there."""
        if price is not None and real(price, 0, MOST_AN_HOUR) is None:
            raise UserError(f"bad price per hour: {price}")
        with self._locked():
            entries, local = self._read()
            if name == LOCAL:
                local = price
            else:
                host = replace(self.get(name), price_per_hour=price)
                entries = [entry for entry in entries if entry.name != name]
                entries.append(_Entry(_written(host), host))
            self._write(entries, local)

    def remove(self, name: str) -> None:
        """Takes a host out of the book, also one whose entry cannot be used; its runs stay in the store.
        Raises `UserError` for `local`."""
        if name == LOCAL:
            raise UserError("'local' is this machine and always there")
        with self._locked():
            entries, local = self._read()
            if not any(entry.name == name for entry in entries):
                self.get(name)
            self._write([entry for entry in entries if entry.name != name], local)

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

    def _read(self) -> tuple[list[_Entry], Any]:
        """The entries, and what stands there as the price of this machine, None for nothing."""
        try:
            raw = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return [], None
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read {self._path}: {error}", exit_code=Exit.USAGE) from error
        try:
            document = json.loads(raw)
            entries = document["hosts"]
            if not isinstance(entries, list):
                raise TypeError("its hosts are no list")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(f"{self._path} is damaged: {error}", "mend it by hand or move it away") from error
        return list(self._entries(entries)), document.get(_LOCAL_PRICE)

    def _entries(self, found: Iterable[Any]) -> Iterator[_Entry]:
        names: set[str] = set()
        for number, raw in enumerate(found, 1):
            entry = _Entry(raw, None)
            try:
                host = _host(raw)
                if host.name in names:
                    raise UserError("an entry before it has that name")
                names.add(host.name)
                yield replace(entry, host=host)
            except UserError as error:
                named = f" ('{sanitize(entry.name, 80)}')" if entry.name else ""
                words = f"{self._path}: entry {number}{named} is left out: {error.message}"
                yield replace(entry, problem=UserError(words, "mend it by hand; the other hosts go on"))

    def _write(self, entries: Sequence[_Entry], local_price: Any) -> None:
        raw = [entry.raw for entry in sorted(entries, key=lambda entry: entry.name)]
        document: dict[str, Any] = {"schema": 1, "hosts": raw}
        if local_price is not None:
            document[_LOCAL_PRICE] = local_price
        text = json.dumps(document, indent=2, ensure_ascii=False)
        atomic_write(self._path, text + "\n", mode=0o600)


def _written(host: Host) -> dict[str, Any]:
    """A host as it stands in the file."""
    return {name: value for name, value in asdict(host).items() if value not in ("", 0, None, ())}


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
    if host.price_per_hour is not None and real(host.price_per_hour, 0, MOST_AN_HOUR) is None:
        raise UserError(f"bad price per hour: {host.price_per_hour}")


def _host(entry: Any) -> Host:
    """The host that an entry of the file is. Raises `UserError` that says what is wrong with it."""
    if not isinstance(entry, dict):
        raise UserError("it is no object with a name and an address")
    fields = {name: entry[name] for name in Host.__dataclass_fields__ if name in entry}
    names = fields.pop("pass_env", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError("'pass_env' is not a list of names")
    for name, value in fields.items():
        wanted: tuple[type, ...] = (int, float) if name in ("port", "price_per_hour") else (str,)
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise UserError(f"'{name}' has a value of the wrong type: {repr(value)[:200]}")
        if name == "port" and whole(value, 0, 65535) is None:
            raise UserError("'port' is no port: 1 to 65535")
        if name == "price_per_hour" and real(value, 0, MOST_AN_HOUR) is None:
            raise UserError("'price_per_hour' is no price")
    name = fields.get("name", "")
    if not _NAME.match(name) or name == LOCAL:
        raise UserError(f"'{name}' cannot be a host's name" if name else "it has no name")
    host = Host(**fields, pass_env=check_names(names, "'pass_env'"))
    if host.kind != "ssh":
        raise UserError(f"its kind is '{host.kind[:40]}', not 'ssh'")
    if not host.address:
        raise UserError("it has no address")
    return host
