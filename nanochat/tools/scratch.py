"""A temporary folder for as long as a program runs, and what killed callers left of theirs."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PREFIX = "nanochat-sandbox-"
BEING_MADE = 60.0
"""Seconds in which a folder may exist before its maker holds it."""


@contextlib.contextmanager
def held_folder() -> Iterator[str]:
    """An empty folder, held (flock) by this process until the block ends; then it is removed.

    A killed caller cannot remove its own: the first call of a process sweeps what nobody holds any more.
    Raises `OSError`.
    """
    sweep_once()
    folder = tempfile.mkdtemp(prefix=PREFIX)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield folder
    finally:
        os.close(descriptor)
        shutil.rmtree(folder, ignore_errors=True)


@cache
def sweep_once() -> None:
    """`sweep`, once for this process."""
    sweep(Path(tempfile.gettempdir()))


def sweep(folder: Path, older_than: float = BEING_MADE) -> list[Path]:
    """Removes sandbox folders of ours in `folder` that no process holds; returns them."""
    removed = []
    with contextlib.suppress(OSError):
        for path in folder.glob(PREFIX + "*"):
            if _left_behind(path, older_than):
                shutil.rmtree(path, ignore_errors=True)
                removed.append(path)
    return removed


def _left_behind(path: Path, older_than: float) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        stat = os.fstat(descriptor)
        if stat.st_uid != os.geteuid() or time.time() - stat.st_mtime < older_than:
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
