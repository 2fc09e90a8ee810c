"""A folder that appears complete under its name, or not at all.

Its files are written to a hidden folder beside it, `.NAME.TOKEN.tmp`, on which every process that writes
holds a lock. `commit` makes them durable and gives the folder its name; the folder that it replaces is called
`.NAME.replaced` meanwhile, and one that is being deleted `.NAME.deleted`.

A lock ends with its process, however that ends. So `sweep` can tell what killed writers left from what living
ones are writing: it removes the first, or puts back a folder that was just being replaced, and never touches
the second.
"""

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from nanochat.common.errors import Exit, UserError
from nanochat.common.paths import fsync_dir, make_dir

# The last alternatives are what version 0.1.0 called them.
_HIDDEN = re.compile(
    r"\.(?P<name>.+)\.(?:(?P<temp>[\w-]+\.tmp)|(?P<replaced>replaced(?:-\d+)?)|(?P<deleted>deleted|doomed))"
)


LOCK_SECONDS = 30.0
"""How long the lock of a temporary folder is waited for."""


def new_token() -> str:
    """A name for a temporary folder that no other one has."""
    return secrets.token_hex(4)


def temp_folder(folder: Path, token: str) -> Path:
    """Where the new content of `folder` is written before it is committed."""
    return folder.with_name(f".{folder.name}.{token}.tmp")


