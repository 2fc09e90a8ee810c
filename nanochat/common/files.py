"""Reading a file that somebody else named or made: a pipe is never waited for, and no size goes unbounded."""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

MOST_BYTES = 64 << 20
"""Of a document that is read whole."""


def open_regular(path: Path) -> BufferedReader:
    """A regular file, to be read. Raises `OSError` for anything else: a pipe, a device, a folder."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        os.set_blocking(descriptor, True)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def is_utf_8(path: Path) -> bool:
    """Whether the path can be spelled in UTF-8. Arrow takes no other by name, only as an open file."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def read_regular(path: Path, most: int = MOST_BYTES) -> bytes:
    """The content of a regular file of at most `most` bytes. Raises `OSError` for anything else."""
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most:,} bytes", str(path))
    return content


def regular_text(path: Path, most: int = MOST_BYTES) -> str:
    """As `read_regular`, of UTF-8 text with any line ends. Raises `OSError` and `UnicodeDecodeError`."""
    return read_regular(path, most).decode().replace("\r\n", "\n").replace("\r", "\n")
