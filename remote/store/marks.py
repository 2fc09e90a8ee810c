"""What the user writes about runs, which only this store holds: tags, notes, pins, archive, passed names.

A run that several hosts see has a row for each. Its marks are on all of them: which one is shown may change.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable
from typing import Literal

from nanochat.common.errors import UserError
from remote.runs import split_key
from remote.store.database import Database
from remote.store.run_rows import touch

Mark = Literal["tag", "note", "pin", "archive"]


class Marks:
    """The part of a store that the user writes. Each raises `UserError` for a run that is not known."""

    _database: Database

    def let_have(self, keys: Iterable[str], names: Iterable[str]) -> None:
        """Notes variables that runs may be handed from here, now and when they are resumed."""
        with self._database.write() as db:
            for run, name in itertools.product([self._known(key) for key in keys], names):
                db.execute("INSERT INTO passed (run, name) VALUES (?, ?) ON CONFLICT DO NOTHING", (run, name))
                touch(db, run)

    def tag(self, key: str, tag: str, on: bool = True) -> None:
        """Adds a tag to a run, or takes it away."""
        self._mark(key, "tag", tag, on)

    def note(self, key: str, text: str) -> None:
        """Sets a run's note; empty text removes it."""
        with self._database.write() as db:
            for run in same_runs(db, self._known(key)):
                db.execute("DELETE FROM marks WHERE run = ? AND kind = 'note'", (run,))
                if text:
                    db.execute("INSERT INTO marks (run, kind, value) VALUES (?, 'note', ?)", (run, text))
                touch(db, run)

    def pin(self, key: str, on: bool = True) -> None:
        """Pins a run to the top of the table, or lets it go."""
        self._mark(key, "pin", "", on)

    def archive(self, key: str, on: bool = True) -> None:
        """Leaves a run out of lists, or takes it back into them."""
        self._mark(key, "archive", "", on)

    def _mark(self, key: str, kind: Mark, value: str, on: bool) -> None:
        if on:
            query = "INSERT INTO marks (run, kind, value) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
        else:
            query = "DELETE FROM marks WHERE run = ? AND kind = ? AND value = ?"
        with self._database.write() as db:
            for run in same_runs(db, self._known(key)):
                db.execute(query, (run, kind, value))
                touch(db, run)

    def _locate(self, key: str) -> tuple[sqlite3.Connection, int]:
        db = self._database.connection()
        host, run_id = split_key(key)
        row = db.execute("SELECT id FROM runs WHERE host = ? AND run_id = ?", (host, run_id)).fetchone()
        return db, -1 if row is None else int(row[0])

    def _known(self, key: str) -> int:
        _, run = self._locate(key)
        if run < 0:
            raise UserError(f"no run '{key}' in the store", "see `nanochat runs ls`")
        return run


def same_runs(db: sqlite3.Connection, run: int) -> list[int]:
    """The row `run` and those of the same run as other hosts see it."""
    found = db.execute(
        "SELECT other.id FROM runs AS one JOIN runs AS other ON other.run_id = one.run_id"
        " AND (other.id = one.id OR (other.created_at = one.created_at AND one.created_at > 0))"
        " WHERE one.id = ?",
        (run,),
    )
    return [number for (number,) in found]


def take_marks_over(db: sqlite3.Connection, run: int) -> None:
    """Gives a row the marks that the same run has as other hosts see it."""
    for other in same_runs(db, run):
        db.execute(
            "INSERT INTO marks (run, kind, value) SELECT ?, kind, value FROM marks WHERE run = ?"
            " ON CONFLICT DO NOTHING",
            (run, other),
        )
