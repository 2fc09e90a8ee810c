"""A name that one process at a time may write under, with word of who has it.

The lock is on a file, so it ends with its process however that ends. The file stays: taking it away could
take it from the next holder.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from nanochat.common.errors import Exit, UserError
from nanochat.common.paths import make_dir
from nanochat.common.text import sanitize


class NameTakenError(Exception):
    """Another process has the name; `holder` is what it said of itself."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


@contextlib.contextmanager
def hold_name(path: Path, holder: str) -> Iterator[None]:
    """Holds the name of `path`, a file or folder that need not exist, by a hidden lock file beside it.

    Raises `NameTakenError` when another process, or another place of this one, holds it, and `UserError` when
    the lock file cannot be opened.
    """
    lock = make_dir(path.parent) / f".{path.name}.lock"
    try:
        descriptor = os.open(
            lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600
        )
    except OSError as error:
        raise UserError(f"cannot open {lock}: {error.strerror}", "", Exit.FAILED) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            said = os.pread(descriptor, 500, 0).decode(errors="replace")
            raise NameTakenError(sanitize(said.strip(), 200)) from None
        os.ftruncate(descriptor, 0)
        with contextlib.suppress(OSError):  # on a full disk the name is held all the same
            os.pwrite(descriptor, holder.encode(), 0)
        yield
    finally:
        os.close(descriptor)
