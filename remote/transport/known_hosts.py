"""Host keys on record: the control room's own known_hosts file and the person's ~/.ssh/known_hosts.

Reading is line by line and forgiving (a line we cannot read is passed over, as OpenSSH does), so that a
refusal can name the file and the line it rests on.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nanochat.common.errors import Exit, UserError
from nanochat.common.paths import make_dir

if TYPE_CHECKING:
    from asyncssh import SSHKey

DEFAULT_PORT = 22


@dataclass(frozen=True)
class KnownKey:
    """A key on record and where it is written."""

    key: SSHKey
    file: Path
    line: int


@dataclass(frozen=True)
class OnRecord:
    """What is on record for one host: its own keys, authorities that vouch for it, and revoked keys.

    Keys written for the plain name stand in only where none is written for this very port (`exact` False),
    as with OpenSSH; then another key on this port says nothing against the host.
    """

    keys: tuple[KnownKey, ...]
    exact: bool
    authorities: tuple[SSHKey, ...]
    revoked: tuple[SSHKey, ...]


def look_up(files: Sequence[Path], host: str, addr: str, port: int | None) -> OnRecord:
    """What `files` say of a host. `addr` is its address ("" before it is known), `port` None is 22."""
    exact: list[KnownKey] = []
    plain: list[KnownKey] = []
    authorities: list[SSHKey] = []
    revoked: list[SSHKey] = []
    for file, number, line in _lines(files):
        own, ca, bad = _match(line, host, addr, port)
        if own:
            is_plain = port is not None and bool(_match(line, host, addr, None)[0])
            (plain if is_plain else exact).extend(KnownKey(key, file, number) for key in own)
        authorities += ca
        revoked += bad
    return OnRecord(tuple(exact or plain), bool(exact), tuple(authorities), tuple(revoked))


def _lines(files: Sequence[Path]) -> list[tuple[Path, int, str]]:
    lines = []
    for file in files:
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip() and not line.lstrip().startswith("#"):
                lines.append((file, number, line))
    return lines


def _match(
    line: str, host: str, addr: str, port: int | None
) -> tuple[list[SSHKey], list[SSHKey], list[SSHKey]]:
    from asyncssh import import_known_hosts

    words = line.split(None, 1)
    revoked = words[0] == "@revoked"
    try:
        # asyncssh looks past the port when a line holds only revoked keys, so it is read as a plain one.
        own, ca, *_ = import_known_hosts(words[-1] if revoked else line).match(host, addr, port)
    except ValueError:
        return [], [], []
    return ([], [], list(own)) if revoked else (list(own), list(ca), [])


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
