"""A run's files on disk: `run.json` (what was asked) and `state.json` (its status and how it ended).

An agent writes both for the stages it starts. A stage run directly, from a shell, writes them itself in the
same form, so that screens and tables see no difference.
"""

import contextlib
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nanochat import __version__
from nanochat.common.errors import UserError
from nanochat.common.fields import json_text
from nanochat.common.paths import atomic_write
from nanochat.config.options import Options, changed

SCHEMA = 1
"""The format version of both files, the same as the agent's."""

HEARTBEAT_SECONDS = 2.0
"""Time between heartbeats, as often as an agent writes them. On a shared disk a run of another machine counts
as lost after a minute without one."""

BLOCK = 4096
"""Bytes that a file has on disk at least, whatever its size."""

ENV_PREFIXES = ("NANOCHAT_", "CUDA_", "NCCL_", "OMP_", "TORCH")
"""Variables that change what a stage computes, where, or how fast. Only their names are written down."""


def new_run_id(stage: str) -> str:
    """`YYYYMMDD-HHMMSS-<stage>-<4 hex>` in UTC: sorts by time, safe in a file name."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{stage}-{secrets.token_hex(2)}"


def write_run_json(path: Path, stage: str, options: Options) -> None:
    """Writes `run.json` of a stage run directly into the run directory `path`."""
    _write_json(path / "run.json", describe(path.name, stage, options))


def describe(run_id: str, stage: str, options: Options) -> dict[str, Any]:
    """What was asked of a stage run directly. Names of environment variables go in, never values."""
    return {
        "schema": SCHEMA,
        "run_id": run_id,
        "name": stage,
        "stage": stage,
        "options": changed(options),
        "argv": [sys.executable, *sys.orig_argv[1:]],
        "code": {"version": __version__, "sha": code_sha()},
        "host": os.uname().nodename,
        "env": sorted(name for name in os.environ if name.startswith(ENV_PREFIXES)),
        "created_at": time.time(),
        "plan": None,
        "cwd": working_directory(),
    }


def working_directory() -> str:
    """Where this process was started; "" when that folder is gone."""
    try:
        return str(Path.cwd())
    except OSError:
        return ""


def code_sha() -> str:
    """The commit of the checkout this code runs from, `-dirty` when changed, or "" outside one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    try:
        shown = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
            encoding="utf-8",
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return shown.stdout.strip()


class StandaloneState:
    """`state.json` of a stage run directly: its process, its heartbeat, and how it ended."""

    def __init__(self, path: Path) -> None:
        self.path = path / "state.json"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        now = time.time()
        self.fields: dict[str, Any] = {
            "schema": SCHEMA,
            "run_id": path.name,
            "status": "running",
            "attempt": 1,
            "pid": os.getpid(),
            "pid_start": process_start(os.getpid()),
            "boot_id": boot_id(),
            "heartbeat": now,
            "disk_ahead": None,
            "started_at": now,
            "ended_at": None,
            "exit_code": None,
            "signal": None,
            "reason": "",
            "supervisor": None,
        }

    def begin(self) -> None:
        """Writes the file and starts the heartbeat; raises `UserError` when it cannot be written."""
        _write_json(self.path, self.fields)
        self._thread.start()

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            now = self.fields["heartbeat"] = time.time()
            with contextlib.suppress(UserError, OSError):  # a full disk must not end the training
                _write_json(self.path, self.fields)
                # for the next: how far the clock of a disk that other machines share is ahead of ours
                self.fields["disk_ahead"] = round(self.path.stat().st_mtime - now, 1)

    def end(self, status: str, error: str, exit_code: int, *, patience: float = 0.0) -> str:
        """Writes how the stage ended: succeeded, failed or stopped, why, and with what exit code.

        A disk that does not take it is tried again for `patience` seconds; then it goes over the bytes that
        the file has already. Returns what was wrong when neither worked.
        """
        self._stop.set()
        self._thread.join()
        now = time.time()
        self.fields.update(status=status, reason=error, exit_code=int(exit_code), ended_at=now, heartbeat=now)
        until = time.monotonic() + patience
        while True:
            try:
                _write_json(self.path, self.fields)
            except UserError as problem:
                if self._overwrite():
                    return ""
                if time.monotonic() >= until or not self.path.parent.is_dir():
                    return str(problem)
                time.sleep(0.5)
            else:
                return ""

    def _overwrite(self) -> bool:
        """Writes over the file in place: a full disk takes it, as its blocks are there already."""
        raw = f"{json_text(self.fields, None)}\n".encode()
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            size = os.fstat(descriptor).st_size
            if len(raw) > max(size, BLOCK):
                return False
            if os.pwrite(descriptor, raw.ljust(size), 0) < len(raw):
                return False
            os.fsync(descriptor)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True


def process_start(pid: int) -> int | None:
    """When the process started, in clock ticks since boot (/proc/<pid>/stat field 22); None where unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[19])


def boot_id() -> str:
    """The kernel's name for this boot, "" where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    atomic_write(path, json_text(content) + "\n")
