"""The store's tables and their migrations (SQLite, `PRAGMA user_version` is the schema version)."""

from __future__ import annotations

import sqlite3

from nanochat.common.errors import Exit, UserError

_V1 = """
CREATE TABLE hosts (
    name TEXT PRIMARY KEY,
    last_contact REAL NOT NULL DEFAULT 0
);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    host TEXT NOT NULL,
    run_id TEXT NOT NULL,
    run TEXT NOT NULL DEFAULT '{}',        -- run.json as the host has it
    state TEXT NOT NULL DEFAULT '{}',      -- state.json as the agent judged it last
    summary TEXT NOT NULL DEFAULT '{}',    -- folded from the events: newest values, attempts, results
    created_at REAL NOT NULL DEFAULT 0,
    UNIQUE (host, run_id)
);
CREATE TABLE files (                       -- how far each file has been read: committed with its events
    run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    file TEXT NOT NULL,
    offset INTEGER NOT NULL DEFAULT 0,
    last_seq INTEGER NOT NULL DEFAULT -1,
    bad_lines INTEGER NOT NULL DEFAULT 0,
    rereads INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (run, file)
) WITHOUT ROWID;
CREATE TABLE events (
    run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    t REAL NOT NULL,
    kind TEXT NOT NULL,
    step INTEGER,
    data TEXT NOT NULL,
    PRIMARY KEY (run, seq)
) WITHOUT ROWID;
CREATE INDEX events_by_kind ON events (run, kind, seq);
CREATE TABLE telemetry (
    run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    t REAL NOT NULL,
    kind TEXT NOT NULL,
    step INTEGER,
    data TEXT NOT NULL,
    PRIMARY KEY (run, seq)
) WITHOUT ROWID;
CREATE TABLE metrics (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    tail INTEGER NOT NULL DEFAULT 0,       -- points not yet packed into a block
    UNIQUE (run, name)
);
CREATE TABLE points (
    metric INTEGER NOT NULL REFERENCES metrics (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    step INTEGER NOT NULL,
    t REAL NOT NULL,
    value REAL,                            -- SQLite keeps no NaN: NULL means NaN
    attempt INTEGER NOT NULL,
    PRIMARY KEY (metric, seq)
) WITHOUT ROWID;
CREATE TABLE blocks (
    metric INTEGER NOT NULL REFERENCES metrics (id) ON DELETE CASCADE,
    first_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (metric, first_seq)
);
CREATE TABLE marks (                       -- the person's own: tag, note, pin
    run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK (kind IN ('tag', 'note', 'pin')),
    value TEXT NOT NULL,
    PRIMARY KEY (run, kind, value)
) WITHOUT ROWID;
"""

# Metrics that version 0.1.0 called otherwise; `nanochat.run.events` renames those of logs.
_V2 = """
UPDATE metrics SET name = 'rl/mixed_reward_fraction' WHERE name = 'rl/mixed';
UPDATE metrics SET name = 'rl/finished_fraction' WHERE name = 'rl/ended';
UPDATE runs SET summary = replace(
    replace(summary, '"rl/mixed":', '"rl/mixed_reward_fraction":'), '"rl/ended":', '"rl/finished_fraction":'
) WHERE summary LIKE '%"rl/%';
"""
_V3 = """
CREATE TABLE passed (                      -- variables that the person has let a run have
    run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    PRIMARY KEY (run, name)
) WITHOUT ROWID;
"""
_V4 = """
ALTER TABLE runs ADD COLUMN problem TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN here INTEGER NOT NULL DEFAULT 1;
"""  # problem: what is wrong with the run's files; here: whether it runs on this host, not on one beside it

# `changed` numbers the rows in the order of their last change, so that a reader of a long list asks only for
# what is new to it, whichever process wrote it. SQLite cannot widen a CHECK: the marks move to a new table.
_V5 = """
ALTER TABLE runs ADD COLUMN changed INTEGER NOT NULL DEFAULT 0;
CREATE INDEX runs_by_change ON runs (changed);
CREATE TABLE new_marks (                   -- the person's own: tag, note, pin, archive
    run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK (kind IN ('tag', 'note', 'pin', 'archive')),
    value TEXT NOT NULL,
    PRIMARY KEY (run, kind, value)
) WITHOUT ROWID;
INSERT INTO new_marks SELECT run, kind, value FROM marks;
DROP TABLE marks;
ALTER TABLE new_marks RENAME TO marks;
"""
_V6 = """
ALTER TABLE files ADD COLUMN size INTEGER NOT NULL DEFAULT 0;
ALTER TABLE blocks ADD COLUMN form INTEGER NOT NULL DEFAULT 0;
DROP INDEX events_by_kind;
CREATE INDEX events_by_kind ON events (run, kind, seq) WHERE kind != 'metric';
"""
# size: bytes that the host's file had when last told. form: how a block is packed, see `series`. Nobody looks
# for metrics by their kind, and nearly all events are metrics: in the index they cost a tenth of all writing.

