"""Runs that nobody looks after any more: finding them, judging them, and starting a supervisor for them."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from . import logs, machine, procs
from .detached import start_detached
from .files import AgentError, agent_argv, os_error
from .imports.origin import import_of
from .outcome import outcome_of
from .rundirs import ENDED, RunDir, Runs

if TYPE_CHECKING:
    from collections.abc import Iterable

    Json = dict[str, Any]

TAKE_OVER_PATIENCE = 5.0  # whoever follows the host waits with us


def supervised(state: Json) -> bool:
    """True while the supervisor named in `state` lives."""
    return procs.lives(state.get("supervisor"))


def stage_alive(state: Json) -> bool:
    """True while the stage's own process lives, on this boot of this machine."""
    return state.get("boot_id") == procs.boot_id() and procs.lives(state)


def host_of(run: Json, state: Json) -> str:
    """Where the present attempt runs; a resume may have moved it from where the run was made."""
    return str(state.get("host") or run.get("host") or os.uname().nodename)


def is_local(directory: RunDir, run: Json, state: Json) -> bool:
    """False for a run of another machine that shares this base directory."""
    return machine.belongs(state, host_of(run, state), directory.path.parent)


def is_orphan(directory: RunDir, run: Json, state: Json) -> bool:
    """True when the run has not ended and no process answers for it."""
    if state.get("status") in ENDED or import_of(run) or not is_local(directory, run, state):
        return False
    if (directory.path / "launch.json").exists():
        return not supervised(state)
    return not stage_alive(state)


def is_unsupervised(directory: RunDir, run: Json, state: Json) -> bool:
    """True for a live stage of this machine that somebody started in a shell: no supervisor keeps it."""
    return (
        state.get("status") not in ENDED
        and not state.get("supervisor")
        and is_local(directory, run, state)
        and stage_alive(state)
    )


def displayed_state(directory: RunDir, run: Json, state: Json) -> Json:
    """`state` as it must be shown: a silent run of another machine counts as lost until it is heard again."""
    if state.get("status") not in ("starting", "running") or is_local(directory, run, state):
        return state
    if machine.silence(state, directory.path.parent) < machine.ELSEWHERE_SILENCE:
        return state
    reason = f"no heartbeat from {host_of(run, state)} for over {machine.ELSEWHERE_SILENCE:g} s"
    return dict(state, status="lost", reason=reason)


def recover(runs: Runs, suspects: Iterable[str]) -> dict[str, str]:
    """Settles every orphan among the runs named: the end of dead ones is recorded, the rest get a supervisor.

    Safe to call from several commands at once: the folder's lock lets one in, the run's lock says no to
    the rest. Returns what could not be settled, and why (a full disk, a folder we may not write).
    """
    suspects = list(suspects)
    problems: dict[str, str] = {}
    if not suspects:
        return problems
    try:
        with runs.exclusive(TAKE_OVER_PATIENCE):
            for locks in _orphan_groups(runs, suspects, problems):
                try:
                    start_supervisor(runs, locks)
                except (OSError, AgentError) as error:
                    problems.update({run_id: _why(error) for run_id in locks})
    except (OSError, AgentError) as error:
        problems.update({run_id: _why(error) for run_id in suspects})
    return problems


def _orphan_groups(runs: Runs, suspects: list[str], problems: dict[str, str]) -> list[dict[str, int]]:
    """The locks of runs that need a supervisor, those of one plan together so that it gets one."""
    groups: dict[str, dict[str, int]] = {}
    for run_id in suspects:
        directory = runs.get(run_id)
        lock = None
        try:
            lock = directory.try_lock()
            group = _settle(directory) if lock is not None else None
        except Exception as error:  # whatever is wrong with one run is that run's alone
            problems[run_id] = _why(error)
            group = None
        if lock is not None and group is not None:
            groups.setdefault(group, {})[run_id] = lock
        elif lock is not None:
            os.close(lock)
    return list(groups.values())


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return str(os_error("it cannot be taken over", error))
    return str(error) if isinstance(error, AgentError) else f"{type(error).__name__}: {error}"


def _settle(directory: RunDir) -> str | None:
    """Records the end of a run whose stage is dead; else names the group that its supervisor answers for."""
    run, state, launch = directory.read_run(), directory.read_state(), directory.read_launch()
    if run is None or state is None or not is_orphan(directory, run, state):
        return None
    waiting = launch is not None and not state.get("pid")
    if waiting or (launch is not None and stage_alive(state)):
        return str(launch.get("group") or directory.run_id) if launch else None
    end = logs.last_stage_end(directory.path / "events.jsonl", int(state.get("events_offset", 0)))
    outcome = outcome_of(None, end, directory.read_stop() is not None)
    reason = outcome.reason
    if outcome.status == "lost" and state.get("boot_id") != procs.boot_id():
        reason = "the machine was restarted while it ran"
    state.update(status=outcome.status, reason=reason, ended_at=_last_sign(directory, state))
    directory.write_state(state)
    directory.forget("launch.json", "stop.json", ".state.spare")
    return None


def _last_sign(directory: RunDir, state: Json) -> float:
    """When the run was last seen to do something: its heartbeat or its last event."""
    try:
        written = os.stat(directory.path / "events.jsonl").st_mtime
    except OSError:
        written = 0.0
    return max(written, float(state.get("heartbeat") or 0.0))


def start_supervisor(runs: Runs, locks: dict[str, int]) -> None:
    """Starts a detached supervisor that inherits `locks` (run id → descriptor), and closes them here."""
    first = next(iter(locks))
    argv = [*agent_argv(), "supervise", "--base", str(runs.base), "--locks", json.dumps(locks)]
    try:
        started = start_detached(argv, runs.path / first / "supervisor.log", list(locks.values()))
    finally:
        for descriptor in locks.values():
            os.close(descriptor)
    if not started:
        raise AgentError(f"cannot start a supervisor with {argv[0]}", "supervisor")
