"""One SQLite file used from many threads and, at the same time, from several processes."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nanochat.common.errors import Exit, UserError
from nanochat.common.paths import make_dir
from remote.store.schema import migrate

_BUSY_SECONDS = 10.0
STEADY = 5.0
"""Seconds without a failure after which a write that succeeds ends `Database.trouble`."""
_TRY_AGAIN = 0.005
"""Seconds between two tries for the write lock. SQLite's own waits grow to 0.1 s, and a process that writes
without a pause would hardly ever let such a waiter in."""

# By SQLite's primary result codes (sqlite.org/rescode.html): why a store cannot be written, and what helps.
_REASONS: dict[int, tuple[str, str]] = {
    sqlite3.SQLITE_FULL: ("the disk is full", "free some space there"),
    sqlite3.SQLITE_BUSY: ("another program holds it locked", "end that program, or wait for it"),
    sqlite3.SQLITE_LOCKED: ("another program holds it locked", "end that program, or wait for it"),
    sqlite3.SQLITE_READONLY: ("it is read-only", "see the permissions of the file and of its folder"),
    sqlite3.SQLITE_PERM: ("permission is denied", "see the permissions of the file and of its folder"),
    sqlite3.SQLITE_CANTOPEN: ("a file beside it cannot be opened", "see its folder: permissions, space left"),
    sqlite3.SQLITE_IOERR: ("the disk reports an error", "see the system's log"),
    sqlite3.SQLITE_CORRUPT: ("it is damaged", "move it away and it is read again from the hosts"),
    sqlite3.SQLITE_NOTADB: ("it is no database", "move it away and it is read again from the hosts"),
}


class StoreUnwritable(UserError):  # noqa: N818 - the name says what it is
    """The store's file takes nothing at present; what was to be written is not, and can be read again."""


class Database:
    """WAL-mode SQLite with a connection per thread; writers take turns, readers never wait for them.

    Raises `UserError` when the file cannot be opened, is no database, or is of a newer schema.
    """

    def __init__(self, path: Path, checkpoint_pages: int | None = None) -> None:
        self.path = path
        self._checkpoint_pages = checkpoint_pages
        self._local = threading.local()
        self._writer = threading.Lock()
        self._list_lock = threading.Lock()
        self._open: list[tuple[sqlite3.Connection, threading.RLock]] = []
        self._closed = False
        self.trouble = ""
        """Why writing fails, as one line for a person; empty while the file takes what is written."""
        self._failed = 0.0
        make_dir(path.parent)
        _keep_private(path)
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
                self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            db.execute("PRAGMA journal_mode = WAL")
            # NORMAL keeps every commit through a killed process; a power cut may undo the newest
            # commits, whole, with their offsets, so they are simply read again from the host.
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA foreign_keys = ON")
            if self._checkpoint_pages is not None:
                db.execute(f"PRAGMA wal_autocheckpoint = {self._checkpoint_pages}")
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
        with self._writer:
            try:
                with self.using() as db:
                    try:
                        _begin(db)
                        yield db
                        db.execute("COMMIT")
                    except BaseException:
                        if db.in_transaction:
                            db.execute("ROLLBACK")
                        raise
            except sqlite3.Error as error:
                reason = _reason(error)
                if reason is None:
                    raise
                failure = StoreUnwritable(
                    f"cannot write the store {self.path}: {reason[0]}", reason[1], Exit.FAILED
                )
                self.note_trouble(str(failure))
                raise failure from error
            # On a full disk small writes still find room: one that succeeds is no sign that all is well.
            if self.trouble and time.monotonic() - self._failed > STEADY:
                self.trouble = ""

    def note_trouble(self, trouble: str) -> None:
        """Says why a write has failed, here or in another process that writes for this one."""
        self.trouble, self._failed = trouble, time.monotonic()

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


def _keep_private(path: Path) -> None:
    """The store holds what run folders hold: like them it is its owner's alone, or a group's.

    A file that is there is not opened for it: closing it would drop the locks that SQLite has on it here.
    """
    with suppress(OSError):
        mode = 0o660 if path.parent.stat().st_mode & stat.S_ISGID else 0o600
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode))
        for file in (path, *path.parent.glob(f"{path.name}-*")):
            found = file.stat()
            if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) & ~mode:
                file.chmod(mode)


def _begin(db: sqlite3.Connection) -> None:
    """Takes the write lock within `_BUSY_SECONDS`, in turn with other processes."""
    deadline = time.monotonic() + _BUSY_SECONDS
    db.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                db.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(_TRY_AGAIN)
    finally:
        db.execute(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000:.0f}")


def _reason(error: sqlite3.Error) -> tuple[str, str] | None:
    """Why SQLite could not write, and what helps; None where neither file nor disk is at fault."""
    code = getattr(error, "sqlite_errorcode", None)
    known = None if code is None else _REASONS.get(code & 0xFF)
    if known is None and isinstance(error, sqlite3.OperationalError) and code != sqlite3.SQLITE_ERROR:
        return str(error), "see its folder"
    return known
