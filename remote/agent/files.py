"""What every part of the agent stands on: errors with a code, JSON files written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from .documents import too_deep

if TYPE_CHECKING:
    Json = dict[str, Any]

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
MOST_BYTES = 1 << 20
"""Of a document. What the agent itself writes is far below."""


class AgentError(Exception):
    """Something the caller can mend: one line of text, and a `code` for programs."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(" ".join(message.split()))
        self.code = code


def os_error(what: str, error: OSError) -> AgentError:
    """`error` as one line that says what was being done and on which file."""
    code = "disk_full" if error.errno in DISK_FULL else "os"
    where = f" ({error.filename})" if error.filename else ""
    return AgentError(f"{what}: {error.strerror or error}{where}", code)


def open_regular(path: Path | str, flags: int = os.O_RDONLY) -> int:
    """An open descriptor of a regular file. Raises OSError for anything else: a FIFO would be waited for."""
    descriptor = os.open(str(path), flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        os.set_blocking(descriptor, True)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_bytes(path: Path | str) -> BinaryIO:
    """A regular file, to be read. Raises OSError."""
    return os.fdopen(open_regular(path), "rb")


def read_json(path: Path) -> Json | None:
    """The JSON object in `path`, or None when it is missing, torn, no object, too large or too deep."""
    try:
        with open_bytes(path) as file:
            raw = file.read(MOST_BYTES + 1)
        content = json.loads(raw) if len(raw) <= MOST_BYTES else None
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) and not too_deep(content) else None


def as_bytes(content: Json) -> bytes:
    """A document as it is written. Half a surrogate pair is no text of UTF-8: it stays the escape it was."""
    return json.dumps(content, ensure_ascii=False, indent=1).encode("utf-8", "backslashreplace")


def write_json(path: Path, content: Json, mode: int = 0o644) -> None:
    """Replaces `path` atomically: temp file beside it, fsync, rename, fsync folder. Raises OSError."""
    raw = as_bytes(content) + b"\n"
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=str(path.parent))
    try:
        try:
            write_all(descriptor, raw)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    fsync_dir(path.parent)


def write_all(descriptor: int, raw: bytes) -> None:
    """Writes every byte; `os.write` may take fewer on a nearly full disk."""
    view = memoryview(raw)
    while view:
        view = view[os.write(descriptor, view) :]


def fsync_dir(path: Path) -> None:
    """Makes a rename inside `path` durable."""
    descriptor = os.open(str(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def agent_argv() -> list[str]:
    """The command line that starts this same agent again, from its zipapp or from the source tree."""
    archive = Path(__file__).absolute().parent.parent
    if archive.is_file():
        return [sys.executable, "-X", "utf8", str(archive)]
    return [sys.executable, "-X", "utf8", "-m", __package__ or "remote.agent"]
