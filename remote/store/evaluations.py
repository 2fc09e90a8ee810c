"""Every evaluation that is known of every host: CORE, chat, bits per byte, tokenizers, published tables.

What a row says comes from the events of runs, and from the files of results that a host's agent lists. A file
that tells of a run's own evaluation adds to it and is no evaluation more.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading

from nanochat.common import fields
from nanochat.evals.results import KINDS, Kind
from remote.store.database import Database, StoreUnwritable
from remote.store.evaluation import Evaluation, ItemsAt, Listed, Standing
from remote.store.evaluation_figures import TaskFigure
from remote.store.evaluation_files import Listing, stamps, take_listing
from remote.store.evaluation_list import read_evaluations
from remote.store.evaluation_rows import take_old_runs

__all__ = ["KINDS", "Evaluation", "Evaluations", "ItemsAt", "Kind", "Listed", "Standing", "TaskFigure"]

_RUNS_AT_ONCE = 50  # of an older store, in one transaction


class Evaluations:
    """The part of a store that holds evaluations."""

    _database: Database
    _evaluations_kept: tuple[int, list[Evaluation]] | None = None
    _evaluations_lock = threading.Lock()

    def evaluations(self, kind: Kind | None = None) -> list[Evaluation]:
        """All evaluations, or those of one kind, newest first. The list is the caller's own."""
        self._take_old_runs()
        with self._database.using() as db:
            db.execute("BEGIN")
            try:
                version = _version(db)
                kept = self._evaluations_kept
                if kept is None or kept[0] != version:
                    kept = self._evaluations_kept = (version, read_evaluations(db))
            finally:
                db.execute("COMMIT")
        return [one for one in kept[1] if kind is None or one.kind == kind]

    def evaluations_version(self) -> int:
        """A number that grows with every change of an evaluation, whichever process made it.

        It also grows while a run is at work on one.
        """
        with self._database.using() as db:
            return _version(db)

    def listed(self, host: str) -> Listed | None:
        """What a host's agent said last of its files of results; None when it never did."""
        query = "SELECT listed, left_out, steps FROM evaluation_hosts WHERE host = ?"
        problems = "SELECT problem FROM evaluation_files WHERE host = ? AND problem != '' ORDER BY path"
        with self._database.using() as db:
            row = db.execute(query, (host,)).fetchone()
            if row is None:
                return None
            at, left_out, steps = row
            lines = tuple(line for (line,) in db.execute(problems, (host,)))
            return Listed(at, left_out, lines, tuple(fields.json_object(steps) or {}))

    def listed_files(self, host: str) -> dict[str, str]:
        """Which text of each of a host's files of results has been read: what its agent need not send."""
        with self._database.using() as db:
            return stamps(db, host)

    def take_listing(self, host: str, listing: Listing, now: float) -> None:
        """Takes in an answer of a host's agent. Raises `UserError` when the store cannot be written."""
        with self._database.write() as db:
            take_listing(db, host, listing, now)

    def _take_old_runs(self) -> None:
        """Reads the events of runs that the store held before it had evaluations, once."""
        with self._evaluations_lock, contextlib.suppress(StoreUnwritable):  # then what is known is shown
            while self._has_old_runs():
                with self._database.write() as db:
                    take_old_runs(db, _RUNS_AT_ONCE)

    def _has_old_runs(self) -> bool:
        with self._database.using() as db:
            return db.execute("SELECT 1 FROM evaluated WHERE seq = -2 LIMIT 1").fetchone() is not None


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT last FROM evaluation_changes").fetchone()[0])
