"""What this laptop knows of every run on every host: SQLite, read by the screens, written by following.

All methods may be called from any thread, and two processes may use one file at the same time.
"""

from __future__ import annotations

import contextlib
import functools
import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

from nanochat.common import fields
from nanochat.common.errors import UserError, nearest
from nanochat.common.text import sanitize
from nanochat.run.events import Event
from remote.runs import RUN_ID, Attempt, RunRow, split_key, superseded_from
from remote.store.database import Database
from remote.store.documents import read_documents, stored_documents
from remote.store.evaluations import Evaluations
from remote.store.ingest import (
    EVENTS,
    TELEMETRY,
    Ingested,
    forget_file,
    ingest_chunk,
    note_size,
    read_blocks,
    read_summary,
    read_tail,
)
from remote.store.marks import Marks, take_marks_over
from remote.store.rows import event_of, once
from remote.store.run_rows import (
    ChangedRows,
    read_changed,
    read_newest,
    read_row,
    read_rows,
    touch,
)
from remote.store.series import Series, SeriesReader
from remote.store.summary import Summary
from remote.store.votes import Votes

P = ParamSpec("P")
R = TypeVar("R")

_CLOCK_SWAY = 5.0
_BULK_PAGES = 16_384  # of 4 KiB, in the write-ahead log before it is copied into the main file: 64 MiB


