"""The store's write path: a chunk of a host's log becomes events, series and an offset in one transaction.

That one transaction is what makes ingest exactly-once: the byte offset and the events read up to it are
committed together or not at all, whatever dies at whatever point, and a chunk seen before changes nothing.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from nanochat.common.fields import LATEST
from nanochat.run.event_rows import EventRows, Row, parse_lines
from remote.runs import superseded_from
from remote.store.averages import AVERAGED, keep_averages
from remote.store.evaluation_rows import KINDS_OF_EVENTS, forget_evaluations, take_evaluations
from remote.store.fold import fold_events
from remote.store.run_rows import touch
from remote.store.series import BLOCK, Series, blocks_of, pack
from remote.store.summary import MOST_METRICS, Summary

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
    found = parse_lines(fresh)
    _keep_storable(found)
    # Reading went on inside a line, or at another number: this is not the file that was read so far.
    torn = bool(data) and not found.begins
    if at.offset and at.rereads < _MAX_REREADS and (torn or not _continues(at, found)):
        forget_file(db, run, file)
        return Ingested("diverged", 0)
    if not _continues(at, found):
        # Read again from the start and still not in order: the host's file has a hole or a repeat.
        _keep(found, _rising(at.last_seq, found))
    rows = found.rows
    if file == EVENTS:
        _take_events(db, run, found)
    else:
        _insert(db, "telemetry", run, rows)
    db.execute(
        "UPDATE files SET offset = ?, last_seq = ?, bad_lines = bad_lines + ?, size = max(size, ?)"
        " WHERE run = ? AND file = ?",
        (stop, rows[-1][0] if rows else at.last_seq, max(1, found.lines) - len(rows), stop, run, file),
    )
    if file == EVENTS or found.lines > len(rows):
        touch(db, run)
    return Ingested("ok", stop, len(rows))


def note_size(db: sqlite3.Connection, run: int, file: str, size: int) -> None:
    """Keeps how many bytes the host's file has, as the host told it last."""
    noted = db.execute(
        "INSERT INTO files (run, file, size) VALUES (?, ?, ?)"
        " ON CONFLICT (run, file) DO UPDATE SET size = excluded.size WHERE size != excluded.size",
        (run, file, size),
    )
    if noted.rowcount and file == EVENTS:
        touch(db, run)


def forget_file(db: sqlite3.Connection, run: int, file: str) -> None:
    """Drops what was read of a file whose host copy turned out to be another (a disk that lost its end)."""
    if file == EVENTS:
        db.execute("DELETE FROM events WHERE run = ?", (run,))
        db.execute("DELETE FROM metrics WHERE run = ?", (run,))
        db.execute("UPDATE runs SET summary = '{}' WHERE id = ?", (run,))
        forget_evaluations(db, run)
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


def _keep(found: EventRows, kept: Sequence[int]) -> None:
    if len(kept) < len(found.rows):
        found.unusual.clear()
        found.rows = [found.rows[index] for index in kept]
        found.data = [found.data[index] for index in kept]


def _keep_storable(found: EventRows) -> None:
    """Leaves out events that a column cannot hold."""
    beyond = {index for index in found.unusual if not _storable(found.rows[index])}
    if beyond:
        _keep(found, [index for index in range(len(found.rows)) if index not in beyond])


def _storable(row: Row) -> bool:
    seq, t, kind, step, _ = row
    numbers = 0 <= seq < _INT64 and (step is None or -_INT64 <= step < _INT64) and 0 <= t <= LATEST
    return numbers and len(kind) <= _LONGEST_KIND and kind.isascii()


def _continues(at: _File, found: EventRows) -> bool:
    first = at.last_seq + 1
    return [row[0] for row in found.rows] == list(range(first, first + len(found.rows)))


def _rising(last: int, found: EventRows) -> list[int]:
    """The indices of the events whose numbers rise above `last` and each other."""
    kept = []
    for index, row in enumerate(found.rows):
        if row[0] > last:
            kept.append(index)
            last = row[0]
    return kept


