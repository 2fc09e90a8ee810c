"""The evaluations as a list: rows of runs and of files put together, each evaluation once."""

from __future__ import annotations

import math
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from nanochat.common import fields
from nanochat.config.known_tasks import CORE_TASKS
from nanochat.evals.results import Kind
from remote.runs import LIVE, run_key
from remote.store.documents import stored_documents
from remote.store.evaluation import Evaluation, ItemsAt, Standing
from remote.store.evaluation_draft import Draft
from remote.store.evaluation_rows import is_kind
from remote.store.summary import stored_summary

_SAME = 5e-5  # upstream's report has four digits


@dataclass(frozen=True)
class _Row:
    """A row of the table, and how its run stands where it has one."""

    id: int
    host: str
    source: str
    draft: Draft
    run_id: str = ""
    here: bool = True
    live: bool = False
    progress: float | None = None


def read_evaluations(db: sqlite3.Connection) -> list[Evaluation]:
    """All of them, newest first, of one moment: call it inside a transaction."""
    rows = _merged(_once(_rows(db)))
    sizes = {
        (host, path): size
        for host, path, size in db.execute("SELECT host, path, bytes FROM evaluation_files")
    }
    steps = {
        host: fields.json_object(raw) or {}
        for host, raw in db.execute("SELECT host, steps FROM evaluation_hosts")
    }
    newest: dict[tuple[str, str, Kind], int] = {}
    for row in rows:
        if row.run_id:
            key = (row.host, row.run_id, row.draft.kind)
            newest[key] = max(newest.get(key, -1), row.draft.step)
    found = [
        _evaluation(row, steps.get(row.host), sizes, newest.get((row.host, row.run_id, row.draft.kind), -1))
        for row in rows
    ]
    return sorted(found, key=lambda one: (one.t, one.id), reverse=True)


def _rows(db: sqlite3.Connection) -> list[_Row]:
    states = {
        run: (run_id, bool(here))
        for run, run_id, here in db.execute(
            "SELECT id, run_id, here FROM runs WHERE id IN (SELECT run FROM evaluations)"
        )
    }
    at_work = {
        run: _stands(*row)
        for run, *row in db.execute(
            "SELECT id, run, state, summary, run_id FROM runs"
            " WHERE id IN (SELECT run FROM evaluations WHERE complete = 0)"
        )
    }
    found = []
    for number, host, source, run, kind, step, checkpoint, t, body in db.execute(
        "SELECT id, host, source, run, kind, step, checkpoint, t, body FROM evaluations"
    ):
        if is_kind(kind):
            run_id, here = states.get(run, ("", True))
            live, progress = at_work.get(run, (False, None))
            draft = _stored(kind, step, checkpoint, t, body)
            found.append(_Row(number, host, source, draft, run_id, here, live, progress))
    return found


@lru_cache(maxsize=16_384)
def _stored(kind: Kind, step: int, checkpoint: str, t: float, body: str) -> Draft:
    """A row's content, kept for as long as it does not change. Not to be changed."""
    return Draft.read(kind, step, checkpoint, t, body)


def _stands(run: str, state: str, summary: str, run_id: str) -> tuple[bool, float | None]:
    documents = stored_documents(run, state, run_id)
    return documents.status in LIVE, stored_summary(summary).progress


def _once(rows: Iterable[_Row]) -> list[_Row]:
    """Without those that a second host sees in the same base directory, and each published table once."""
    kept: dict[tuple[Any, ...], _Row] = {}
    for row in sorted(rows, key=lambda row: (not row.here, row.host, row.id)):
        draft = row.draft
        if draft.reference:
            key: tuple[Any, ...] = (draft.checkpoint, draft.mean)
        else:
            key = (row.source, row.run_id, draft.kind, draft.step, draft.t)
        kept.setdefault(key, row)
    return sorted(kept.values(), key=lambda row: row.id)


def _merged(rows: list[_Row]) -> list[_Row]:
    """With the files of results taken into the evaluations of runs that they tell of."""
    sources = {(row.host, row.source) for row in rows}
    # ours writes a table beside each document, as upstream nanochat would
    rows = [row for row in rows if (row.host, f"{row.source.removesuffix('.csv')}.json") not in sources]
    own = {(row.host, row.run_id, row.draft.kind, row.draft.step): row for row in rows if row.run_id}
    kept: dict[int, _Row] = {row.id: row for row in own.values()}
    alike = defaultdict[tuple[str, Kind], list[_Row]](list)  # what a file without a run may tell of
    for row in own.values():
        if not row.draft.training:
            alike[row.host, row.draft.kind].append(row)
    # csv tables before the report's sections, which have fewer figures
    for row in sorted(
        (row for row in rows if not row.run_id), key=lambda row: row.source.startswith("report/")
    ):
        draft = row.draft
        same = own.get((row.host, draft.run_id, draft.kind, draft.step)) if draft.run_id else None
        if same is None and not draft.run_id:
            same = next((other for other in alike[row.host, draft.kind] if _is_same(other, row)), None)
        if same is None:
            kept[row.id] = row
            alike[row.host, draft.kind].append(row)
        elif same.run_id:
            kept[same.id] = replace(kept[same.id], draft=_filled(kept[same.id].draft, draft))
    return list(kept.values())