def _reads(method: Callable[Concatenate[Store, P], R]) -> Callable[Concatenate[Store, P], R]:
    """Keeps the thread's connection open for as long as the method runs."""

    @functools.wraps(method)
    def guarded(self: Store, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._database.using():
            return method(self, *args, **kwargs)

    return guarded


class Store(Marks, Votes, Evaluations):
    """The store at `path`, created when it is not there. Raises `UserError` when it cannot be used.

    `bulk` is for a process that does nothing but write: its commits reach the main file less often.
    """

    def __init__(self, path: Path, bulk: bool = False) -> None:
        self._database = Database(path, _BULK_PAGES if bulk else None)
        self.path = path

    @property
    def trouble(self) -> str:
        """Why nothing can be written at present, as one line for a person; empty while all is well."""
        return self._database.trouble

    # ---- reading -------------------------------------------------------------------------------------

    @_reads
    def runs(self) -> list[RunRow]:
        """Every known run, newest first; one that several hosts see, once: where it runs."""
        return once(read_rows(self._database.connection()))

    @_reads
    def newest_runs(self, most: int) -> tuple[list[RunRow], bool]:
        """The newest runs and those that are live, and whether these are all: what a first screen shows."""
        db = self._database.connection()
        (count,) = db.execute("SELECT count(*) FROM runs").fetchone()
        return once(read_newest(db, most)), count <= most

    @_reads
    def changed_runs(self, since: int) -> ChangedRows:
        """The rows that changed after version `since`, which an earlier call gave; -1 gives all.

        A run that several hosts see is among them once for each: see `remote.store.run_list`.
        """
        db = self._database.connection()
        db.execute("BEGIN")
        try:
            return read_changed(db, since)
        finally:
            db.execute("COMMIT")

    @_reads
    def run(self, key: str) -> RunRow | None:
        """The run of that key, or None."""
        return read_row(self._database.connection(), *split_key(key))

    def find(self, name: str) -> RunRow:
        """The one run meant by a key, a run id, its name, or the unambiguous start of a run id.

        Raises `UserError` when none or several are meant.
        """
        with contextlib.suppress(ValueError):
            row = self.run(name)  # a whole key, of whichever host
            if row is not None:
                return row
        rows = self.runs()
        tests: list[Callable[[RunRow], bool]] = [
            lambda row: row.run_id == name,
            lambda row: bool(name) and row.name == name,
            lambda row: bool(name) and row.run_id.startswith(name),
        ]
        for test in tests:
            found = [row for row in rows if test(row)]
            if len(found) == 1:
                return found[0]
            if found:
                shown = ", ".join(row.key for row in found[:4])
                raise UserError(f"'{name}' means {len(found)} runs: {shown}", "give the whole key")
        known = [row.run_id for row in rows[:200]] + [row.name for row in rows[:200] if row.name]
        raise UserError(f"no run '{name}'", nearest(name, known) or "see `nanochat runs ls`")

    @_reads
    def events(
        self, key: str, after_seq: int = -1, kinds: Iterable[str] | None = None, limit: int | None = None
    ) -> list[Event]:
        """A run's events in order, from the one after `after_seq`, at most `limit`, only of `kinds`."""
        chosen = list(kinds) if kinds is not None else []
        if kinds is not None and not chosen:
            return []
        where = f" AND kind IN ({', '.join('?' * len(chosen))})" if chosen else ""
        table = "events"
        if chosen and "metric" not in chosen:
            # Left to itself SQLite walks the whole run in order of seq for a dozen events of a million.
            table, where = "events INDEXED BY events_by_kind", f"{where} AND kind != 'metric'"
        return self._events(table, key, after_seq, where, chosen, limit)

    @_reads
    def telemetry(self, key: str, after_seq: int = -1) -> list[Event]:
        """A run's telemetry samples in order, from the one after `after_seq`."""
        return self._events("telemetry", key, after_seq, "", [], None)

    @_reads
    def last_telemetry(self, key: str) -> Event | None:
        """The newest telemetry sample of a run, or None."""
        db, run = self._locate(key)
        row = db.execute(
            "SELECT seq, t, kind, step, data FROM telemetry WHERE run = ? ORDER BY seq DESC LIMIT 1", (run,)
        ).fetchone()
        return None if row is None else event_of(row)

    def _events(
        self, table: str, key: str, after_seq: int, where: str, values: list[str], limit: int | None
    ) -> list[Event]:
        db, run = self._locate(key)
        rows = db.execute(
            f"SELECT seq, t, kind, step, data FROM {table}"
            f" WHERE run = ? AND seq > ?{where} ORDER BY seq LIMIT ?",
            (run, after_seq, *values, -1 if limit is None else limit),
        )
        return [event_of(row) for row in rows]

    @_reads
    def series(self, key: str, name: str, after_seq: int = -1) -> Series:
        """One metric as columns, the points that a later attempt redid marked as superseded."""
        return self.all_series(key, {name: after_seq}, (name,)).get(name, Series())

    @_reads
    def all_series(
        self, key: str, after: Mapping[str, int], names: Iterable[str] | None = None
    ) -> dict[str, Series]:
        """Each metric's points after the `seq` that `after` gives for it, all as of one moment.

        Only metrics that have such points, and only `names` where given. Metrics of the same events share
        the arrays of all columns but `value`: none of them is to be changed.
        """
        db, run = self._locate(key)
        reader = SeriesReader()
        # One snapshot: without it a concurrent commit could move points from the tail into a block
        # between the two reads, and they would be seen twice or not at all.
        db.execute("BEGIN")
        try:
            cut = superseded_from(read_summary(db, run).attempt_list()) if run >= 0 else {}
            known = dict(db.execute("SELECT name, id FROM metrics WHERE run = ? ORDER BY name", (run,)))
            found = {}
            for name in known if names is None else known.keys() & set(names):
                seq = after.get(name, -1)
                series = reader.read(read_blocks(db, known[name], seq), read_tail(db, known[name], seq), seq)
                if len(series):
                    found[name] = series
        finally:
            db.execute("COMMIT")
        reader.mark(cut)
        return found

    @_reads
    def metric_names(self, key: str) -> list[str]:
        """The names of a run's metrics, sorted."""
        db, run = self._locate(key)
        return [
            name for (name,) in db.execute("SELECT name FROM metrics WHERE run = ? ORDER BY name", (run,))
        ]

    @_reads
    def summary(self, key: str) -> Summary:
        """Everything folded from a run's events; empty for an unknown run."""
        db, run = self._locate(key)
        return read_summary(db, run) if run >= 0 else Summary()

    def attempts(self, key: str) -> list[Attempt]:
        """A run's attempts, oldest first."""
        return self.summary(key).attempt_list()

    @_reads
    def offsets(self, host: str) -> dict[str, dict[str, int]]:
        """`{run_id: {file: bytes read}}` of a host: where following goes on."""
        rows = self._database.connection().execute(
            "SELECT run_id, file, offset FROM files JOIN runs ON runs.id = files.run WHERE host = ?", (host,)
        )
        offsets: dict[str, dict[str, int]] = {}
        for run_id, file, offset in rows:
            offsets.setdefault(run_id, {})[file] = offset
        return offsets

    @_reads
    def unread_bytes(self, host: str) -> int:
        """How much of the logs of a host's runs is not read yet, by the sizes it told last."""
        query = (
            "SELECT sum(size - offset) FROM files JOIN runs ON runs.id = files.run"
            " WHERE host = ? AND size > offset"
        )
        (count,) = self._database.connection().execute(query, (host,)).fetchone()
        return int(count or 0)

    @_reads
    def bad_lines(self, key: str) -> dict[str, int]:
        """How many lines of each file of a run were no event and were passed over."""
        db, run = self._locate(key)
        return dict(db.execute("SELECT file, bad_lines FROM files WHERE run = ?", (run,)).fetchall())

    # ---- writing -------------------------------------------------------------------------------------

    def ingest_state(
        self,
        host: str,
        run: object,
        state: object,
        snapshot: bool = False,
        run_id: str = "",
        here: bool = True,
        sizes: Mapping[str, int] | None = None,
    ) -> bool:
        """Takes in a run's run.json and state.json as the agent sent them; True when something changed.

        They are checked field by field, and only what could be read is kept. `run_id` is the name of the
        run's folder, where the agent tells it; `here` is False for a run of another machine that shares the
        host's base directory; `sizes` are the bytes of its files there.

        A `snapshot` was not read from the stream and may be behind it: it never replaces a newer state.
        """
        run_id = run_id or _said_id(run) or _said_id(state)
        if not run_id:
            return False
        found = read_documents(run, state, run_id)
        clean_run, clean_state = (json.dumps(document) for document in found.clean())
        fresh = (clean_run, clean_state, found.created_at, found.problem, int(here))
        with self._database.write() as db:
            number = _ensure_run(db, host, run_id)
            for file in (EVENTS, TELEMETRY):
                if sizes is not None and file in sizes:
                    note_size(db, number, file, sizes[file])
            columns = "run, state, created_at, problem, here"
            known = db.execute(f"SELECT {columns} FROM runs WHERE id = ?", (number,)).fetchone()
            if known == fresh:
                return False
            held = stored_documents(known[0], known[1], run_id)
            if snapshot and (held.heartbeat or 0.0) > (found.heartbeat or 0.0):
                return False
            db.execute(
                "UPDATE runs SET run = ?, state = ?, created_at = ?, problem = ?, here = ? WHERE id = ?",
                (*fresh, number),
            )
            if known[2] != found.created_at:
                take_marks_over(db, number)
            touch(db, number)
            return True

    def ingest_problem(self, host: str, run_id: str, problem: str, damaged: bool) -> bool:
        """Notes what the agent says is wrong with a run's files; True when that is new.

        A `damaged` run has no state that could be read: it counts as lost until it has one again.
        """
        with self._database.write() as db:
            number = _ensure_run(db, host, run_id)
            raw, known = db.execute("SELECT state, problem FROM runs WHERE id = ?", (number,)).fetchone()
            state = fields.json_object(raw) or {}
            line = sanitize(problem, 500)
            told = f"damaged: {line}" if damaged and not line.startswith("damaged") else line
            if damaged:
                state["status"] = "lost"
            fresh = json.dumps(state) if damaged else raw
            if (fresh, told) == (raw, known):
                return False
            db.execute("UPDATE runs SET state = ?, problem = ? WHERE id = ?", (fresh, told, number))
            touch(db, number)
            return True

    def ingest(
        self, host: str, run_id: str, file: str, offset: int, data: bytes, end: int | None = None
    ) -> Ingested:
        """Takes in bytes `[offset, end)` of a run's events.jsonl or telemetry.jsonl: exactly once.

        See `remote.store.ingest`; `end` defaults to `offset + len(data)`.
        """
        if file not in (EVENTS, TELEMETRY):
            raise ValueError(f"not a followed file: {file!r}")
        with self._database.write() as db:
            return ingest_chunk(db, _ensure_run(db, host, run_id), file, offset, data, end)

    def forget(self, host: str, run_id: str, file: str, read: int) -> None:
        """Drops what was read of a file that is now shorter on the host than the `read` bytes.

        That happens when the host's disk lost the end of a file in a power cut. Nothing is dropped when
        the store does not stand at `read` (any more): then another process has done so already.
        """
        with self._database.write() as db:
            run = _ensure_run(db, host, run_id)
            query = "SELECT offset FROM files WHERE run = ? AND file = ?"
            row = db.execute(query, (run, file)).fetchone()
            if row is not None and row[0] == read:
                forget_file(db, run, file)

    def contact(self, host: str, t: float, clock_ahead: float | None = None) -> None:
        """Notes that a host was heard at time `t`, and how many seconds its clock is ahead of ours.

        What is measured sways by the time an answer takes: a clock that is about where it was, stays there.
        """
        with self._database.write() as db:
            db.execute(
                "INSERT INTO hosts (name, last_contact, clock_ahead) VALUES (:host, :t, coalesce(:ahead, 0))"
                " ON CONFLICT (name) DO UPDATE SET last_contact = max(last_contact, :t), clock_ahead ="
                " CASE WHEN abs(:ahead - clock_ahead) > :sway THEN :ahead ELSE clock_ahead END",
                {"host": host, "t": t, "ahead": clock_ahead, "sway": _CLOCK_SWAY},
            )

    @_reads
    def last_contact(self, host: str) -> float | None:
        """When a host was last heard, or None."""
        query = "SELECT last_contact FROM hosts WHERE name = ?"
        row = self._database.connection().execute(query, (host,)).fetchone()
        return None if row is None else float(row[0])

    def note_trouble(self, trouble: str) -> None:
        """Says for another process that writes this store why it cannot."""
        self._database.note_trouble(trouble)

    def close(self) -> None:
        """Closes the file in every thread."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _ensure_run(db: sqlite3.Connection, host: str, run_id: str) -> int:
    query = "SELECT id FROM runs WHERE host = ? AND run_id = ?"
    row = db.execute(query, (host, run_id)).fetchone()
    if row is None:
        db.execute("INSERT INTO runs (host, run_id) VALUES (?, ?)", (host, run_id))
        row = db.execute(query, (host, run_id)).fetchone()
        touch(db, row[0])
    return int(row[0])


def _said_id(document: object) -> str:
    """The run id that a document gives, "" when it is none."""
    said = document.get("run_id") if isinstance(document, Mapping) else None
    return said if isinstance(said, str) and RUN_ID.fullmatch(said) else ""
