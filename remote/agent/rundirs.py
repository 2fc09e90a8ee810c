"""Run directories: `<base>/runs/<run_id>/`, their files, their lock, and how one comes into being.

`run.json` never changes; `state.json` is replaced atomically; `launch.json` (mode 0600) holds what a
supervisor needs to start the stage and goes away when the run has ended; `stop.json` asks for a stop.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import documents, machine
from .files import DISK_FULL, AgentError, as_bytes, fsync_dir, open_regular, read_json, write_all, write_json
from .locks import holder, is_shared, lock_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Json = dict[str, Any]

SCHEMA = 1
ENDED = documents.ENDED
STREAMS = ("events.jsonl", "telemetry.jsonl")
SIZED = ("events.jsonl", "telemetry.jsonl", "console.log")
RUN_ID = documents.RUN_ID
SPARE_SIZE = 4096
LOCK_PATIENCE = 30.0
PRIVATE, SHARED_FOLDER = 0o700, 0o2770
BEING_MADE = 10.0


class RunDir:
    """One run's directory. Reading returns None for what is missing, torn or cannot be used; writing raises
    OSError. The folder's name is the run's id, whatever its documents say.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run_id = path.name

    def read_run(self) -> Json | None:
        return self._read("run.json", documents.run_fault)

    def read_state(self) -> Json | None:
        state = self._read("state.json", documents.state_fault)
        if state is not None:
            state["attempt"] = state.get("attempt") or 1
            state["events_offset"] = state.get("events_offset") or 0
        return state

    def read_launch(self) -> Json | None:
        return self._read("launch.json", documents.launch_fault)

    def read_stop(self) -> Json | None:
        """What asks for a stop, its grace left out where it is no number of seconds."""
        stop = read_json(self.path / "stop.json")
        if stop is not None and documents.stop_fault(self.run_id, stop):
            return {}
        return stop

    def _read(self, name: str, fault: Callable[[str, Json], str]) -> Json | None:
        document = read_json(self.path / name)
        return document if document is not None and not fault(self.run_id, document) else None

    def fault(self) -> str:
        """What is wrong with the documents, in a line; "" when both can be used."""
        checks = (("run.json", documents.run_fault), ("state.json", documents.state_fault))
        for name, check in checks:
            document = read_json(self.path / name)
            if document is None:
                there = os.path.lexists(self.path / name)
                return f"{name} {'is damaged' if there else 'is missing'}"
            why = check(self.run_id, document)
            if why:
                return why
        return ""

    def settled(self) -> bool:
        """False for a directory so new that its maker may still be writing its documents."""
        try:
            return time.time() - os.stat(self.path).st_mtime > BEING_MADE
        except OSError:
            return False

    def read_activity(self) -> Json | None:
        """What the stage says it is doing (`nanochat.run.activity`)."""
        return self._read("activity.json", documents.activity_fault)

    def forget(self, *names: str) -> None:
        """Removes files that have served, if they are there."""
        for name in names:
            with contextlib.suppress(OSError):
                os.unlink(self.path / name)

    def write_state(self, state: Json) -> None:
        """Replaces `state.json`, and keeps a spare file of reserved blocks for a full disk."""
        write_json(self.path / "state.json", state)
        self._reserve()

    def disk_ahead(self, beat: float) -> float | None:
        """Seconds that the disk's clock is ahead of ours, which said `beat` when `state.json` was written."""
        try:
            return round(os.stat(self.path / "state.json").st_mtime - beat, 1)
        except OSError:
            return None

    def write_state_on_full_disk(self, state: Json) -> None:
        """Replaces `state.json` out of the reserved blocks. Raises OSError when they are used up."""
        raw = as_bytes(state)
        if len(raw) >= SPARE_SIZE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        spare = self.path / ".state.spare"
        descriptor = open_regular(spare, os.O_WRONLY)
        try:
            write_all(descriptor, raw.ljust(SPARE_SIZE - 1) + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(spare, self.path / "state.json")
        self._reserve()

    def _reserve(self) -> None:
        spare = self.path / ".state.spare"
        if spare.exists():
            return
        with contextlib.suppress(OSError):
            descriptor = os.open(str(spare), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            try:
                write_all(descriptor, b" " * SPARE_SIZE)
            except OSError:
                os.unlink(spare)
            finally:
                os.close(descriptor)

    def sizes(self) -> dict[str, int]:
        """Bytes of each file that readers follow; 0 for one that is not there yet."""
        found = {}
        for name in SIZED:
            try:
                found[name] = os.stat(self.path / name).st_size
            except OSError:
                found[name] = 0
        return found

    def try_lock(self, patience: float = 0.0) -> int | None:
        """An open descriptor that holds the run's lock, or None while a supervisor holds it.

        The lock belongs to the open file, so a supervisor inherits it from whoever starts it: it is never
        free in between.
        """
        return lock_file(self.path / "lock", patience, is_shared(self.path))


class Runs:
    """The folder of all runs under one base directory."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.path = base / "runs"

    def get(self, run_id: str) -> RunDir:
        """The run called `run_id`, there or not. Raises AgentError for what cannot be a run id."""
        return RunDir(self.path / check_run_id(run_id))

    def existing(self, run_id: str) -> RunDir:
        """The run called `run_id`. Raises AgentError when there is none."""
        run = self.get(run_id)
        if not run.path.is_dir():
            raise AgentError(f"no run {run_id} under {self.base}", "no_run")
        fault = run.fault()
        if fault:
            raise AgentError(f"run {run_id} under {self.base} is damaged: {fault}", "damaged")
        return run

    def ids(self) -> list[str]:
        """Names of all run directories, oldest first. An absent folder holds none."""
        try:
            names = os.listdir(self.path)
        except FileNotFoundError:
            return []
        return sorted(name for name in names if RUN_ID.fullmatch(name))

    def make(self) -> None:
        """Makes the folder, which is its owner's alone, unless it is there."""
        if not self.path.is_dir():
            os.makedirs(self.base, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.mkdir(self.path, PRIVATE)

    @contextlib.contextmanager
    def exclusive(self, patience: float = LOCK_PATIENCE) -> Iterator[None]:
        """Held by whoever takes over or starts runs, so that one supervisor gets a whole plan.

        Raises AgentError that names the holder when it is not to be had within `patience` seconds.
        """
        path = self.path / ".lock"
        descriptor = lock_file(path, patience, is_shared(self.path))
        if descriptor is None:
            raise AgentError(
                f"{path} is held for more than {patience:g} s by {holder(path)}: end that, or try again",
                "lock",
            )
        try:
            yield
        finally:
            os.close(descriptor)


def check_run_id(run_id: object) -> str:
    """`run_id` when it is a safe name of a directory. Raises AgentError otherwise."""
    if not isinstance(run_id, str) or not RUN_ID.fullmatch(run_id):
        raise AgentError(f"not a run id: {run_id!r}", "usage")
    return run_id


def new_state(run_id: str) -> Json:
    """The state of a run that waits for its turn."""
    return {
        "schema": SCHEMA,
        "run_id": run_id,
        "status": "created",
        "attempt": 1,
        "pid": None,
        "pid_start": None,
        "heartbeat": time.time(),
        "started_at": None,
        "ended_at": None,
        "exit_code": None,
        "signal": None,
        "reason": "",
        "supervisor": None,
        "events_offset": 0,
        **machine.identity(),
    }


def create(runs: Runs, run: Json, launch: Json) -> int:
    """Makes a run directory that appears whole or not at all, locked by the returned descriptor.

    Raises OSError, and FileExistsError when the run is already there.
    """
    final = runs.path / check_run_id(run["run_id"])
    draft = RunDir(runs.path / f".new-{final.name}")
    if final.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(final))
    shutil.rmtree(draft.path, ignore_errors=True)
    os.mkdir(draft.path, PRIVATE)
    if is_shared(runs.path):
        os.chmod(draft.path, SHARED_FOLDER)
    lock = draft.try_lock()
    assert lock is not None
    try:
        write_json(draft.path / "run.json", run)
        write_json(draft.path / "launch.json", launch, 0o600)
        draft.write_state(new_state(final.name))
        os.rename(draft.path, final)
    except BaseException:
        os.close(lock)
        shutil.rmtree(draft.path, ignore_errors=True)
        raise
    fsync_dir(runs.path)
    return lock


def disk_is_full(error: OSError) -> bool:
    """True when the write failed for want of space or quota."""
    return error.errno in DISK_FULL
