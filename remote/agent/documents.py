"""What the agent acts on in a run's or a service's documents, checked where they are read.

A run directory may be copied, written by hand, or come from a disk that lost half of it. What is wrong with
one is said in a line and costs that run only. Fields that the agent only passes on are the reader's to check.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Json = dict[str, Any]

LIVE = frozenset(("created", "starting", "running"))
ENDED = frozenset(("succeeded", "failed", "stopped", "lost"))
SERVICE_SCHEMA = 1
SERVICE_STATUSES = frozenset(("starting", "ready", "ending", "failed"))
RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")
LONGEST_GRACE = 86400.0
MOST_DEPTH = 40
_PID = (1 << 31) - 1
_INT64 = (1 << 63) - 1
_LATEST = 1e11


def run_fault(run_id: str, run: Json) -> str:
    """What is wrong with a `run.json` in the folder called `run_id`, or ""."""
    plan = run.get("plan")
    fine = {
        "stage": _is_text(run.get("stage", "")),
        "argv": _is_texts(run.get("argv", [])),
        "host": _is_text(run.get("host", "")),
        "plan": plan is None or isinstance(plan, dict),
        "needs": not isinstance(plan, dict) or _are_run_ids(plan.get("needs")),
    }
    return _named("run.json", run_id, run, fine)


def needs_of(run: Json) -> list[str]:
    """The ids of the runs that a run waits for, of a `run.json` without fault."""
    return list((run.get("plan") or {}).get("needs") or ())


def state_fault(run_id: str, state: Json) -> str:
    """What is wrong with a `state.json` in the folder called `run_id`, or ""."""
    keeper = state.get("supervisor")
    fine = {
        "status": state.get("status", "") in LIVE | ENDED if _is_text(state.get("status", "")) else False,
        "attempt": _is_whole(state.get("attempt", 1), 0, _PID),
        "pid": _is_whole(state.get("pid"), 1, _PID),
        "pid_start": _is_whole(state.get("pid_start"), 0, _INT64),
        "boot_id": _is_text(state.get("boot_id", "")),
        "host": _is_text(state.get("host", "")),
        "heartbeat": _is_moment(state.get("heartbeat")),
        "started_at": _is_moment(state.get("started_at")),
        "disk_ahead": _is_span(state.get("disk_ahead")),
        "events_offset": _is_whole(state.get("events_offset"), 0, _INT64),
        "supervisor": keeper is None or (isinstance(keeper, dict) and _is_process(keeper)),
    }
    return _named("state.json", run_id, state, fine)


def launch_fault(run_id: str, launch: Json) -> str:
    """What is wrong with a `launch.json`, or ""."""
    env = launch.get("env")
    fine = {
        "python": isinstance(launch.get("python"), str),
        "argv": _is_texts(launch.get("argv")) and launch.get("argv") is not None,
        "env": isinstance(env, dict) and all(isinstance(value, str) for value in env.values()),
        "group": _is_text(launch.get("group", "")),
    }
    return _named("launch.json", run_id, launch, fine)


def stop_fault(run_id: str, stop: Json) -> str:
    """What is wrong with a `stop.json`, or "". It asks for a stop all the same."""
    return _named("stop.json", run_id, stop, {"grace": is_grace(stop.get("grace"))})


def service_fault(service_id: str, service: Json) -> str:
    """What is wrong with a `service.json` in the folder called `service_id`, or ""."""
    if service.get("schema") != SERVICE_SCHEMA:
        return "service.json was written by another version of nanochat"
    lease, env = service.get("lease_seconds"), service.get("env")
    fine = {
        "device": isinstance(service.get("device"), str),
        "shared": isinstance(service.get("shared", False), bool),
        "argv": _is_texts(service.get("argv")) and bool(service.get("argv")),
        "env": isinstance(env, dict) and all(isinstance(value, str) for value in env.values()),
        "lease_seconds": _is_number(lease) and 0 < lease <= LONGEST_GRACE,  # type: ignore[operator]
        "created_at": _is_moment(service.get("created_at")),
    }
    return _named("service.json", service_id, service, fine, "id")


def service_state_fault(service_id: str, state: Json) -> str:
    """What is wrong with a service's `state.json`, or ""."""
    keeper = state.get("supervisor")
    fine = {
        "status": isinstance(state.get("status"), str) and state.get("status") in SERVICE_STATUSES,
        "pid": _is_whole(state.get("pid"), 1, _PID),
        "pid_start": _is_whole(state.get("pid_start"), 0, _INT64),
        "port": _is_whole(state.get("port"), 1, 65_535),
        "started_at": _is_moment(state.get("started_at")),
        "reason": _is_text(state.get("reason", "")),
        "boot_id": _is_text(state.get("boot_id", "")),
        "host": _is_text(state.get("host", "")),
        "supervisor": keeper is None or (isinstance(keeper, dict) and _is_process(keeper)),
    }
    return _named("state.json", service_id, state, fine, "id")


def activity_fault(run_id: str, activity: Json) -> str:
    """What is wrong with an `activity.json`, or ""."""
    fine = {
        "doing": isinstance(activity.get("doing"), str),
        "pid": activity.get("pid") is not None and _is_whole(activity.get("pid"), 1, _PID),
    }
    return _named("activity.json", run_id, activity, fine)


def is_grace(value: object) -> bool:
    """Whether `value` is a number of seconds to wait between two signals."""
    return _is_number(value) and 0 <= value <= LONGEST_GRACE  # type: ignore[operator]


def too_deep(content: object) -> bool:
    """Whether a JSON value is nested deeper than anything of ours; writing it again could fail."""
    level = [content]
    for _ in range(MOST_DEPTH):
        inner: list[object] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend(item.values())
            elif isinstance(item, list):
                inner.extend(item)
        level = [item for item in inner if isinstance(item, (dict, list))]
        if not level:
            return False
    return True


def _named(name: str, run_id: str, document: Json, fine: dict[str, bool], field_of_id: str = "run_id") -> str:
    said = document.get(field_of_id, run_id)
    if said != run_id:
        other = said if isinstance(said, str) else repr(said)
        return f"{name} says it is {other[:80]}'s: a copied folder?"
    bad = [field for field, whole in fine.items() if not whole]
    return f"{', '.join(bad)} of {name} cannot be used" if bad else ""


def _is_process(keeper: Json) -> bool:
    return _is_whole(keeper.get("pid"), 1, _PID) and _is_whole(keeper.get("pid_start"), 0, _INT64)


def _is_text(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_texts(value: object) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(word, str) for word in value))


def _are_run_ids(value: object) -> bool:
    return value is None or (
        isinstance(value, list) and all(isinstance(word, str) and RUN_ID.fullmatch(word) for word in value)
    )


def _is_whole(value: object, low: int, high: int) -> bool:
    """None, or a whole number in range: a pid of -1 would be every process there is."""
    return value is None or (type(value) is int and low <= value <= high)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_span(value: object) -> bool:
    return value is None or (_is_number(value) and -_LATEST < value < _LATEST)  # type: ignore[operator]


def _is_moment(value: object) -> bool:
    if value is None:
        return True
    return _is_number(value) and not math.isnan(value) and 0 <= value < _LATEST  # type: ignore[arg-type,operator]
