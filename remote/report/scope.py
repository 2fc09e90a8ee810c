"""Which runs a report is about: those of a plan, or one run, and the runs that their models came from."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from nanochat.common import fields
from nanochat.common.errors import UserError, nearest
from nanochat.common.text import sanitize
from remote.runs import RunRow
from remote.store.store import Store

TRAININGS = {"base_train": "base", "mid_train": "mid", "chat_sft": "sft", "chat_rl": "rl"}
"""Stages that write checkpoints, and the source that these are of."""
_MOST_LOOKED_AT = 300
_MOST_EARLIER = 16


@dataclass(frozen=True)
class Scope:
    """The runs of a report in order; `earlier` ones made the checkpoints that they began from."""

    name: str
    """Of the plan, or of the run."""
    id: str
    """The plan's or the run's: letters that a file name may have."""
    runs: tuple[RunRow, ...]
    earlier: tuple[RunRow, ...] = ()
    is_plan: bool = False

    @property
    def all(self) -> tuple[RunRow, ...]:
        """The earlier runs, then the report's own."""
        return (*self.earlier, *self.runs)


def choose(rows: Sequence[RunRow], store: Store, name: str = "", hosts: Collection[str] = ()) -> Scope:
    """What `name` names: a plan by its id or its name (the newest), else a run; "" is the newest of all.

    `rows` are all runs, newest first. Blocks on the disk. Raises `UserError` when nothing is meant.
    """
    known = [run for run in rows if not hosts or run.host in hosts]
    if not known:
        where = f" on {', '.join(sorted(hosts))}" if hosts else ""
        raise UserError(f"there is no run{where} to report on", "nanochat demo makes one")
    found, as_plan = _named(known, store, name)
    if not as_plan:
        name = found.name or found.stage or found.run_id
        return Scope(name, _file_name(found.run_id), (found,), earlier(known, store, [found]))
    of_plan = [run for run in known if run.plan_id == found.plan_id and run.host == found.host]
    of_plan.sort(key=lambda run: run.plan_index)
    name = found.plan_name or found.plan_id
    return Scope(name, _file_name(found.plan_id), tuple(of_plan), earlier(known, store, of_plan), True)


def of_runs(rows: Sequence[RunRow], store: Store, keys: Collection[str]) -> Scope:
    """The report of the plan that these runs were started as. Blocks on the disk."""
    ids = {key.rpartition("/")[2] for key in keys}  # a run may be listed under another host that sees it
    own = [run for run in rows if run.run_id in ids]
    if not own:
        raise UserError("there is no run to report on", "they were deleted")
    return choose(rows, store, own[0].plan_id or own[0].key, {own[0].host})


def earlier(rows: Sequence[RunRow], store: Store, runs: Sequence[RunRow]) -> tuple[RunRow, ...]:
    """The runs that wrote the checkpoints that `runs` started from, and those that these started from …"""
    inside = {run.key for run in runs}
    found: list[RunRow] = []
    waiting = list(runs)
    while waiting and len(found) < _MOST_EARLIER:
        run = waiting.pop()
        path = started_from(store, run)
        maker = writer_of(rows, store, run, path) if path else None
        if maker is not None and maker.key not in inside:
            inside.add(maker.key)
            found.append(maker)
            waiting.append(maker)
    return tuple(sorted(found, key=lambda run: (run.created_at, run.run_id)))


def started_from(store: Store, run: RunRow) -> str:
    """The path of the checkpoint that a training began from, or that was judged, as it said; "" for none."""
    starts = store.events(run.key, kinds=("stage_start",), limit=1)
    info = starts[0].data.get("info") if starts else None
    if not isinstance(info, dict):
        return ""
    names = ("started_from",) if run.stage in TRAININGS else ("checkpoint", "model")
    return next((path for name in names if (path := fields.text(info.get(name), 4_000))), "")


def writer_of(rows: Sequence[RunRow], store: Store, run: RunRow, path: str) -> RunRow | None:
    """The newest training before `run` on its host that wrote the checkpoint at `path`."""
    before = [
        one
        for one in rows
        if one.host == run.host
        and one.key != run.key
        and one.created_at <= run.created_at
        and one.stage in TRAININGS
    ]
    for one in before[:_MOST_LOOKED_AT]:
        if one.results.get("checkpoint") == path or path in written(store, one):
            return one
    return None


def written(store: Store, run: RunRow) -> list[str]:
    """The paths of the checkpoints that a run has written, oldest first."""
    paths = [event.data.get("path") for event in store.events(run.key, kinds=("checkpoint",))]
    return [path for path in paths if isinstance(path, str)]


def _named(known: Sequence[RunRow], store: Store, name: str) -> tuple[RunRow, bool]:
    """The run that is meant, and whether its whole plan is."""
    if not name:
        return known[0], bool(known[0].plan_id)
    for run in known:
        if name in (run.key, run.run_id):
            return run, False
    for run in known:
        if run.plan_id and name in (run.plan_id, run.plan_name):
            return run, True
    try:
        run = store.find(name)
    except UserError as error:
        if not error.message.startswith("no run"):
            raise
        plans = dict.fromkeys(run.plan_name for run in known if run.plan_name)
        hint = nearest(name, [*plans, *(run.run_id for run in known[:200])])
        raise UserError(
            f"no run and no plan is called '{sanitize(name, 200)}'", hint or "see nanochat runs ls"
        ) from error
    if run.key not in {one.key for one in known}:
        raise UserError(f"{run.run_id} ran on host '{run.host}'", f"say --host {run.host}, or leave it out")
    return run, False


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:120] or "report"
