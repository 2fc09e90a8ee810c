"""Runs a program that a model wrote in a process without access to anything.

The strongest of four levels that the machine supports is used (docs/sandbox.md has the table):

- `namespaces`: a root, a network, a process table and a user of its own, under a system-call filter;
- `landlock`: reads the standard library and nothing else, under the filter;
- `seccomp`: opens no file at all, under the filter;
- `rlimits`: limits of memory, time and output only. That is no sandbox, and refused unless `unsafe` is set.

The process has no environment, no input, 256 MB of memory and 5 seconds. The order of sets and the
numbers of `random` are the same in every run. A program that succeeds has run to its end: one that exits
early, by `sys.exit(0)` too, has not passed the tests at its end. The program and its tests share one
interpreter, as in every HumanEval harness, so a hostile program can claim its own success; it can do
nothing else.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO, Literal, get_args

from nanochat.common.errors import Exit, UserError, nearest, one_line
from nanochat.tools.scratch import held_folder

Level = Literal["namespaces", "landlock", "seccomp", "rlimits"]
LEVELS: tuple[Level, ...] = get_args(Level)
"""Strongest first."""

TIMEOUT = 5.0
"""Seconds of wall-clock time from the program's first line."""
MEMORY = 256 << 20
"""Bytes of address space, the interpreter's own included."""
OUTPUT_KEPT = 64 << 10
"""Bytes of stdout, and of stderr, that a result holds."""
OUTPUT_LIMIT = 16 << 20
"""Bytes of output at which a program is ended."""

