"""A folder that appears whole under its name, or not at all.

The work is done in a hidden folder beside it, under a lock that dies with the process; what a killed
process left is found by its free lock and removed by the next one.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from nanochat.common.errors import Exit, UserError
from nanochat.common.paths import fsync_dir, make_dir

_BUILDING = ".building-"
_REPLACED = ".replaced-"


class StagedFolder:
    """`with StagedFolder(out, ours, overwrite) as staged:` fill `staged.content`, then `staged.commit()`.

    Refuses an `out` that holds anything, unless `overwrite` is set and `ours(name)` knows every name in
    it: a user's other files are never replaced. Without a commit nothing is left behind. Raises
    `UserError` for these, for a second builder of the same folder, and for a disk that is full.
    """

    def __init__(self, out: Path, ours: Callable[[str], bool], overwrite: bool = False) -> None:
        self.out = Path(os.path.realpath(out))
        self._ours, self._overwrite = ours, overwrite
        self._lock = -1
        self.content = self.out
        self.scratch = self.out
        """A folder for what is not to be kept; it goes with the staged folder."""

    def __enter__(self) -> Self:
        make_dir(self.out.parent)
        self._clear_stale()
        self._check_out()
        try:
            self._root = Path(tempfile.mkdtemp(prefix=f".{self.out.name}{_BUILDING}", dir=self.out.parent))
            self._lock = os.open(self._root / "lock", os.O_CREAT | os.O_RDWR, 0o644)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.content, self.scratch = self._root / "content", self._root / "scratch"
            self.content.mkdir()
            self.scratch.mkdir()
        except OSError as error:
            raise write_error(self.out, error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._root, ignore_errors=True)
        os.close(self._lock)
        if isinstance(error, OSError) and not isinstance(error, UserError):
            raise write_error(self.out, error) from error

    def commit(self) -> None:
        """Makes `content` durable and gives it its name."""
        for path in self.content.iterdir():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        fsync_dir(self.content)
        self.content.chmod(0o755)
        self._check_out()
        old = self.out.parent / f".{self.out.name}{_REPLACED}{os.getpid()}"
        if self.out.exists():
            self.out.rename(old)
        self.content.rename(self.out)
        fsync_dir(self.out.parent)
        shutil.rmtree(old, ignore_errors=True)

    def _check_out(self) -> None:
        if not self.out.exists():
            return
        if not self.out.is_dir():
            raise UserError(f"{self.out} is a file, not a folder", "choose another --out")
        if self.out.is_mount():
            raise UserError(f"{self.out} is a mount point and cannot be replaced", "name a folder below it")
        names = sorted(path.name for path in self.out.iterdir())
        foreign = [name for name in names if not self._ours(name)]
        if foreign:
            raise UserError(
                f"{self.out} holds other files, {foreign[0]} among them", "choose a new or empty folder"
            )
        if names and not self._overwrite:
            raise UserError(f"{self.out} already holds {len(names)} files", "add --overwrite to replace them")

    def _clear_stale(self) -> None:
        """Removes what killed builders of this folder left, and puts back what one was just replacing."""
        for path in self.out.parent.glob(f".{self.out.name}{_REPLACED}*"):
            if self.out.exists():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.rename(self.out)
        for path in self.out.parent.glob(f".{self.out.name}{_BUILDING}*"):
            with contextlib.suppress(FileNotFoundError):
                if _is_locked(path / "lock"):
                    raise UserError(
                        f"another build is writing {self.out}", "wait for it, or choose another --out"
                    )
            shutil.rmtree(path, ignore_errors=True)


def _is_locked(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def write_error(out: Path, error: OSError) -> UserError:
    """The one line for an error of the file system while `out` is written."""
    if error.errno == errno.ENOSPC:
        hint = "free some space or choose another disk with --out; nothing was left behind"
        return UserError(f"the disk is full: cannot write {out}", hint, Exit.FAILED)
    return UserError(f"cannot write {out}: {error.strerror or error}", "nothing was left behind", Exit.FAILED)