# The last number given out for a change, even to a run that is gone: given twice, it would be passed over.
_V7 = """
CREATE TABLE changes (last INTEGER NOT NULL);
INSERT INTO changes SELECT coalesce(max(changed), 0) FROM runs;
CREATE TRIGGER run_gone AFTER DELETE ON runs BEGIN UPDATE changes SET last = last + 1; END;
"""

# Votes of blind comparisons in the Chat screen: no host has them.
_V8 = """
CREATE TABLE votes (
    id INTEGER PRIMARY KEY,
    t REAL NOT NULL,
    question TEXT NOT NULL,
    answers TEXT NOT NULL,                 -- a JSON list: model, host, text, temperature, top_k, seed
    winner INTEGER,                        -- the index of the better one; NULL: none was
    all_bad INTEGER NOT NULL DEFAULT 0
);
"""

# Seconds that the host's clock is ahead of ours: what its runs note is told by that clock.
_V9 = """
ALTER TABLE hosts ADD COLUMN clock_ahead REAL NOT NULL DEFAULT 0;
"""

# Evaluations, from the events of runs and from the files that hosts list. `evaluated` says up to which event
# a run's have been taken; -2 for the runs of older stores. The changes are counted as those of runs are, and
# a run at work changes what is said of the evaluation it makes.
_V10 = """
CREATE TABLE evaluations (
    id INTEGER PRIMARY KEY,
    host TEXT NOT NULL,
    source TEXT NOT NULL,                  -- the run's id, or the path of the file in the base directory
    run INTEGER REFERENCES runs (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    step INTEGER NOT NULL,                 -- -1: none
    checkpoint TEXT NOT NULL,
    t REAL NOT NULL,
    complete INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (host, source, kind, step)
);
CREATE INDEX evaluations_by_run ON evaluations (run);
CREATE INDEX evaluations_under_way ON evaluations (run) WHERE complete = 0;
CREATE TABLE evaluated (
    run INTEGER PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL
);
INSERT INTO evaluated SELECT id, -2 FROM runs;
CREATE TABLE evaluation_files (            -- as the host listed them last
    host TEXT NOT NULL,
    path TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    stamp TEXT NOT NULL DEFAULT '',        -- of a file of results: which text of it has been read
    problem TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (host, path)
) WITHOUT ROWID;
CREATE TABLE evaluation_hosts (
    host TEXT PRIMARY KEY,
    listed REAL NOT NULL,
    steps TEXT NOT NULL DEFAULT '{}',      -- of the checkpoints there are, by name
    left_out INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE evaluation_changes (last INTEGER NOT NULL);
INSERT INTO evaluation_changes VALUES (0);
CREATE TRIGGER evaluation_new AFTER INSERT ON evaluations BEGIN
    UPDATE evaluation_changes SET last = last + 1;
END;
CREATE TRIGGER evaluation_other AFTER UPDATE ON evaluations BEGIN
    UPDATE evaluation_changes SET last = last + 1;
END;
CREATE TRIGGER evaluation_gone AFTER DELETE ON evaluations BEGIN
    UPDATE evaluation_changes SET last = last + 1;
END;
CREATE TRIGGER evaluation_under_way AFTER UPDATE OF state, summary ON runs
WHEN EXISTS (SELECT 1 FROM evaluations WHERE run = NEW.id AND complete = 0) BEGIN
    UPDATE evaluation_changes SET last = last + 1;
END;
"""

#: One script a version, applied in order; a script once released never changes.
MIGRATIONS: tuple[str, ...] = (_V1, _V2, _V3, _V4, _V5, _V6, _V7, _V8, _V9, _V10)


def migrate(db: sqlite3.Connection, path: str) -> None:
    """Brings `db` to the newest schema, all steps in one transaction each, safe with other processes.

    Raises `UserError` when the file was written by a newer version of the program.
    """
    while _version(db) != len(MIGRATIONS):  # asked first: a current store opens while another app writes it
        db.execute("BEGIN IMMEDIATE")
        try:
            version = _version(db)
            if version > len(MIGRATIONS):
                raise UserError(
                    f"{path} was written by a newer version of nanochat (schema {version})",
                    "upgrade this one, or use another --base-dir",
                    Exit.USAGE,
                )
            if version == len(MIGRATIONS):
                db.execute("ROLLBACK")
                return
            for statement in _statements(MIGRATIONS[version]):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {version + 1}")
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _statements(script: str) -> list[str]:
    # executescript() would commit between statements; a migration must be whole or not at all.
    lines = (line.split("--", 1)[0].rstrip() for line in script.splitlines())
    found, statement = [], ""
    for piece in "\n".join(lines).split(";")[:-1]:
        statement += f"{piece};"
        if sqlite3.complete_statement(statement):  # not inside of a trigger
            found.append(statement)
            statement = ""
    return found