_SETUP_SECONDS = 30.0
_BOOT = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from nanochat.tools.jail.child import main
del sys.path[0]
main()
"""


@dataclass(frozen=True)
class Execution:
    """The outcome of a program. `error` is one line, empty on success; `level` and `layers` name what
    confined it."""

    success: bool
    timeout: bool
    memory: bool
    stdout: str
    stderr: str
    error: str
    level: Level
    layers: tuple[str, ...]


@dataclass(frozen=True)
class SupportedLevel:
    """The strongest level of this machine, its layers, and why each stronger one is not available."""

    level: Level
    layers: tuple[str, ...]
    refusals: dict[str, str]

    def __str__(self) -> str:
        text = f"sandbox level {self.level} ({', '.join(self.layers)})"
        reasons = "; ".join(f"no {level}: {reason}" for level, reason in self.refusals.items())
        return f"{text}; {reasons}" if reasons else text


class _SetupError(Exception):
    """A level cannot be set up on this machine."""


@cache
def strongest_level() -> SupportedLevel:
    """Finds the strongest level by trying each in turn, once for this process."""
    refusals: dict[str, str] = {}
    for level in LEVELS:
        try:
            trial = _execute("", level, TIMEOUT, MEMORY)
        except _SetupError as error:
            refusals[level] = str(error)
        else:
            return SupportedLevel(level, trial.layers, refusals)
    raise UserError(
        f"no process can be started with limits here: {refusals['rlimits']}",
        "programs of models cannot be run on this machine",
        Exit.FAILED,
    )


def choose_level(level: Level | None = None, *, unsafe: bool = False) -> Level:
    """The level to run at: `level`, else the strongest. Raises `UserError` for an unknown level, and when
    only limits are available and `unsafe` is not set."""
    if level is not None and level not in LEVELS:
        raise UserError(f"no sandbox level is called '{level}'", nearest(level, LEVELS))
    chosen = level or strongest_level().level
    if chosen == "rlimits" and not unsafe:
        reasons = "" if level else "; " + "; ".join(strongest_level().refusals.values())
        raise UserError(
            f"no sandbox is available on this machine, only limits of time and memory{reasons}",
            "run where Linux allows user namespaces, or pass --unsafe to run a model's programs as yourself",
        )
    return chosen


def run_program(
    program: str,
    *,
    timeout: float = TIMEOUT,
    memory: int = MEMORY,
    level: Level | None = None,
    unsafe: bool = False,
) -> Execution:
    """Runs Python source as `__main__` in a new sandbox and returns the outcome.

    Raises `UserError` when the level asked for, or without one any safe level, is not available.
    """
    chosen = choose_level(level, unsafe=unsafe)
    try:
        return _execute(program, chosen, timeout, memory)
    except _SetupError as error:
        raise UserError(
            f"the sandbox level '{chosen}' is not available: {error}",
            f"here: {strongest_level()}",
            Exit.FAILED,
        ) from error


def run_programs(
    programs: Iterable[str],
    *,
    workers: int | None = None,
    timeout: float = TIMEOUT,
    memory: int = MEMORY,
    level: Level | None = None,
    unsafe: bool = False,
) -> list[Execution]:
    """`run_program` for each, `workers` at a time (the number of cores), in order."""
    chosen = choose_level(level, unsafe=unsafe)

    def run(program: str) -> Execution:
        return run_program(program, timeout=timeout, memory=memory, level=chosen, unsafe=unsafe)

    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        return list(pool.map(run, programs))


def _execute(program: str, level: Level, timeout: float, memory: int) -> Execution:
    """Runs one program at one level. Raises `_SetupError` when the level cannot be set up."""
    if sys.platform != "linux" and level != "rlimits":
        raise _SetupError("it needs Linux")
    try:
        with (
            tempfile.TemporaryFile() as source,
            held_folder() as folder,
        ):
            source.write(program.encode("utf-8", "replace"))
            source.seek(0)
            return _run_monitored(source, folder, level, timeout, memory)
    except OSError as error:  # no space or no folder for temporary files, or no process can be started
        raise _SetupError(one_line(str(error))) from error


def _run_monitored(source: BinaryIO, folder: str, level: Level, timeout: float, memory: int) -> Execution:
    status_read, status_write = os.pipe()
    with os.fdopen(status_read, "rb", buffering=0) as status:
        try:
            process = _start(level, timeout, memory, source, folder, status_write)
        finally:
            os.close(status_write)
        monitor = _ProcessMonitor(process, status, timeout)
        try:
            monitor.wait()
        finally:
            _kill(process)
    return monitor.result(level)


def _start(
    level: Level, timeout: float, memory: int, source: BinaryIO, folder: str, status: int
) -> "subprocess.Popen[bytes]":
    # The base interpreter: a virtual environment's packages are not for the program.
    interpreter = getattr(sys, "_base_executable", None) or sys.executable
    repository = str(Path(__file__).resolve().parents[2])
    cpu_seconds = int(timeout) + 2  # more than the wall-clock limit, which is what ends a program
    arguments = [repository, level, memory, cpu_seconds, status, folder, os.getpid()]
    return subprocess.Popen(
        [interpreter, "-X", "utf8", "-s", "-S", "-B", "-P", "-c", _BOOT, *map(str, arguments)],
        stdin=source,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env={"PYTHONHASHSEED": "0", "MALLOC_ARENA_MAX": "1"},  # an arena per thread would use up the memory
        pass_fds=[status],
        start_new_session=True,
    )


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Kills what is still running. In a sandbox that is at most two processes, both of one group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdout, process.stderr):
        assert pipe is not None
        pipe.close()


class _ProcessMonitor:
    """Reads what the process writes, until it ends, has written too much, or its time is up."""

    def __init__(self, process: "subprocess.Popen[bytes]", status: BinaryIO, timeout: float) -> None:
        self._process = process
        self._timeout = timeout
        assert process.stdout is not None and process.stderr is not None
        self._pipes = {"status": status, "stdout": process.stdout, "stderr": process.stderr}
        self._kept = {name: bytearray() for name in self._pipes}
        self._written = 0
        self._timed_out = self._flooded = False

    def wait(self) -> None:
        """Returns when the outcome is known. The program's time starts when its sandbox is set up."""
        deadline = time.monotonic() + _SETUP_SECONDS
        running = False
        with selectors.DefaultSelector() as selector:
            for name, pipe in self._pipes.items():
                selector.register(pipe, selectors.EVENT_READ, name)
            while selector.get_map():
                left = deadline - time.monotonic()
                if left <= 0:
                    self._timed_out = True
                    return
                for key, _ in selector.select(left):
                    if not self._read(key.data):
                        selector.unregister(key.fileobj)
                if self._written > OUTPUT_LIMIT:
                    self._flooded = True
                    return
                if not running and b"\n" in self._kept["status"]:
                    running, deadline = True, time.monotonic() + self._timeout
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:  # it has closed its outputs and still runs
            self._timed_out = True

    def _read(self, name: str) -> bool:
        """Reads what a pipe holds; False at its end."""
        data = os.read(self._pipes[name].fileno(), 1 << 16)
        kept = self._kept[name]
        kept += data[: max(0, OUTPUT_KEPT - len(kept))]
        self._written += len(data)
        return bool(data)

    def result(self, level: Level) -> Execution:
        """The outcome. Raises `_SetupError` when the sandbox could not be set up."""
        lines = self._kept["status"].decode("utf-8", "replace").splitlines()
        stdout, stderr = (self._kept[name].decode("utf-8", "replace") for name in ("stdout", "stderr"))
        started, _, layers = (lines[0] if lines else "").partition(" ")
        if started != "ready":
            reason = layers or (stderr.strip().splitlines() or ["its process ended at once"])[-1]
            raise _SetupError(one_line(reason))
        outcome = lines[1] if len(lines) > 1 else ""
        code = self._process.returncode
        success = outcome == "done" and code == 0 and not self._timed_out and not self._flooded
        return Execution(
            success=success,
            timeout=self._timed_out,
            memory=outcome.startswith("memory") and not self._timed_out,
            stdout=stdout,
            stderr=stderr,
            error="" if success else self._error(outcome, code),
            level=level,
            layers=tuple(layers.split(",")),
        )

    def _error(self, outcome: str, code: int) -> str:
        if self._timed_out:
            return f"timed out after {self._timeout:g} s"
        if self._flooded:
            return f"wrote more than {OUTPUT_LIMIT >> 20} MiB"
        kind, _, detail = outcome.partition(" ")
        if kind == "exit":
            return f"exited early with sys.exit({detail})"
        if kind in ("raised", "memory"):
            return detail
        number = -code if code < 0 else code - 128
        if number > 0:
            with contextlib.suppress(ValueError):
                return f"killed by {signal.Signals(number).name}"
        return f"exited with code {code} before its end"
