"""The lock of a file that is being fetched: one process fetches it, the others wait and say for whom."""

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from nanochat.common.errors import Exit, UserError
from nanochat.common.fields import parse_int
from nanochat.common.files import read_regular
from nanochat.common.text import sanitize

STRANGER_SECONDS = 30.0
"""How long a lock is waited for whose holder is no process that fetches: a download may take hours."""


@contextlib.contextmanager
def fetch_lock(target: Path, pause: Callable[[], None], note: Callable[[str], None]) -> Iterator[None]:
    """Holds the one lock of `target`; waits, by `pause`, while another process or thread fetches it.

    `note` hears once for whom. Raises `UserError` when the lock file cannot be opened, or something else
    holds it.
    """
    path = target.with_name(f".{target.name}.lock")
    descriptor = _wait_for(path, target.name, pause, note)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # still locked: a waiter sees that its file is gone and opens a new one
        os.close(descriptor)


def _wait_for(path: Path, name: str, pause: Callable[[], None], note: Callable[[str], None]) -> int:
    told, since = "", time.monotonic()
    while (descriptor := _take(path)) is None:
        if holder := _living_holder(path):
            since = time.monotonic()
            if holder != told:
                note(f"{name}: {holder} fetches it, too: waiting for it")
                told = holder
        elif time.monotonic() - since >= STRANGER_SECONDS:
            raise UserError(
                f"{path} is locked by a process that fetches nothing",
                "end it, or remove that file while nothing is being fetched",
                Exit.FAILED,
            )
        pause()
    return descriptor


def _take(path: Path) -> int | None:
    """A descriptor that holds the lock, None when another has it. Only the owner of the file can open it."""
    flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        raise _cannot_lock(path, error) from error
    try:
        if _is_taken(path, descriptor):
            return descriptor
    except OSError as error:
        os.close(descriptor)
        raise _cannot_lock(path, error) from error
    os.close(descriptor)
    return None


def _is_taken(path: Path, descriptor: int) -> bool:
    """Whether this process has taken the lock just now, and says so in the file."""
    found = os.fstat(descriptor)
    if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) != 0o600:
        os.fchmod(descriptor, 0o600)  # of an earlier version
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(found, path.stat()):
            return False
    except (BlockingIOError, FileNotFoundError):  # another has it, or has just removed it
        return False
    with contextlib.suppress(OSError):  # on a full disk the lock holds all the same
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {os.uname().nodename}".encode(), 0)
    return True


def _cannot_lock(path: Path, error: OSError) -> UserError:
    return UserError(f"cannot lock {path}: {error.strerror}", exit_code=Exit.FAILED)


def _living_holder(path: Path) -> str:
    """The process that says in the file that it fetches; "" when none does, or it has ended."""
    try:
        words = read_regular(path, 200).decode(errors="replace").split()
        number, host = parse_int(words[0]), words[1]
        if number < 1:
            return ""
        if host == os.uname().nodename:
            os.kill(number, 0)
    except (OSError, ValueError, IndexError, OverflowError):
        return ""
    return f"process {number}" + ("" if host == os.uname().nodename else f" on {sanitize(host, 80)}")