class FolderLock:
    """A lock on a temporary folder, which is made where it is missing. Several processes may hold it at
    once.

    The folder is its owner's alone: whoever can open it can lock it. Raises `OSError` when somebody else
    holds it for `LOCK_SECONDS`: sweeping does so for a moment only.
    """

    _descriptor = -1

    def __init__(self, folder: Path) -> None:
        until = time.monotonic() + LOCK_SECONDS
        while True:
            folder.mkdir(mode=0o700, exist_ok=True)
            with contextlib.suppress(FileNotFoundError, BlockingIOError):  # just swept, or being swept
                self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    if os.path.samestat(os.fstat(self._descriptor), folder.stat()):
                        return
                except BaseException:
                    self.release()
                    raise
                self.release()
            if time.monotonic() >= until:
                raise OSError(errno.EAGAIN, "another process holds the lock of its folder", str(folder))
            time.sleep(0.01)

    def release(self) -> None:
        """Gives the lock up; a second time does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    __del__ = release


def commit(temp: Path, folder: Path) -> None:
    """Makes the content of `temp` durable and renames it to `folder`, which it replaces.

    A kill between the two renames leaves a replaced folder, which `sweep` puts back. Raises `OSError`.
    """
    _fsync_tree(temp)
    replaced = folder.with_name(f".{folder.name}.replaced")
    while True:
        if folder.exists():
            shutil.rmtree(replaced, ignore_errors=True)
            folder.rename(replaced)
        try:
            temp.rename(folder)
            break
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # else another writer was quicker
                if replaced.exists() and not folder.exists():
                    replaced.rename(folder)
                raise
    fsync_dir(folder.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def remove(folder: Path) -> None:
    """Deletes a folder. It is renamed first, so that a kill in between leaves no partial one under its
    name."""
    hidden = folder.with_name(f".{folder.name}.deleted")
    shutil.rmtree(hidden, ignore_errors=True)
    folder.rename(hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def sweep(parent: Path, is_ours: Callable[[str], object]) -> None:
    """Clears what killed writers left of those folders in `parent` whose name `is_ours`."""
    for path, match in _hidden_in(parent):
        if not is_ours(match["name"]):
            continue
        if match["temp"]:
            _remove_abandoned(path)
        elif match["deleted"]:
            shutil.rmtree(path, ignore_errors=True)
        else:
            _put_back(path, parent / match["name"])


def has_writer(folder: Path, besides: Path | None = None) -> bool:
    """Whether a living process writes new content of `folder`, into another temporary folder than
    `besides`."""
    return any(
        match["temp"] and match["name"] == folder.name and path != besides and _is_locked(path)
        for path, match in _hidden_in(folder.parent)
    )


def _hidden_in(parent: Path) -> Iterator[tuple[Path, re.Match[str]]]:
    for path in parent.iterdir():
        if (match := _HIDDEN.fullmatch(path.name)) and path.is_dir():
            yield path, match


def _put_back(replaced: Path, folder: Path) -> None:
    """Restores a folder whose replacement never came; nothing while its writer lives and may still commit."""
    if has_writer(folder):
        return
    if folder.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        return
    try:
        replaced.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):  # else somebody was quicker
            raise


def _remove_abandoned(temp: Path) -> None:
    """Removes a temporary folder unless a process holds its lock."""
    with _exclusively(temp) as alone:
        if alone:
            shutil.rmtree(temp, ignore_errors=True)


def _is_locked(temp: Path) -> bool:
    with _exclusively(temp) as alone:
        return not alone


@contextlib.contextmanager
def _exclusively(temp: Path) -> Iterator[bool]:
    """Whether nobody holds the folder's lock; if so, nobody can take it meanwhile."""
    try:
        descriptor = os.open(temp, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _fsync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_dir():
            fsync_dir(path)
        elif path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    fsync_dir(folder)


class AtomicFolder:
    """`with AtomicFolder(out, is_ours) as new:` fill `new.content`, then `new.commit()`.

    Refuses an `out` that holds anything, unless `overwrite` is set and `is_ours(name)` is true of every name
    in it: a user's other files are never replaced. Without a commit nothing is left behind. Raises
    `UserError` for these, for a second writer of the same folder, and for a disk that is full.
    """

    def __init__(self, out: Path, is_ours: Callable[[str], bool], overwrite: bool = False) -> None:
        self.out = Path(os.path.realpath(out))
        self._is_ours, self._overwrite = is_ours, overwrite
        self._temp = temp_folder(self.out, new_token())
        self.content = self._temp / "content"
        """The folder to fill."""
        self.scratch = self._temp / "scratch"
        """A folder for intermediate files, which are deleted at the end."""

    def __enter__(self) -> Self:
        make_dir(self.out.parent, "choose another folder to write")
        sweep(self.out.parent, lambda name: name == self.out.name)
        self._check_out()
        try:
            self._lock = FolderLock(self._temp)
        except OSError as error:
            raise write_error(self.out, error) from error
        try:
            # Looked for once locked: of two that begin at once each sees the other.
            if has_writer(self.out, besides=self._temp):
                raise UserError(
                    f"another process is writing {self.out}", "wait for it, or choose another folder"
                )
            self.content.mkdir()
            self.scratch.mkdir()
        except BaseException as error:
            self._close(error)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close(error)

    def _close(self, error: BaseException | None) -> None:
        shutil.rmtree(self._temp, ignore_errors=True)
        self._lock.release()
        if isinstance(error, OSError) and not isinstance(error, UserError):
            raise write_error(self.out, error) from error

    def commit(self) -> None:
        """Makes `content` durable and gives it its name."""
        self.content.chmod(0o755)
        self._check_out()
        commit(self.content, self.out)

    def _check_out(self) -> None:
        if not self.out.exists():
            return
        if not self.out.is_dir():
            raise UserError(f"{self.out} is a file, not a folder", "choose another --out")
        if self.out.is_mount():
            raise UserError(f"{self.out} is a mount point and cannot be replaced", "name a folder below it")
        names = sorted(path.name for path in self.out.iterdir())
        others = [name for name in names if not self._is_ours(name)]
        if others:
            raise UserError(
                f"{self.out} holds other files, {others[0]} among them", "choose a new or empty folder"
            )
        if names and not self._overwrite:
            raise UserError(f"{self.out} already holds {len(names)} files", "add --overwrite to replace them")


def write_error(out: Path, error: OSError) -> UserError:
    """The one line for an error of the file system while `out` is written."""
    if error.errno == errno.ENOSPC:
        hint = "free some space or choose another disk with --out; nothing was left behind"
        return UserError(f"the disk is full: cannot write {out}", hint, Exit.FAILED)
    return UserError(f"cannot write {out}: {error.strerror or error}", "nothing was left behind", Exit.FAILED)
