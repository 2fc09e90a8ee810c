"""The store's write path: a chunk of a host's log becomes events, series and an offset in one transaction.

That one transaction is what makes ingest exactly-once: the byte offset and the events read up to it are
committed together or not at all, whatever dies at whatever point, and a chunk seen before changes nothing.
"""

from __future__ import annotations

import json
import math
import sqlite3
from dataclasses import asdict, dataclass
from typing import Literal

from nanochat.common.fields import LATEST
from nanochat.run.events import Event, parse_line
from remote.runs import superseded_from
from remote.store.averages import AVERAGED, keep_averages
from remote.store.run_rows import touch
from remote.store.series import BLOCK, Point, Series, blocks_of, pack
from remote.store.summary import MOST_METRICS, Summary, series_values

EVENTS, TELEMETRY = "events.jsonl", "telemetry.jsonl"

#: ok: something new was committed. known: all of it was already here. gap: the chunk begins after what
#: has been read. diverged: the host's file is not the one read so far and was forgotten, read it from 0.
Outcome = Literal["ok", "known", "gap", "diverged"]

_INT64 = 1 << 63
_MAX_REREADS = 3
_LONGEST_KIND = 64


@dataclass(frozen=True)
class Ingested:
    """What became of a chunk; `offset` is where the next one has to begin."""

    outcome: Outcome
    offset: int
    events: int = 0


@dataclass(frozen=True)
class _File:
    run: int
    name: str
    offset: int
    last_seq: int
    rereads: int


def ingest_chunk(
    db: sqlite3.Connection, run: int, file: str, offset: int, data: bytes, end: int | None = None
) -> Ingested:
    """Takes in bytes `[offset, end)` of a run's file; call inside a write transaction.

    `end` defaults to `offset + len(data)`; it differs where the sender passed over a line or replaced bytes
    that are no UTF-8. A torn last line is left for the next chunk. Lines that are no event are counted and
    passed over.
    """
    at = _file(db, run, file)
    exact = end is None or end == offset + len(data)
    stop = offset + len(data) if end is None else end
    if stop <= at.offset:
        return Ingested("known", at.offset)
    if offset > at.offset or (offset < at.offset and not exact):
        return Ingested("gap", at.offset)
    fresh = data[at.offset - offset :]
    if exact:
        fresh = fresh[: fresh.rfind(b"\n") + 1]
        stop = at.offset + len(fresh)
    if stop == at.offset:
        return Ingested("known", at.offset)
    lines = fresh.split(b"\n")[:-1] or [b""]
    events = [event for line in lines if (event := parse_line(line)) is not None and _storable(event)]
    # Reading went on inside a line, or at another number: this is not the file that was read so far.
    torn = bool(data) and parse_line(lines[0]) is None
    if at.offset and at.rereads < _MAX_REREADS and (torn or not _continues(at, events)):
        forget_file(db, run, file)
        return Ingested("diverged", 0)
    if not _continues(at, events):
        # Read again from the start and still not in order: the host's file has a hole or a repeat.
        events = _rising(at.last_seq, events)
    if file == EVENTS:
        _take_events(db, run, events)
    else:
        _insert(db, "telemetry", run, events)
    last = events[-1].seq if events else at.last_seq
    db.execute(
        "UPDATE files SET offset = ?, last_seq = ?, bad_lines = bad_lines + ? WHERE run = ? AND file = ?",
        (stop, last, len(lines) - len(events), run, file),
    )
    if file == EVENTS or len(lines) > len(events):
        touch(db, run)
    return Ingested("ok", stop, len(events))


def forget_file(db: sqlite3.Connection, run: int, file: str) -> None:
    """Drops what was read of a file whose host copy turned out to be another (a disk that lost its end)."""
    if file == EVENTS:
        db.execute("DELETE FROM events WHERE run = ?", (run,))
        db.execute("DELETE FROM metrics WHERE run = ?", (run,))
        db.execute("UPDATE runs SET summary = '{}' WHERE id = ?", (run,))
    else:
        db.execute("DELETE FROM telemetry WHERE run = ?", (run,))
    db.execute(
        "UPDATE files SET offset = 0, last_seq = -1, bad_lines = 0, rereads = rereads + 1"
        " WHERE run = ? AND file = ?",
        (run, file),
    )
    touch(db, run)


def _file(db: sqlite3.Connection, run: int, file: str) -> _File:
    query = "SELECT offset, last_seq, rereads FROM files WHERE run = ? AND file = ?"
    row = db.execute(query, (run, file)).fetchone()
    if row is None:
        db.execute("INSERT INTO files (run, file) VALUES (?, ?)", (run, file))
        row = (0, -1, 0)
    return _File(run, file, *row)


