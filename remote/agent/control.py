"""The commands that change or show runs: submit, ls, read, stop, resume."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import machine, procs, recovery, rundirs
from .documents import LONGEST_GRACE, is_grace
from .files import AgentError, open_regular, os_error, write_json
from .imports.origin import has_imports, import_of, log_of
from .requests import Resume, Submission
from .rundirs import ENDED, RunDir, Runs

if TYPE_CHECKING:
    Json = dict[str, Any]

READ_LIMIT = 4 * 1024 * 1024
READABLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")
SECRET = ("launch.json",)


def submit(base: Path, content: Json) -> Json:
    """Makes the run directories and one supervisor for them. The same runs again are no second start."""
    request = Submission.parse(content)
    runs = Runs(base)
    runs.make()
    group = hashlib.sha256(" ".join(run["run_id"] for run in request.runs).encode()).hexdigest()[:16]
    created: dict[str, int] = {}
    with runs.exclusive():
        _check_needs(runs, request)
        for index, asked in enumerate(request.runs):
            _check_same(runs.get(asked["run_id"]), asked)
            if runs.get(asked["run_id"]).path.exists():
                continue
            run, launch = request.documents(index, base, group)
            try:
                created[asked["run_id"]] = rundirs.create(runs, run, launch)
            except BaseException as error:
                _undo(runs, created)
                if isinstance(error, OSError):
                    raise os_error(f"cannot create the run {asked['run_id']}", error) from error
                raise
        if created:
            _start_all(runs, created)
    states = {entry["run_id"]: entry["state"] for entry in ls(base)["runs"]}
    return {"runs": [states[run["run_id"]] for run in request.runs]}


def _check_needs(runs: Runs, request: Submission) -> None:
    known = {run["run_id"] for run in request.runs}
    for run in request.runs:
        for need in run["needs"]:
            if need not in known and runs.get(need).read_state() is None:
                raise AgentError(f"run {run['run_id']} needs {need}, which is not on this host", "needs")


def _check_same(directory: RunDir, asked: Json) -> None:
    there = directory.read_run()
    if there is not None and (there.get("stage"), there.get("argv", [])[1:]) != (
        asked["stage"],
        asked["argv"],
    ):
        raise AgentError(f"another run is already called {asked['run_id']}", "conflict")


def _undo(runs: Runs, created: dict[str, int]) -> None:
    """Takes back runs that no supervisor has seen, so that nothing half-made is left."""
    for run_id, lock in created.items():
        shutil.rmtree(runs.path / run_id, ignore_errors=True)
        os.close(lock)


def _start_all(runs: Runs, created: dict[str, int]) -> None:
    """Starts the supervisor of new runs. Told as failed, they are gone: nothing may start them later."""
    try:
        recovery.start_supervisor(runs, created)
    except (AgentError, OSError) as error:
        for run_id in created:
            shutil.rmtree(runs.path / run_id, ignore_errors=True)
        if isinstance(error, OSError):
            raise os_error("cannot start a supervisor", error) from error
        raise


def ls(base: Path, only: list[str] | None = None) -> Json:
    """Every run with its state as judged now; orphans are settled or adopted on the way."""
    if only is None and has_imports(base):
        from .imports.command import Followed

        for _ in Followed(base).pass_over(time.monotonic()):
            pass  # what is wrong with a log is told to who follows
    runs = Runs(base)
    ids = runs.ids() if only is None else only
    entries: dict[str, tuple[Json, Json]] = {}
    problems: list[Json] = []
    orphans = []
    for run_id in ids:
        directory = runs.get(run_id)
        try:
            run, state = directory.read_run(), directory.read_state()
            if run is None or state is None:
                told = {"run_id": run_id, "error": directory.fault() or "it is being written"}
                problems.append(dict(told, damaged=directory.settled()))
                continue
            if recovery.is_orphan(directory, run, state):
                orphans.append(run_id)
            entries[run_id] = (run, state)
        except Exception as error:  # whatever is wrong with one run is that run's alone
            problems.append({"run_id": run_id, "error": f"{type(error).__name__}: {error}", "damaged": True})
    stuck = recovery.recover(runs, orphans)
    problems.extend({"run_id": run_id, "error": why} for run_id, why in stuck.items())
    for run_id in orphans:
        run, state = entries[run_id]
        entries[run_id] = (run, runs.get(run_id).read_state() or state)
    listed = [
        {
            "run_id": run_id,
            "here": recovery.is_local(runs.get(run_id), run, state),
            "run": run,
            "state": recovery.displayed_state(runs.get(run_id), run, state),
            "sizes": runs.get(run_id).sizes(),
        }
        for run_id, (run, state) in entries.items()
    ]
    return {"now": time.time(), "boot_id": procs.boot_id(), "runs": listed, "problems": problems}


def file_of(base: Path, run_id: str, name: str) -> Path:
    """The path of a run's file, which need not be there. Raises AgentError for one that nobody may read."""
    directory = Runs(base).get(run_id)
    if not READABLE.fullmatch(name) or name in SECRET:
        raise AgentError(f"not a file of a run: {name!r}", "usage")
    if not directory.path.is_dir():
        raise AgentError(f"no run {run_id} under {base}", "no_run")
    printed = log_of(directory.read_run()) if name == "console.log" else None
    return printed or directory.path / name


