"""Host keys on record: the control room's own known_hosts file and the person's ~/.ssh/known_hosts.

asyncssh reads and matches them as one list. A line that it cannot read is passed over, as OpenSSH does;
asyncssh by itself would give up the whole file.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nanochat.common.errors import Exit, UserError
from nanochat.common.paths import make_dir

if TYPE_CHECKING:
    from asyncssh import SSHKey, SSHKnownHosts

DEFAULT_PORT = 22


@dataclass(frozen=True)
class OnRecord:
    """What is on record for one host: its own keys, authorities that vouch for it, and revoked keys.

    Keys written for the plain name stand in only where none is written for this very port (`exact` False),
    as with OpenSSH; then another key on this port says nothing against the host. Authorities and revoked
    keys of the plain name count on every port.
    """

    keys: tuple[SSHKey, ...]
    exact: bool
    authorities: tuple[SSHKey, ...]
    revoked: tuple[SSHKey, ...]


def look_up(files: Sequence[Path], host: str, addr: str, port: int | None) -> OnRecord:
    """What `files` say of a host. `addr` is its address ("" before it is known), `port` None is 22."""
    return on_record(read_files(files), host, addr, port)


def read_files(files: Sequence[Path]) -> SSHKnownHosts:
    """All lines of `files`, to be asked for hosts. It waits for the disk: call it in a thread."""
    return _read(line for _, _, line in _lines(files))


def first_line(files: Sequence[Path], host: str, addr: str, port: int | None) -> tuple[Path, int] | None:
    """File and line of the first key written for exactly this host and port, None when there is none."""
    for file, number, line in _lines(files):
        if on_record(_read([line]), host, addr, port).exact:
            return file, number
    return None


def _lines(files: Sequence[Path]) -> Iterator[tuple[Path, int, str]]:
    for file in files:
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            yield file, number, line


def _read(lines: Iterable[str]) -> SSHKnownHosts:
    from asyncssh import SSHKnownHosts

    known = SSHKnownHosts()
    for line in lines:
        # No entry, an unknown marker, a torn hash; a key whose numbers make no sense overflows.
        with contextlib.suppress(ValueError, OverflowError):
            known.load(line)
    return known


def on_record(known: SSHKnownHosts, host: str, addr: str, port: int | None) -> OnRecord:
    """What the lines read say of a host, as `look_up`."""
    plain, plain_ca, plain_revoked, *_ = known.match(host, addr, None)
    if port is None:
        return OnRecord(tuple(plain), bool(plain), tuple(plain_ca), tuple(plain_revoked))
    # Given the port, asyncssh would fall back to the plain name itself, without saying so. The name on a port
    # is one word in the file, and so it is asked for as a name.
    keys: list[SSHKey] = []
    authorities, revoked = list(plain_ca), list(plain_revoked)
    for name in filter(None, (host, addr)):
        own, ca, bad, *_ = known.match(f"[{name}]:{port}", "", None)
        keys += own
        authorities += ca
        revoked += bad
    return OnRecord(tuple(keys or plain), bool(keys), tuple(authorities), tuple(revoked))


def key_line(key: SSHKey, host: str, port: int | None) -> str:
    """The known_hosts line for a host's key."""
    name = f"[{host}]:{port}" if port and port != DEFAULT_PORT else host
    return " ".join([name, *key.export_public_key("openssh").decode().split()[:2]])


def append_line(file: Path, line: str) -> None:
    """Adds one line in one write. Raises `UserError` when the file cannot be written."""
    make_dir(file.parent)
    try:
        ends_open = file.exists() and file.stat().st_size > 0 and not file.read_bytes().endswith(b"\n")
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, ("\n" * ends_open + line + "\n").encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UserError(f"cannot write {file}: {error.strerror}", exit_code=Exit.FAILED) from error
