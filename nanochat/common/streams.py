"""Console output that may be closed at any time, and the signals that ask a stage to stop."""

import errno
import os
import signal
import stat
import sys
import threading
from collections.abc import Callable
from typing import TextIO

_GONE = (errno.EPIPE, errno.EIO)


def ensure_streams() -> None:
    """Opens the null device as output of a process that was started with its output closed (`>&-`)."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115 - for as long as the process lives


def say(text: str, stream: TextIO) -> bool:
    """Prints a line at once. False when nobody reads any more: the pipe or the terminal was closed.

    Anything printed to such a stream from then on is discarded. A line that a full disk does not take is
    dropped: the event log has it.
    """
    try:
        print(text, file=stream, flush=True)
    except OSError as error:
        if error.errno not in _GONE or _is_file(stream):
            return True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # what is still buffered is flushed there, now and at exit
        os.close(nowhere)
        return False
    return True


def _is_file(stream: TextIO) -> bool:
    """Whether the stream goes into a file: its errors are the disk's, nobody has closed anything."""
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):
        return False


def on_stop_signals(handler: Callable[[int, object], None]) -> None:
    """Has SIGINT, SIGTERM and SIGHUP (the terminal was closed) call `handler`; not SIGHUP under nohup.

    Does nothing outside the main thread, the only one that may set signal handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)
