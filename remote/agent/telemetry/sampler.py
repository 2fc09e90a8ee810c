"""A hold on the process that writes telemetry.

Telemetry has a process of its own: a driver that hangs or crashes takes the sampler down, never the
supervisor. The sampler ends with its supervisor; this restarts it, ever more slowly, when it ends alone.
A stage run directly has no supervisor: whoever follows the host samples for it, see `follow.py`.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import agent_argv

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST_RETRY = 2.0
LAST_RETRY = 60.0
STEADY = 120.0


class Sampler:
    """Keeps one sampler running for the run in `run_dir`.

    `log` takes a line for the keeper's own log; `errors` is where the sampler's stderr goes (a descriptor,
    None: the keeper's own).
    """

    def __init__(self, run_dir: Path, log: Callable[[str], None], errors: int | None = None) -> None:
        self.run_dir = run_dir
        self.log = log
        self.errors = errors
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._next_start = 0.0
        self._retry = FIRST_RETRY
        self._without_gpus = False

    def maintain(self, now: float) -> None:
        """Starts the sampler when none runs and it is time. Never raises."""
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return
            self._process = None
            if now - self._started > STEADY:
                self._retry = FIRST_RETRY
            self.log(
                f"{self.run_dir.name}: the telemetry sampler ended with {code}, again in {self._retry:g} s"
            )
            self._without_gpus = code < 0  # killed by a signal: the driver's library is the usual reason
            self._next_start = now + self._retry
            self._retry = min(self._retry * 2, LAST_RETRY)
        if now >= self._next_start:
            self._start(now)

    def _start(self, now: float) -> None:
        argv = [*agent_argv(), "sample", "--run-dir", str(self.run_dir), "--parent", str(os.getpid())]
        if self._without_gpus:
            argv.append("--without-gpus")
        try:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.errors, cwd="/"
            )
            self._started = now
        except OSError as error:
            self.log(f"{self.run_dir.name}: cannot start the telemetry sampler: {error.strerror}")
            self._next_start = now + LAST_RETRY

    def end(self) -> None:
        """Ends the sampler; one that hangs in the driver is not waited for long."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(0.5)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._process = None