def _storable(event: Event) -> bool:
    step = 0 if event.step is None else event.step
    numbers = 0 <= event.seq < _INT64 and -_INT64 <= step < _INT64 and 0 <= event.t <= LATEST
    return numbers and len(event.kind) <= _LONGEST_KIND and event.kind.isascii()


def _continues(at: _File, events: list[Event]) -> bool:
    return all(event.seq == at.last_seq + 1 + i for i, event in enumerate(events))


def _rising(last: int, events: list[Event]) -> list[Event]:
    kept = []
    for event in events:
        if event.seq > last:
            kept.append(event)
            last = event.seq
    return kept


def _insert(
    db: sqlite3.Connection, table: Literal["events", "telemetry"], run: int, events: list[Event]
) -> None:
    db.executemany(
        f"INSERT INTO {table} (run, seq, t, kind, step, data) VALUES (?, ?, ?, ?, ?, ?)",
        ((run, e.seq, e.t, e.kind, e.step, json.dumps(e.data, separators=(",", ":"))) for e in events),
    )


def _take_events(db: sqlite3.Connection, run: int, events: list[Event]) -> None:
    _insert(db, "events", run, events)
    summary = read_summary(db, run)
    before = summary.attempt
    points: dict[str, list[Point]] = {}
    for event in events:
        summary.fold(event)
        step = -1 if event.step is None else event.step
        for name, value in series_values(event):
            points.setdefault(name, []).append((event.seq, step, event.t, value, summary.attempt))
    for name, new in points.items():
        _add_points(db, run, name, new)
    keep_averages(
        summary,
        {name: [point[3] for point in points[name]] for name in AVERAGED if name in points},
        lambda name: read_series(db, run, name, summary),
        resumed=0 < before < summary.attempt,
    )
    db.execute("UPDATE runs SET summary = ? WHERE id = ?", (json.dumps(asdict(summary)), run))


def read_summary(db: sqlite3.Connection, run: int) -> Summary:
    """The run's folded state as of the last commit."""
    (raw,) = db.execute("SELECT summary FROM runs WHERE id = ?", (run,)).fetchone()
    return Summary.read(raw)


def read_series(db: sqlite3.Connection, run: int, name: str, summary: Summary, after_seq: int = -1) -> Series:
    """One metric as columns, the points that a later attempt redid marked as superseded."""
    series = Series()
    row = db.execute("SELECT id FROM metrics WHERE run = ? AND name = ?", (run, name)).fetchone()
    if row is None:
        return series
    blocks = read_blocks(db, row[0], after_seq)
    for blob in blocks:
        series.extend_packed(blob)
    for point in read_tail(db, row[0], after_seq):
        series.append(point)
    series.mark(superseded_from(summary.attempt_list()))
    return series.after(after_seq) if blocks and after_seq >= 0 else series


def _add_points(db: sqlite3.Connection, run: int, name: str, new: list[Point]) -> None:
    found = db.execute("SELECT id, tail FROM metrics WHERE run = ? AND name = ?", (run, name)).fetchone()
    if found is None:
        (known,) = db.execute("SELECT count(*) FROM metrics WHERE run = ?", (run,)).fetchone()
        if known >= MOST_METRICS:
            return  # the summary has counted it
        cursor = db.execute("INSERT INTO metrics (run, name) VALUES (?, ?)", (run, name))
        found = (cursor.lastrowid, 0)
    metric, tail = found
    if tail + len(new) >= BLOCK:
        new = read_tail(db, metric, -1) + new
        db.execute("DELETE FROM points WHERE metric = ?", (metric,))
        blocks, new = blocks_of(new)
        db.executemany(
            "INSERT INTO blocks (metric, first_seq, last_seq, data) VALUES (?, ?, ?, ?)",
            ((metric, block[0][0], block[-1][0], pack(block)) for block in blocks),
        )
        tail = 0
    db.executemany(
        "INSERT INTO points (metric, seq, step, t, value, attempt) VALUES (?, ?, ?, ?, ?, ?)",
        ((metric, *point) for point in new),
    )
    db.execute("UPDATE metrics SET tail = ? WHERE id = ?", (tail + len(new), metric))


def read_tail(db: sqlite3.Connection, metric: int, after_seq: int) -> list[Point]:
    """The points of a metric that are not packed yet, in order."""
    rows = db.execute(
        "SELECT seq, step, t, value, attempt FROM points WHERE metric = ? AND seq > ? ORDER BY seq",
        (metric, after_seq),
    )
    return [(s, step, t, math.nan if v is None else v, a) for s, step, t, v, a in rows]


def read_blocks(db: sqlite3.Connection, metric: int, after_seq: int) -> list[bytes]:
    """The packed blocks of a metric that reach past `after_seq`, in order."""
    query = "SELECT data FROM blocks WHERE metric = ? AND last_seq > ? ORDER BY first_seq"
    return [blob for (blob,) in db.execute(query, (metric, after_seq))]
