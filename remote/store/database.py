"""One SQLite file used from many threads and, at the same time, from several processes."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nanochat.common.errors import Exit, UserError
from nanochat.common.paths import make_dir
from remote.store.schema import migrate

_BUSY_MS = 30_000


class Database:
    """WAL-mode SQLite with a connection per thread; writers take turns, readers never wait for them.

    Raises `UserError` when the file cannot be opened, is no database, or is of a newer schema.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._writer = threading.Lock()
        self._list_lock = threading.Lock()
        self._open: list[tuple[sqlite3.Connection, threading.RLock]] = []
        self._closed = False
        make_dir(path.parent)
        try:
            migrate(self.connection(), str(path))
        except sqlite3.Error as error:
            self.close()
            raise UserError(
                f"cannot use the store {path}: {error}",
                "move it away and it is read again from the hosts",
                Exit.FAILED,
            ) from error

    def connection(self) -> sqlite3.Connection:
        """This thread's connection."""
        if self._closed:
            raise sqlite3.ProgrammingError("the store is closed")
        db = getattr(self._local, "db", None)
        if db is None:
            db = sqlite3.connect(
                self.path, timeout=_BUSY_MS / 1000, isolation_level=None, check_same_thread=False
            )
            db.execute("PRAGMA journal_mode = WAL")
            # NORMAL keeps every commit through a killed process; a power cut may undo the newest
            # commits, whole, with their offsets, so they are simply read again from the host.
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA foreign_keys = ON")
            self._local.db, self._local.busy = db, threading.RLock()
            with self._list_lock:
                self._open.append((db, self._local.busy))
        assert isinstance(db, sqlite3.Connection)
        return db

    @contextmanager
    def using(self) -> Iterator[sqlite3.Connection]:
        """This thread's connection, which `close` leaves alone until the block has ended."""
        db = self.connection()
        with self._local.busy:
            if self._closed:
                raise sqlite3.ProgrammingError("the store is closed")
            yield db

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction that holds the write lock from its start; undone whole on any error."""
        with self._writer, self.using() as db:
            try:
                db.execute("BEGIN IMMEDIATE")
                yield db
                db.execute("COMMIT")
            except BaseException as error:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError):
                    raise UserError(
                        f"cannot write the store {self.path}: {error}", "free some space", Exit.FAILED
                    ) from error
                raise

    def close(self) -> None:
        """Closes every thread's connection, each after what it is doing; later use raises
        `sqlite3.ProgrammingError`.
        """
        with self._list_lock:
            self._closed = True
            connections, self._open = self._open, []
        for db, busy in connections:
            with busy:
                db.close()
