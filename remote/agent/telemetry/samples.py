"""The sampler process: writes a run's `telemetry.jsonl` every two seconds, and ends with its supervisor."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..logs import SeqLog
from .gpus import Gpus, PatientGpus
from .host import Host

if TYPE_CHECKING:
    Values = dict[str, float | int | str]

INTERVAL = 2.0
PARENT_CHECK = 0.5
STALE = 75
DRIVER_CRASHED = "GPU telemetry is off: reading it crashed the sampler"


def sample(run_dir: Path, parent: int, with_gpus: bool) -> int:
    """Samples until `parent` is no longer our parent. Errors of one sample cost that sample only."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    log = _open(run_dir / "telemetry.jsonl", parent)
    if log is None:
        return 0
    probe = Telemetry(run_dir.parent.parent, with_gpus)
    due = time.monotonic()
    trouble = ""
    while os.getppid() == parent:
        now = time.monotonic()
        if now >= due:
            due = max(due + INTERVAL, now + INTERVAL / 2)
            trouble = _sample_once(log, probe, trouble)
            if probe.stale:
                return STALE
        time.sleep(max(0.0, min(PARENT_CHECK, due - time.monotonic())))
    return 0


def _sample_once(log: SeqLog, probe: Telemetry, before: str) -> str:
    """Writes one sample. Returns what went wrong, which is told when it is something new."""
    try:
        log.append("telemetry", probe.sample())
    except OSError as error:
        trouble = f"telemetry: {error.strerror}"
    except Exception as error:  # a figure of a kind nobody foresaw must not end the sampling
        trouble = f"telemetry: {type(error).__name__}: {error}"
    else:
        return ""
    if trouble != before:
        sys.stderr.write(trouble + "\n")
    return trouble


class Telemetry:
    """One sample of the host and its GPUs at a time."""

    def __init__(self, base: Path, with_gpus: bool = True) -> None:
        self.host = Host(base)
        self.gpus = PatientGpus(Gpus()) if with_gpus else None
        self._logged: str | None = None

    @property
    def stale(self) -> bool:
        """True when only a new process can read the GPUs again, see `Gpus.stale`."""
        return self.gpus is not None and self.gpus.gpus.stale

    def sample(self) -> Values:
        """`host/…` and `gpu/<i>/…`; `host/nvml` tells once, and on each change, why there are no GPUs."""
        values = self.host.sample()
        found: Values = {}
        note = DRIVER_CRASHED
        if self.gpus is not None:
            found, note = self.gpus.sample()
        values.update(found)
        if note != (self._logged or ""):
            self._logged = note
            values["host/nvml"] = note
        return values


def _open(path: Path, parent: int) -> SeqLog | None:
    """The log, once the sampler of a dead supervisor has let go of it."""
    while os.getppid() == parent:
        try:
            return SeqLog(path)
        except OSError:
            time.sleep(PARENT_CHECK)
    return None