def _insert(
    db: sqlite3.Connection, table: Literal["events", "telemetry"], run: int, rows: Sequence[Row]
) -> None:
    db.executemany(f"INSERT INTO {table} (run, seq, t, kind, step, data) VALUES ({run}, ?, ?, ?, ?, ?)", rows)


def _take_events(db: sqlite3.Connection, run: int, found: EventRows) -> None:
    _insert(db, "events", run, found.rows)
    summary = read_summary(db, run)
    before = summary.attempt
    heads: dict[bytes, bytes] = {}
    points = fold_events(summary, found)
    for name, new in points.items():
        _add_points(db, run, name, new, heads)
    keep_averages(
        summary,
        {name: points[name].value for name in AVERAGED if name in points},
        lambda name: _whole_series(db, run, name, summary),
        resumed=0 < before < summary.attempt,
    )
    db.execute("UPDATE runs SET summary = ? WHERE id = ?", (json.dumps(asdict(summary)), run))
    if not KINDS_OF_EVENTS.isdisjoint(row[2] for row in found.rows):
        take_evaluations(db, run)


def read_summary(db: sqlite3.Connection, run: int) -> Summary:
    """The run's folded state as of the last commit."""
    (raw,) = db.execute("SELECT summary FROM runs WHERE id = ?", (run,)).fetchone()
    return Summary.read(raw)


def _whole_series(db: sqlite3.Connection, run: int, name: str, summary: Summary) -> Series:
    """All points of a metric, those that a later attempt redid marked as superseded."""
    series = Series()
    row = db.execute("SELECT id FROM metrics WHERE run = ? AND name = ?", (run, name)).fetchone()
    if row is not None:
        for form, blob in read_blocks(db, row[0], -1):
            series.extend_packed(form, blob)
        series.extend(read_tail(db, row[0], -1))
        series.mark(superseded_from(summary.attempt_list()))
    return series


def _add_points(db: sqlite3.Connection, run: int, name: str, new: Series, heads: dict[bytes, bytes]) -> None:
    found = db.execute("SELECT id, tail FROM metrics WHERE run = ? AND name = ?", (run, name)).fetchone()
    if found is None:
        (known,) = db.execute("SELECT count(*) FROM metrics WHERE run = ?", (run,)).fetchone()
        if known >= MOST_METRICS:
            return  # the summary has counted it
        cursor = db.execute("INSERT INTO metrics (run, name) VALUES (?, ?)", (run, name))
        found = (cursor.lastrowid, 0)
    metric, tail = found
    if tail + len(new) >= BLOCK:
        points = read_tail(db, metric, -1)
        points.extend(new)
        db.execute("DELETE FROM points WHERE metric = ?", (metric,))
        blocks, new = blocks_of(points)
        db.executemany(
            "INSERT INTO blocks (metric, first_seq, last_seq, form, data) VALUES (?, ?, ?, ?, ?)",
            [(metric, block.seq[0], block.seq[-1], *pack(block, heads)) for block in blocks],
        )
        tail = 0
    db.executemany(
        "INSERT INTO points (metric, seq, step, t, value, attempt) VALUES (?, ?, ?, ?, ?, ?)",
        [(metric, *point) for point in new.points()],
    )
    db.execute("UPDATE metrics SET tail = ? WHERE id = ?", (tail + len(new), metric))


def read_tail(db: sqlite3.Connection, metric: int, after_seq: int) -> Series:
    """The points of a metric that are not packed yet, in order."""
    rows = db.execute(
        "SELECT seq, step, t, value, attempt FROM points WHERE metric = ? AND seq > ? ORDER BY seq",
        (metric, after_seq),
    )
    series = Series()
    for seq, step, t, value, attempt in rows:
        series.append((seq, step, t, math.nan if value is None else value, attempt))
    return series


def read_blocks(db: sqlite3.Connection, metric: int, after_seq: int) -> Iterator[tuple[int, bytes]]:
    """The form and the blob of each packed block of a metric that reaches past `after_seq`, in order."""
    query = "SELECT form, data FROM blocks WHERE metric = ? AND last_seq > ? ORDER BY first_seq"
    yield from db.execute(query, (metric, after_seq))
