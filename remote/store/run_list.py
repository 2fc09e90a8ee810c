"""Every run as a list that is kept, and brought up to date by reading only what changed."""

from __future__ import annotations

import threading
from dataclasses import replace

from remote.runs import RunRow
from remote.store.rows import once
from remote.store.store import Store


class RunList:
    """The rows of a store, newest first. A row that did not change stays the same object.

    `update` blocks on the disk; threads may share a list.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._version = -1
        self._all: list[RunRow] = []
        self._at: dict[str, int] = {}
        self._shown: list[RunRow] = []
        self._shown_at: dict[str, int] = {}

    def update(self) -> list[RunRow]:
        """The rows as they are now. The list is the caller's own."""
        with self._lock:
            changes = self._store.changed_runs(self._version)
            if changes.count != len(self._all) + sum(row.key not in self._at for row in changes.rows):
                changes = self._store.changed_runs(-1)  # some are gone
                self._all, self._at, self._shown, self._shown_at = [], {}, [], {}
            self._version = changes.version
            self._take(changes.rows)
            self._hear(changes.contacts)
            return list(self._shown)

    def _take(self, rows: list[RunRow]) -> None:
        """Puts changed rows in their places; orders anew only where a run is new or is another's double."""
        if all(row.key in self._at and _place(row) == _place(self._all[self._at[row.key]]) for row in rows):
            for row in rows:
                self._put(row)
            return
        fresh = {row.key: row for row in rows}
        kept = [row for row in self._all if row.key not in fresh]
        self._all = sorted([*kept, *rows], key=lambda row: (row.created_at, row.run_id), reverse=True)
        self._at = {row.key: index for index, row in enumerate(self._all)}
        self._shown = once(self._all)
        self._shown_at = {row.key: index for index, row in enumerate(self._shown)}

    def _hear(self, contacts: dict[str, tuple[float, float]]) -> None:
        """When a host was last heard tells how long a run on it has taken, where the run notes no time; its
        clock how old the run is."""
        for row in self._shown:
            heard, ahead = contacts.get(row.host, (row.last_contact, row.clock_ahead))
            if row.clock_ahead != ahead or (row.at_work and row.last_contact != heard):
                self._put(replace(row, last_contact=heard, clock_ahead=ahead))

    def _put(self, row: RunRow) -> None:
        self._all[self._at[row.key]] = row
        if row.key in self._shown_at:
            self._shown[self._shown_at[row.key]] = row


def _place(row: RunRow) -> tuple[float, str, bool, str]:
    """What decides where a row stands in the list, and whether it stands for its double."""
    return row.created_at, row.run_id, row.here, row.stage
