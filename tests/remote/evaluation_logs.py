"""Event logs of stages that evaluate, in the form of the release before records of version 2."""

from typing import Any

from nanochat.run.events import Event
from remote.store.store import Store

BASE = "/far/base"
TASKS = ("copa", "winograd", "boolq")


def log_of(*events: tuple[str, int | None, dict[str, Any]], first: int = 0, t: float = 1e9) -> bytes:
    """The lines of events, a second apart."""
    return b"".join(
        Event(first + number, t + first + number, kind, step, data).line()
        for number, (kind, step, data) in enumerate(events)
    )


def start(
    stage: str, info: dict[str, Any], attempt: int = 1, from_step: int = 0
) -> tuple[str, None, dict[str, Any]]:
    """A stage_start."""
    data = {"stage": stage, "attempt": attempt, "from_step": from_step, "total_steps": 10, "unit": "step"}
    return "stage_start", None, {**data, "options": {}, "info": info}


def end(status: str = "succeeded", **results: Any) -> tuple[str, None, dict[str, Any]]:
    """A stage_end."""
    return "stage_end", None, {"status": status, "error": "", "results": results}


def core_start(tag: str = "d4", step: int = 300, most: int = 20) -> tuple[str, None, dict[str, Any]]:
    """base_eval begins with a checkpoint of ours."""
    path = f"{BASE}/base_checkpoints/{tag}/step_{step:06d}"
    info = {
        "model": path,
        "checkpoint": path,
        "checkpoint_step": step,
        "dtype": "float32",
        "eval": ["core", "bpb"],
    }
    return start("base_eval", {**info, "tasks": list(TASKS), "max_per_task": most})


def core_task(task: str, step: int, accuracy: float = 0.5) -> tuple[str, int, dict[str, Any]]:
    """One task of CORE is done, as the release before told it."""
    name = f"core/{task}"
    return "eval", step, {name: accuracy, f"{name}_stderr": 0.1, f"{name}_centered": accuracy - 0.25}


def core_mean(step: int, mean: float = 0.25) -> tuple[str, int, dict[str, Any]]:
    """The mean over all tasks."""
    return "eval", step, {"core/core": mean, "core/core_stderr": 0.02}


def whole_core(tag: str = "d4", step: int = 300, most: int = 20, mean: float = 0.25) -> bytes:
    """A log of base_eval from its beginning to its end."""
    return log_of(
        core_start(tag, step, most),
        *(core_task(task, step) for task in TASKS),
        core_mean(step, mean),
        ("eval", step, {"train/bpb": 1.5, "val/bpb": 1.6}),
        end(),
    )


def take(
    store: Store, run_id: str, log: bytes, stage: str = "base_eval", host: str = "box", **state: Any
) -> None:
    """The store hears of a run and all of its log."""
    told = {"run_id": run_id, "stage": stage, "created_at": 1e9}
    store.ingest_state(host, told, {"run_id": run_id, "status": "running", **state})
    store.ingest(host, run_id, "events.jsonl", 0, log)
