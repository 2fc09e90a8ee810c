"""A file that appears complete under its name, or not at all, and replaces nothing unless it may."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nanochat.common.errors import Exit, UserError
from nanochat.common.paths import fsync_dir


@contextlib.contextmanager
def new_file(path: Path, replace: bool = False) -> Iterator[Path]:
    """Gives a temporary file beside `path` to write to, and its name once the block is left without error.

    Raises `UserError` in one line, and leaves nothing behind, where `path` exists and must not be replaced,
    its folder is missing or cannot be written, or the disk is full.
    """
    check_new(path, replace)
    path = path.resolve() if replace else path  # behind a link the file itself is replaced
    temp: Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".tmp", dir=path.parent)
        os.close(descriptor)
        temp = Path(name)
        yield temp
        _finish(temp, path, replace)
    except OSError as error:
        raise _told(path, error) from error
    finally:
        if temp is not None:
            with contextlib.suppress(OSError):
                temp.unlink()


def check_new(path: Path, replace: bool = False, hint: str = "choose another name") -> None:
    """Raises `UserError` where `new_file` could not begin to write `path`; `hint` where it is there."""
    try:
        if path.is_dir():
            raise UserError(f"{path} is a folder", "give the name of a file in it")
        if not path.parent.is_dir():
            raise UserError(f"there is no folder {path.parent}", "make it, or choose another")
        if os.path.lexists(path):
            if not replace:
                raise UserError(f"{path} is there already", hint)
            if not path.is_file():  # a device, a pipe, a link to nothing: not for us to take away
                raise UserError(f"{path} is no ordinary file", "choose another name")
    except OSError as error:
        raise _told(path, error) from error


def free_name(path: Path) -> Path:
    """`path`, or with -2, -3 … before its suffix where a file of that name is there."""
    for count in range(2, 10_000):
        if not os.path.lexists(path):
            return path
        stem = path.stem if count == 2 else path.stem.rpartition("-")[0]
        path = path.with_name(f"{stem}-{count}{path.suffix}")
    return path


def _finish(temp: Path, path: Path, replace: bool) -> None:
    temp.chmod(0o644)
    descriptor = os.open(temp, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if replace:
        temp.replace(path)
    else:
        try:
            os.link(temp, path)  # unlike a rename it never replaces what somebody has just made
        except OSError as error:
            if error.errno == errno.EEXIST or os.path.lexists(path):
                raise UserError(f"{path} is there already", "choose another name") from error
            temp.rename(path)  # a file system without links
    fsync_dir(path.parent)


def _told(path: Path, error: OSError) -> UserError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            f"the disk is full: {path} was not written",
            "free some space or choose another folder; nothing was left behind",
            Exit.FAILED,
        )
    why = error.strerror or str(error)
    return UserError(
        f"cannot write {path}: {why}", "choose another folder; nothing was left behind", Exit.FAILED
    )
