"""A child process that answers calls until a deadline: what it leaks, crashes or hangs on is its own."""

import contextlib
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


class WorkerError(Exception):
    """The call failed, took too long, or took the process with it; the text is one line."""


class Worker:
    """Calls module-level functions, one after the other, in one fresh process.

    `paths` come first on the child's import path; `environment` is set before anything is imported there.
    """

    def __init__(self, paths: tuple[str, ...] = (), environment: dict[str, str] | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.started = time.perf_counter()
        self.process = context.Process(target=serve, args=(theirs, paths, environment or {}), daemon=True)
        self.process.start()
        theirs.close()

    def call(self, function: Callable[..., Any], *arguments: Any, timeout: float = 600) -> Any:
        """`function(*arguments)` there. Raises `WorkerError`; a timeout or a crash ends the worker."""
        try:
            self.connection.send((function.__module__, function.__qualname__, arguments))
            if not self.connection.poll(timeout):
                self.close()
                raise WorkerError(f"not done after {timeout:.0f} s")
            good, value = self.connection.recv()
        except (EOFError, OSError) as error:
            self.close()
            raise WorkerError(f"the process died with code {self.process.exitcode}") from error
        if not good:
            raise WorkerError(value)
        return value

    @property
    def alive(self) -> bool:
        return self.process.is_alive()

    def close(self) -> None:
        self.process.kill()
        self.process.join()


def serve(connection: Connection, paths: tuple[str, ...], environment: dict[str, str]) -> None:
    """The child's loop. What it prints goes to standard error, so that standard output is the parent's."""
    import importlib

    os.environ.update(environment)
    sys.path[:0] = paths
    os.dup2(2, 1)
    while True:
        try:
            module, name, arguments = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            answer = (True, getattr(importlib.import_module(module), name)(*arguments))
        except Exception as error:
            text = " ".join(str(error).split()) or "no message"
            answer = (False, f"{type(error).__name__}: {text[:400]}")
        with contextlib.suppress(BrokenPipeError):
            connection.send(answer)
