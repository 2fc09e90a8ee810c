"""Console output that may be closed at any time, and the signals that ask a stage to stop."""

import contextlib
import errno
import io
import os
import signal
import stat
import sys
import threading
from collections.abc import Callable
from typing import TextIO

from nanochat.common.text import clean_text

_GONE = (errno.EPIPE, errno.EIO)


def ensure_streams() -> None:
    """Makes both outputs ones that nothing printed can end the process by.

    Opens the null device for one that was closed when the process started (`>&-`). A letter that the locale
    cannot spell becomes "?" on a terminal, where cells count, and an escape elsewhere. A file, such as a
    run's console log, is UTF-8 like every other file.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - as long as the process
            setattr(sys, name, nowhere)
        elif isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError, ValueError):  # closed, or no descriptor behind it
                number = stream.fileno()
                regular = stat.S_ISREG(os.fstat(number).st_mode)
                encoding = "utf-8" if regular else stream.encoding
                stream.reconfigure(
                    encoding=encoding, errors="replace" if os.isatty(number) else "backslashreplace"
                )


def say(text: str, stream: TextIO) -> bool:
    """Prints a line at once. False when nobody reads any more: the pipe or the terminal was closed.

    What a terminal would act on is shown instead: a model may have written the text, or a file's name it.
    Anything printed to such a stream from then on is discarded. A line that a full disk does not take is
    dropped: the event log has it.
    """
    try:
        stream.write(f"{clean_text(text)}\n")  # in one piece: ranks print to one pipe, unbuffered
        stream.flush()
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
