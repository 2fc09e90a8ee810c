"""The rows of runs read from the store's tables: all of them, one, or those that changed since a reading."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from remote.runs import LIVE, RunRow
from remote.store.rows import run_row

_COLUMNS = (
    "runs.id, runs.host, runs.run_id, runs.run, runs.state, runs.summary, coalesce(hosts.last_contact, 0),"
    " coalesce((SELECT last_seq FROM files WHERE files.run = runs.id AND file = 'events.jsonl'), -1),"
    " (SELECT group_concat(name) FROM passed WHERE passed.run = runs.id), runs.problem, runs.here,"
    " coalesce((SELECT sum(bad_lines) FROM files WHERE files.run = runs.id), 0),"
    " coalesce((SELECT offset FROM files WHERE files.run = runs.id AND file = 'events.jsonl'), 0),"
    " coalesce((SELECT size FROM files WHERE files.run = runs.id AND file = 'events.jsonl'), 0),"
    " coalesce(hosts.clock_ahead, 0)"
)
_ROWS = f"SELECT {_COLUMNS} FROM runs LEFT JOIN hosts ON hosts.name = runs.host"
_NEWEST_FIRST = " ORDER BY runs.created_at DESC, runs.run_id DESC"


@dataclass(frozen=True)
class ChangedRows:
    """What changed since a version: `rows`, newest first; `count` is how many runs there are in all.

    `contacts` says when each host was last heard, and how far its clock is ahead of ours: that moves without
    any of its runs changing.
    """

    version: int
    count: int
    rows: list[RunRow]
    contacts: dict[str, tuple[float, float]]


def read_rows(db: sqlite3.Connection) -> list[RunRow]:
    """Every row, newest first."""
    marks = _marks(db)
    return [run_row(row, marks.get(row[0], [])) for row in db.execute(_ROWS + _NEWEST_FIRST).fetchall()]


def read_newest(db: sqlite3.Connection, most: int) -> list[RunRow]:
    """The newest rows and those of runs that are live, newest first; every row where there are few."""
    newest = f"SELECT id FROM runs{_NEWEST_FIRST} LIMIT ?"
    status = "CASE WHEN json_valid(runs.state) THEN json_extract(runs.state, '$.status') END"
    live = f"{status} IN ({', '.join('?' * len(LIVE))})"
    found = db.execute(f"{_ROWS} WHERE runs.id IN ({newest}) OR {live}{_NEWEST_FIRST}", (most, *sorted(LIVE)))
    marks = _marks(db)
    return [run_row(row, marks.get(row[0], [])) for row in found.fetchall()]


def read_row(db: sqlite3.Connection, host: str, run_id: str) -> RunRow | None:
    """The row of one run, or None."""
    row = db.execute(f"{_ROWS} WHERE runs.host = ? AND runs.run_id = ?", (host, run_id)).fetchone()
    return None if row is None else run_row(row, _marks(db, row[0]).get(row[0], []))


def read_changed(db: sqlite3.Connection, since: int) -> ChangedRows:
    """The rows that changed after version `since` (-1: all), of one moment: call it inside a transaction."""
    version, count = db.execute("SELECT last, (SELECT count(*) FROM runs) FROM changes").fetchone()
    heard = db.execute("SELECT name, last_contact, clock_ahead FROM hosts").fetchall()
    contacts = {name: (last, ahead) for name, last, ahead in heard}
    if version <= since:
        return ChangedRows(version, count, [], contacts)
    found = db.execute(f"{_ROWS} WHERE runs.changed > ?{_NEWEST_FIRST}", (since,)).fetchall()
    marks = _marks(db, found[0][0]) if len(found) == 1 else _marks(db)
    return ChangedRows(version, count, [run_row(row, marks.get(row[0], [])) for row in found], contacts)


def touch(db: sqlite3.Connection, run: int) -> None:
    """Notes that a run's row is another than before. Every change of what a row shows must do so.

    Writers take turns, so the numbers rise in the order of the commits.
    """
    db.execute("UPDATE changes SET last = last + 1")
    db.execute("UPDATE runs SET changed = (SELECT last FROM changes) WHERE id = ?", (run,))


def _marks(db: sqlite3.Connection, run: int | None = None) -> dict[int, list[tuple[str, str]]]:
    where, values = ("", ()) if run is None else (" WHERE run = ?", (run,))
    marks: dict[int, list[tuple[str, str]]] = {}
    for number, kind, value in db.execute(
        f"SELECT run, kind, value FROM marks{where} ORDER BY value", values
    ):
        marks.setdefault(number, []).append((kind, value))
    return marks
