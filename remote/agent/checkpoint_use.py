"""Who uses the checkpoints of this host: by the marks that programs leave, and by the runs that wait.

`nanochat.checkpoint.in_use` writes the marks and tells what they are.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from typing import TYPE_CHECKING, Any

from .documents import LIVE
from .rundirs import Runs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    Json = dict[str, Any]

MARK = re.compile(r"\.(?P<name>.+)\.\d{1,10}-[0-9a-f]{8}\.use")
MOST_MARKS = 1000
MOST_TEXT = 400
READERS = {
    "mid_train": "base",
    "chat_sft": "base",
    "chat_rl": "sft",
    "base_eval": "base",
    "base_loss": "base",
    "chat_eval": "sft",
}
"""Stages that read a checkpoint, and of which source where their options name none."""


def marked(folder: Path) -> dict[str, list[str]]:
    """Who uses what in a folder of tags: `d20.step_000400` → users, as they call themselves."""
    found: dict[str, list[str]] = {}
    try:
        names = sorted(name for name in os.listdir(str(folder)) if name.endswith(".use"))
    except OSError:
        return found
    for name in names[:MOST_MARKS]:
        match = MARK.fullmatch(name)
        by = _held_by(folder / name) if match is not None else None
        if match is not None and by is not None:
            found.setdefault(match["name"], []).append(by)
    return found


def _held_by(path: Path) -> str | None:
    """What the file of a living user says; None where its user has ended."""
    try:
        descriptor = os.open(str(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        with contextlib.suppress(OSError):
            return os.read(descriptor, MOST_TEXT).decode("utf-8", "replace") or "another program"
        return "another program"
    except OSError:  # a file system without locks: nobody can hold one
        return None
    finally:
        os.close(descriptor)
    return None


def live_runs(base: Path) -> list[Json]:
    """The runs that are at work or wait, with what they read of checkpoints.

    `source`, `tag` ("" for any) and `step` (-1 for the newest) say what a run that has not started will read.
    """
    runs = Runs(base)
    return [told for run_id in runs.ids() for told in _live(runs, run_id)]


def waits_for(run: Json, source: str, tag: str, step: int) -> bool:
    """Whether a run that has not started may read that checkpoint: of several that match, all are kept."""
    return run["source"] == source and run["tag"] in ("", tag) and run["step"] in (-1, step)


def _live(runs: Runs, run_id: str) -> Iterator[Json]:
    directory = runs.get(run_id)
    state = directory.read_state()
    if state is None or state.get("status") not in LIVE:
        return
    run = directory.read_run()
    if run is None:
        return
    stage, options = run.get("stage"), run.get("options")
    options = options if isinstance(options, dict) else {}
    told: Json = {"run": run_id, "stage": stage if isinstance(stage, str) else "", "source": ""}
    told["waits"] = state.get("status") == "created"
    if stage in READERS:
        source = options.get("source")
        told["source"] = source if isinstance(source, str) and source else READERS[stage]
        tag, step = options.get("model_tag"), options.get("model_step", options.get("step"))
        told["tag"] = tag if isinstance(tag, str) else ""
        told["step"] = step if isinstance(step, int) and not isinstance(step, bool) else -1
    yield told
