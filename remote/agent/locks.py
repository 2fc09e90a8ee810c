"""Locks of files (flock), who may take them, and who holds one that we wait for."""

from __future__ import annotations

import fcntl
import os
import pwd
import stat
import time
from pathlib import Path

from .files import AgentError

OWN, SHARED = 0o600, 0o660
_LOOK = 0.05


def is_shared(folder: Path) -> bool:
    """True where a group shares `folder`: its set-group-ID bit is set (`chgrp GROUP`, `chmod 2770`)."""
    try:
        return bool(os.stat(folder).st_mode & stat.S_ISGID)
    except OSError:
        return False


def lock_file(path: Path, patience: float = 0.0, shared: bool = False) -> int | None:
    """An open descriptor that holds `path` locked, or None when another holds it for `patience` seconds.

    The file is its owner's alone, or with `shared` its group's: whoever can open it can lock it. Raises
    OSError, and AgentError where the file system has no locks.
    """
    mode = SHARED if shared else OWN
    descriptor = os.open(str(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
    try:
        found = os.fstat(descriptor)
        if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) != mode:
            os.fchmod(descriptor, mode)  # made by an older version, or under another umask
        if _taken(descriptor, patience):
            return descriptor
        os.close(descriptor)
    except OSError as error:
        os.close(descriptor)
        raise AgentError(
            f"{path.parent}: this file system cannot lock files ({error.strerror}): "
            "use a base directory on a local disk, or mount it with flock",
            "lock",
        ) from error
    return None


def _taken(descriptor: int, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
        time.sleep(_LOOK)


def holder(path: Path) -> str:
    """Who holds the lock of `path`, as far as this machine's kernel tells."""
    try:
        inode = str(os.stat(path).st_ino)
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return "a process that cannot be named"
    for line in lines:
        words = line.split()
        if len(words) > 5 and words[1] == "FLOCK" and words[5].rpartition(":")[2] == inode:
            return _process(words[4])
    return "a process of another machine, or one that cannot be seen from here"


def _process(pid: str) -> str:
    folder = Path("/proc", pid)
    try:
        command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
        uid = os.stat(folder).st_uid
    except OSError:
        return f"process {pid}"
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    return f"process {pid} of {user} ({command[:120] or 'unnamed'})"
