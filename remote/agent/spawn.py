"""Starting a stage so that it cannot run unrecorded.

The child waits on a pipe until its pid is safely in `state.json`; when the supervisor dies first, the
pipe closes and the child ends without having started the stage.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

from .files import open_regular
from .procs import start_time

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

UNBLOCKED = 125
NOT_RUN = 127
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)
RESET = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGPIPE,
    signal.SIGCHLD,
    signal.SIGXFSZ,
)


class HeldStage:
    """A forked child in its own session that has not yet become the stage."""

    def __init__(self, pid: int, go: int, error: int) -> None:
        self.pid = pid
        self.pid_start = start_time(pid)
        self._go = go
        self._error = error

    def start(self) -> str:
        """Lets the child become the stage. Returns "" or, when the program cannot be run, why."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._go, b"g")
        os.close(self._go)
        reason = b""
        while True:
            part = os.read(self._error, 4096)
            if not part:
                break
            reason += part
        os.close(self._error)
        return reason.decode("utf-8", "replace")

    def cancel(self) -> None:
        """Ends the child before it has become the stage."""
        os.close(self._go)
        os.close(self._error)
        os.waitpid(self.pid, 0)


def hold(
    argv: Sequence[str], env: Mapping[str, str], cwd: Path, console: Path, dies_with_us: bool = False
) -> HeldStage:
    """Forks the process of a stage, held until `start`. Raises OSError when the console cannot be opened.

    The stage gets /dev/null as input, the console for both outputs, default signal actions, its own
    session, and no other descriptor of ours: they all are close-on-exec. With `dies_with_us` Linux sends it
    SIGTERM when our process ends.
    """
    libc = None
    if dies_with_us and sys.platform == "linux":
        import ctypes  # here: a Python may lack it, and only services need it

        libc = ctypes.CDLL(None)
    output = open_regular(console, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    go_read, go_write = os.pipe()
    error_read, error_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go_write)  # a copy kept here would hide the parent's death
        os.close(error_read)
        if libc is not None:
            libc.prctl(_DEATH_SIGNAL, int(signal.SIGTERM), 0, 0, 0)
        _become(argv, env, cwd, output, go_read, error_write)
    os.close(output)
    os.close(go_read)
    os.close(error_write)
    return HeldStage(pid, go_write, error_read)


def _become(argv: Sequence[str], env: Mapping[str, str], cwd: Path, output: int, go: int, error: int) -> None:
    """The child's side. Leaves only through exec or `os._exit`."""
    try:
        os.setsid()
        for number in RESET:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        if os.read(go, 1) != b"g":
            os._exit(UNBLOCKED)
        os.chdir(str(cwd))
        os.execvpe(argv[0], list(argv), dict(env))
    except Exception as problem:
        why = problem.strerror if isinstance(problem, OSError) else f"{type(problem).__name__}: {problem}"
        with contextlib.suppress(OSError):
            os.write(error, f"cannot run {argv[0]}: {why}".encode("utf-8", "replace"))
    finally:
        os._exit(NOT_RUN)
