"""A program in a pseudo-terminal, and when each mark was painted: the first time its bytes came out."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import termios
import threading
import time
from collections.abc import Mapping, Sequence

MARK = re.compile(rb"m\d-\d{6}")
_KEPT = 16
"""Bytes at the end of a read that may begin a mark."""


class Painted:
    """Runs `command`; `marks` holds the Unix time at which each was read from the terminal. A text field is
    no matter: a mark is never typed. Use as a context manager: it kills the program at the end."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], size: tuple[int, int]) -> None:
        self.marks: dict[str, float] = {}
        self.written = 0
        """Bytes that the program has written."""
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            columns, rows = size
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            os.execve(command[0], list(command), dict(environment))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Painted:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self._reader.join()
        os.close(self._terminal)

    def press(self, keys: str) -> None:
        """Types `keys`."""
        os.write(self._terminal, keys.encode())

    def _read(self) -> None:
        kept = b""
        with contextlib.suppress(OSError):
            while raw := os.read(self._terminal, 1 << 16):
                now = time.time()
                self.written += len(raw)
                text = kept + raw
                for found in MARK.findall(text):
                    self.marks.setdefault(found.decode("ascii"), now)
                kept = text[-_KEPT:]
