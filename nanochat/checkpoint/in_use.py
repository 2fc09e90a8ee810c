"""Who uses a checkpoint at this moment: a server, an evaluation, an export, a training that starts from it.

Each user holds the lock of a hidden file beside the tag's folder, `.d20.step_000400.PID-TOKEN.use`, whose
text says who it is. (Not in the folder: its time of change tells which tag was saved to last.) A lock ends
with its process, however that ends, so a file that nobody holds says nothing. Whoever deletes checkpoints
asks first; `remote.agent.checkpoint_use` reads the same files on a host.
"""

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path

from nanochat.common.atomic_folder import new_token
from nanochat.common.text import sanitize

_MARK = re.compile(r"\.(?P<name>.+)\.\d{1,10}-[0-9a-f]{8}\.use")
"""The name is that of the tag and of the checkpoint in it."""


class Use:
    """Says, until `end`, that a checkpoint's files are in use. `by` is who uses them, in a few words.

    Where nothing can be written beside the checkpoint it says nothing: who cannot write there cannot delete
    there either.
    """

    def __init__(self, checkpoint: Path, by: str) -> None:
        self._path = _folder(checkpoint) / f".{_name(checkpoint)}.{os.getpid()}-{new_token()}.use"
        self._descriptor = -1
        with contextlib.suppress(OSError):
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, 0o644)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(self._descriptor, sanitize(by, 200).encode())

    def end(self) -> None:
        """The checkpoint is no longer in use; a second time does nothing."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                self._path.unlink()
            os.close(self._descriptor)
            self._descriptor = -1

    __del__ = end


@contextlib.contextmanager
def using(checkpoint: Path, by: str) -> Iterator[None]:
    """Says within the block that a checkpoint is in use."""
    use = Use(checkpoint, by)
    try:
        yield
    finally:
        use.end()


def users(checkpoint: Path) -> list[str]:
    """Who uses a checkpoint now, as they call themselves. What killed users left is removed."""
    found = []
    try:
        marks = [path for path in _folder(checkpoint).iterdir() if _is_mark_of(path.name, checkpoint)]
    except OSError:
        return []
    for path in sorted(marks):
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                path.unlink()
            except BlockingIOError:
                found.append(sanitize(os.read(descriptor, 800).decode(errors="replace"), 200))
            finally:
                os.close(descriptor)
    return found


def _folder(checkpoint: Path) -> Path:
    return checkpoint.parent.parent


def _name(checkpoint: Path) -> str:
    return f"{checkpoint.parent.name}.{checkpoint.name}"


def _is_mark_of(name: str, checkpoint: Path) -> bool:
    match = _MARK.fullmatch(name)
    return match is not None and match["name"] == _name(checkpoint)