def _is_same(one: _Row, other: _Row) -> bool:
    """Whether two rows tell of one evaluation: of one checkpoint, with the same figures as far as both go."""
    a, b = one.draft, other.draft
    if a.reference or b.reference or not _may_be_same(a.checkpoint, a.step, b.checkpoint, b.step):
        return False
    pairs = [(a.mean, b.mean)]
    for task in a.tasks.keys() & b.tasks.keys():
        pairs.append((a.tasks[task].accuracy, b.tasks[task].accuracy))
        pairs.append((a.tasks[task].centered, b.tasks[task].centered))
    told = [(x, y) for x, y in pairs if x is not None and y is not None]
    return bool(told) and all(math.isclose(x, y, rel_tol=0.0, abs_tol=_SAME) for x, y in told)


def _may_be_same(one: str, step: int, other: str, other_step: int) -> bool:
    """Whether the names can mean one checkpoint: upstream's files leave out the tag, or the step."""
    source, _, tag = one.partition("/")
    other_source, _, other_tag = other.partition("/")
    tags = not tag or not other_tag or tag == other_tag
    return source == other_source and tags and (step == other_step or -1 in (step, other_step))


def _filled(draft: Draft, file: Draft) -> Draft:
    """A run's evaluation with what only the file of its results says."""
    tasks = dict(draft.tasks)
    for name, figure in file.tasks.items():
        known = tasks.get(name)
        if known is None:
            tasks[name] = figure
            continue
        tasks[name] = replace(
            known,
            centered=figure.centered if known.centered is None else known.centered,
            stderr=figure.stderr if known.stderr is None else known.stderr,
            n=figure.n if known.n is None else known.n,
            subjects=known.subjects or figure.subjects,
        )
    return replace(
        draft, tasks=tasks, settings={**file.settings, **draft.settings}, items=draft.items or file.items
    )


def _evaluation(
    row: _Row, steps: Mapping[str, Any] | None, sizes: Mapping[tuple[str, str], int], newest: int
) -> Evaluation:
    draft = row.draft
    checkpoint = _resolved(draft, steps or {})
    step = None if draft.step < 0 else draft.step
    return Evaluation(
        id=row.id,
        host=row.host,
        run=run_key(row.host, row.run_id or draft.run_id) if row.run_id or draft.run_id else "",
        kind=draft.kind,
        checkpoint=checkpoint,
        step=step,
        settings=draft.settings,
        tasks=draft.tasks,
        mean=draft.mean,
        mean_stderr=draft.mean_stderr,
        figures=draft.figures,
        status=_standing(row, newest),
        progress=_progress(row, newest),
        t=draft.t,
        items=_items(row, steps is not None, sizes),
        reference=draft.reference,
        while_training=draft.training,
        upstream=draft.upstream,
        gone=_is_gone(draft, checkpoint, step, steps),
        problem="its last row is missing: the file was cut short" if draft.upstream and draft.partial else "",
        asked=len(draft.sizes) or None,
    )


def _standing(row: _Row, newest: int) -> Standing:
    draft = row.draft
    if draft.complete:
        return "partial" if draft.partial else "complete"
    return "running" if row.live and draft.step == newest else "ended"


def _progress(row: _Row, newest: int) -> float | None:
    if _standing(row, newest) != "running":
        return None
    # a training's own progress says nothing of an evaluation on its way
    return len(row.draft.tasks) / len(CORE_TASKS) if row.draft.training else row.progress


def _items(row: _Row, listed: bool, sizes: Mapping[tuple[str, str], int]) -> ItemsAt | None:
    """Where the items lie. Of a host that has listed its files only those that are there."""
    path = row.draft.items
    size = sizes.get((row.host, path))
    if not path or row.draft.kind not in ("core", "chat") or (size is None and listed):
        return None
    return ItemsAt(row.host, path, size or 0)


def _resolved(draft: Draft, steps: Mapping[str, Any]) -> str:
    """The checkpoint's name. A file of upstream's tells the step alone: that may be enough for the tag."""
    if draft.reference or draft.kind == "tokenizer" or "/" in draft.checkpoint:
        return draft.checkpoint
    if draft.checkpoint not in ("base", "mid", "sft", "rl"):
        return draft.checkpoint
    prefix = f"{draft.checkpoint}/"
    tags = [
        name
        for name, saved in steps.items()
        if name.startswith(prefix) and (draft.step < 0 or draft.step in saved)
    ]
    return tags[0] if len(tags) == 1 else f"{prefix}?"


def _is_gone(draft: Draft, checkpoint: str, step: int | None, steps: Mapping[str, Any] | None) -> bool:
    """Whether the host has told its checkpoints, and this is none of them."""
    source, slash, tag = checkpoint.partition("/")
    if steps is None or draft.training or draft.reference or draft.kind == "tokenizer" or not slash:
        return False
    if source not in ("base", "mid", "sft", "rl") or tag == "?":
        return False
    saved = steps.get(checkpoint, ())
    return not saved or (step is not None and step not in saved)
