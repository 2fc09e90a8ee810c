"""The store's table of evaluations, filled from a run's events in the transaction that takes them in."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence

from nanochat.common import fields
from nanochat.evals.results import KINDS
from nanochat.run.events import Event
from remote.store.documents import stored_documents
from remote.store.evaluation_draft import Draft
from remote.store.evaluation_events import Drafts, Start, begin, end, take

KINDS_OF_EVENTS = frozenset(("stage_start", "eval", "stage_end"))
"""The events that tell of evaluations."""
OLD = -2
"""In `evaluated`: a run of a store from before this table."""
MOST_OF_RUN = 2_000
"""Evaluations of one kind that are kept of a run: of more those of the last steps."""


def take_evaluations(db: sqlite3.Connection, run: int) -> None:
    """Takes what a run's events say beyond those taken already; call inside a write transaction."""
    row = db.execute("SELECT seq FROM evaluated WHERE run = ?", (run,)).fetchone()
    after = -1 if row is None else max(-1, row[0])
    marks = ", ".join("?" * len(KINDS_OF_EVENTS))
    events = db.execute(
        "SELECT seq, t, kind, step, data FROM events INDEXED BY events_by_kind"
        f" WHERE run = ? AND kind IN ({marks}) AND kind != 'metric' AND seq > ? ORDER BY seq",
        (run, *sorted(KINDS_OF_EVENTS), after),
    ).fetchall()
    seq = events[-1][0] if events else after
    db.execute(
        "INSERT INTO evaluated (run, seq) VALUES (?, ?) ON CONFLICT (run) DO UPDATE SET seq = excluded.seq",
        (run, seq),
    )
    if events:
        found = [_event(*row) for row in events]
        _fold(db, run, found, _start_before(db, run, found[0].seq))


def take_old_runs(db: sqlite3.Connection, most: int) -> int:
    """Does so for at most that many runs of an older store; how many there were."""
    runs = [run for (run,) in db.execute("SELECT run FROM evaluated WHERE seq = ? LIMIT ?", (OLD, most))]
    for run in runs:
        take_evaluations(db, run)
    return len(runs)


def forget_evaluations(db: sqlite3.Connection, run: int) -> None:
    """Drops what a run's events have said: they will be read again."""
    db.execute("DELETE FROM evaluations WHERE run = ?", (run,))
    db.execute("DELETE FROM evaluated WHERE run = ?", (run,))


def put(db: sqlite3.Connection, host: str, source: str, run: int | None, draft: Draft) -> None:
    """Writes a row; one that is there keeps its id, and is left alone where it says the same."""
    db.execute(
        "INSERT INTO evaluations (host, source, run, kind, step, checkpoint, t, complete, body)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (host, source, kind, step) DO UPDATE SET run = excluded.run,"
        " checkpoint = excluded.checkpoint, t = excluded.t, complete = excluded.complete,"
        " body = excluded.body"
        " WHERE body != excluded.body OR checkpoint != excluded.checkpoint OR t != excluded.t",
        (
            host,
            source,
            run,
            draft.kind,
            draft.step,
            draft.checkpoint,
            draft.t,
            int(draft.complete),
            json.dumps(draft.as_json()),
        ),
    )


def _fold(db: sqlite3.Connection, run: int, events: Sequence[Event], start: Start | None) -> None:
    host, run_id = db.execute("SELECT host, run_id FROM runs WHERE id = ?", (run,)).fetchone()
    steps = {-1 if event.step is None else event.step for event in events}
    anew = any(event.kind == "stage_start" for event in events)
    drafts = _drafts(db, run, None if anew else steps | {start.step if start is not None else -1})
    before = {key: draft.as_json() for key, draft in drafts.items()}
    for event in events:
        if event.kind == "stage_start":
            start = _start(db, run, run_id, event)
            for key in begin(start, drafts, event.t):
                del drafts[key]
        elif start is None:
            continue  # a log without its beginning: nothing says what is evaluated
        elif event.kind == "eval":
            take(start, drafts, event)
        else:
            end(start, drafts, event)
    for kind, step in before.keys() - drafts.keys():
        db.execute("DELETE FROM evaluations WHERE run = ? AND kind = ? AND step = ?", (run, kind, step))
    for key, draft in drafts.items():
        if before.get(key) != draft.as_json():
            put(db, host, run_id, run, draft)
    if len(drafts) > len(before):
        _keep_newest(db, run)


def _keep_newest(db: sqlite3.Connection, run: int) -> None:
    for kind in KINDS:
        db.execute(
            "DELETE FROM evaluations WHERE id IN (SELECT id FROM evaluations WHERE run = ? AND kind = ?"
            " ORDER BY step DESC LIMIT -1 OFFSET ?)",
            (run, kind, MOST_OF_RUN),
        )


def _drafts(db: sqlite3.Connection, run: int, steps: Collection[int] | None) -> Drafts:
    """A run's evaluations, all of them or those of some steps."""
    where = "" if steps is None else f" AND step IN ({', '.join('?' * len(steps))})"
    rows = db.execute(
        f"SELECT kind, step, checkpoint, t, body FROM evaluations WHERE run = ?{where}", (run, *(steps or ()))
    )
    return {(kind, step): Draft.read(kind, step, *held) for kind, step, *held in rows if is_kind(kind)}


def is_kind(word: str) -> bool:
    """False for a kind that a newer version of the program has written."""
    return word in KINDS


def _event(seq: int, t: float, kind: str, step: int | None, data: str) -> Event:
    return Event(seq, t, kind, step, fields.json_object(data) or {})


def _start_before(db: sqlite3.Connection, run: int, seq: int) -> Start | None:
    row = db.execute(
        "SELECT seq, t, kind, step, data FROM events INDEXED BY events_by_kind WHERE run = ?"
        " AND kind = 'stage_start' AND kind != 'metric' AND seq < ? ORDER BY seq DESC LIMIT 1",
        (run, seq),
    ).fetchone()
    if row is None:
        return None
    (run_id,) = db.execute("SELECT run_id FROM runs WHERE id = ?", (run,)).fetchone()
    return _start(db, run, run_id, _event(*row))


def _start(db: sqlite3.Connection, run: int, run_id: str, event: Event) -> Start:
    (asked,) = db.execute("SELECT run FROM runs WHERE id = ?", (run,)).fetchone()
    return Start.read(run_id, event.data, stored_documents(asked, "{}", run_id).options)