def read(base: Path, run_id: str, name: str, offset: int, limit: int) -> Json:
    """Bytes of one file of a run. A negative `offset` counts from the end."""
    path = file_of(base, run_id, name)
    try:
        descriptor = open_regular(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return {"offset": 0, "size": 0, "b64": ""}
    except OSError as error:
        raise os_error(f"cannot read {name} of {run_id}", error) from error
    try:
        size = os.fstat(descriptor).st_size
        start = max(0, size + offset) if offset < 0 else min(offset, size)
        raw = os.pread(descriptor, max(0, min(limit, READ_LIMIT)), start)
    finally:
        os.close(descriptor)
    return {"offset": start, "size": size, "b64": base64.b64encode(raw).decode()}


def stop(base: Path, run_id: str, grace: float) -> Json:
    """Asks for an end and returns: SIGINT, after `grace` seconds SIGTERM, after as many again SIGKILL."""
    if not is_grace(grace):
        raise AgentError(f"--grace must be from 0 to {LONGEST_GRACE:g} seconds, not {grace:g}", "usage")
    runs = Runs(base)
    directory = runs.existing(run_id)
    ls(base, [run_id])
    run = directory.read_run() or {}
    state = recovery.displayed_state(directory, run, directory.read_state() or {})
    if state.get("status") in ENDED:
        return {"state": state}
    if import_of(run):
        from .imports.command import leave

        leave(base, directory)
        return {"state": directory.read_state() or state}
    if not recovery.is_local(directory, run, state):
        raise AgentError(f"{run_id} runs on {recovery.host_of(run, state)}: stop it there", "elsewhere")
    try:
        write_json(directory.path / "stop.json", {"grace": grace, "t": time.time()})
    except OSError as error:
        raise os_error(f"cannot ask {run_id} to stop", error) from error
    if not recovery.supervised(state):
        with runs.exclusive():
            lock = directory.try_lock()
            if lock is not None:
                recovery.start_supervisor(runs, {run_id: lock})
    return {"state": state}


def resume(base: Path, content: Json) -> Json:
    """Starts a new attempt of an ended run in the same directory."""
    request = Resume.parse(content)
    runs = Runs(base)
    directory = runs.existing(request.run_id)
    if import_of(directory.read_run()):
        raise AgentError(
            f"{request.run_id} was imported: resume it with the program that ran it, its log is read on",
            "usage",
        )
    ls(base, [request.run_id])
    with runs.exclusive():
        _refuse_live(directory)
        lock = directory.try_lock(patience=2.0)  # its supervisor may be about to let go
        if lock is None:
            raise AgentError(f"run {request.run_id} still has a supervisor: try again", "alive")
        before = directory.read_state() or {}
        try:
            state = _begin_attempt(directory, request)
        except (AgentError, OSError) as error:
            os.close(lock)
            if isinstance(error, OSError):
                raise os_error(f"cannot resume {request.run_id}", error) from error
            raise
        try:
            recovery.start_supervisor(runs, {request.run_id: lock})
        except (AgentError, OSError) as error:
            directory.forget("launch.json")  # the run has ended as before: nothing may start it later
            directory.write_state(before)
            if isinstance(error, OSError):
                raise os_error(f"cannot resume {request.run_id}", error) from error
            raise
    return {"state": state}


def _refuse_live(directory: RunDir) -> Json:
    """The state of an ended run. Raises AgentError for one that has not ended."""
    state = directory.read_state() or {}
    status = recovery.displayed_state(directory, directory.read_run() or {}, state).get("status")
    if status not in ENDED:
        raise AgentError(f"run {directory.run_id} is {status}: stop it first", "alive")
    return state


def _begin_attempt(directory: RunDir, request: Resume) -> Json:
    """Writes what the supervisor of a new attempt needs."""
    state = _refuse_live(directory)
    launch = request.launch(directory.read_run() or {})
    ran = state.get("started_at") is not None
    state.update(
        status="starting",
        attempt=int(state["attempt"]) + int(ran),
        pid=None,
        pid_start=None,
        started_at=None,
        ended_at=None,
        exit_code=None,
        signal=None,
        reason="",
        supervisor=None,
        heartbeat=time.time(),
        **machine.identity(),
    )
    directory.forget("stop.json")
    try:
        write_json(directory.path / "launch.json", launch, 0o600)
        directory.write_state(state)
    except OSError:
        directory.forget("launch.json")
        raise
    return state
