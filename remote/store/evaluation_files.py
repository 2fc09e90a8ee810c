"""What a host's agent lists of evaluations, taken into the store: files of results, of items, checkpoints."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from nanochat.common import fields
from nanochat.common.errors import UserError
from nanochat.config.known_tasks import centered, uncentered
from nanochat.evals.results import KINDS, read_result
from nanochat.evals.upstream_tables import UpstreamTable, read_csv, read_report
from remote.store.evaluation_draft import Draft, take_flat, take_result
from remote.store.evaluation_figures import TaskFigure
from remote.store.evaluation_rows import put

MOST_PATHS = 50_000
_CHAT_FILE = re.compile(r"chat_eval/(base|mid|sft|rl)_(.+)_(\d{1,12})\.json")


@dataclass(frozen=True)
class ListedFile:
    """A file of results. `text` None: as it was when it was listed before, or unreadable for `error`."""

    path: str
    bytes: int
    t: float
    stamp: str
    text: str | None = None
    error: str = ""


@dataclass(frozen=True)
class Listing:
    """One answer of an agent. `more`: the texts of some files come with the next one."""

    files: tuple[ListedFile, ...] = ()
    items: Mapping[str, int] = field(default_factory=dict)
    """Bytes of each file of items."""
    steps: Mapping[str, list[int]] = field(default_factory=dict)
    """Of the checkpoints there are, by name."""
    left_out: int = 0
    more: bool = False


def listing_of(answer: Mapping[str, Any]) -> Listing:
    """An agent's answer, read field by field: another machine wrote it. Never raises."""
    files = answer.get("files")
    items = answer.get("items")
    steps = answer.get("steps")
    found = [_listed(entry) for entry in (files if isinstance(files, list) else [])[:MOST_PATHS]]
    sizes = [_sized(entry) for entry in (items if isinstance(items, list) else [])[:MOST_PATHS]]
    return Listing(
        files=tuple(file for file in found if file is not None),
        items=dict(item for item in sizes if item is not None),
        steps=_steps(steps) if isinstance(steps, Mapping) else {},
        left_out=fields.whole(answer.get("left_out"), 0) or 0,
        more=answer.get("more") is True,
    )


def stamps(db: sqlite3.Connection, host: str) -> dict[str, str]:
    """Which text of each file of results has been read."""
    query = "SELECT path, stamp FROM evaluation_files WHERE host = ? AND stamp != ''"
    return dict(db.execute(query, (host,)))


def take_listing(db: sqlite3.Connection, host: str, listing: Listing, now: float) -> None:
    """Takes one answer in, inside a write transaction. What is no longer listed is dropped with the last."""
    for file in listing.files:
        if file.text is not None or file.error:
            _take_file(db, host, file)
    _note(db, host, [(path, size) for path, size in listing.items.items()])
    if listing.more:
        return
    _drop_absent(db, host, {file.path for file in listing.files} | listing.items.keys())
    steps = (json.dumps(dict(listing.steps)), listing.left_out)
    before = db.execute("SELECT steps, left_out FROM evaluation_hosts WHERE host = ?", (host,)).fetchone()
    db.execute(
        "INSERT INTO evaluation_hosts (host, listed, steps, left_out) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (host) DO UPDATE SET listed = excluded.listed, steps = excluded.steps,"
        " left_out = excluded.left_out",
        (host, now, *steps),
    )
    if before != steps:
        count_change(db)


def count_change(db: sqlite3.Connection) -> None:
    """Notes that something else is said of evaluations than before."""
    db.execute("UPDATE evaluation_changes SET last = last + 1")


def _take_file(db: sqlite3.Connection, host: str, file: ListedFile) -> None:
    drafts, problem = read_file(file)
    kept = {(draft.kind, draft.step) for draft in drafts}
    there = db.execute(
        "SELECT kind, step FROM evaluations WHERE host = ? AND source = ? AND run IS NULL", (host, file.path)
    ).fetchall()
    for kind, step in set(there) - kept:
        db.execute(
            "DELETE FROM evaluations WHERE host = ? AND source = ? AND kind = ? AND step = ?",
            (host, file.path, kind, step),
        )
    for draft in drafts:
        put(db, host, file.path, None, draft)
    db.execute(
        "INSERT INTO evaluation_files (host, path, bytes, stamp, problem) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (host, path) DO UPDATE SET bytes = excluded.bytes, stamp = excluded.stamp,"
        " problem = excluded.problem",
        # a file that could not be read has no stamp: it is asked for again
        (host, file.path, file.bytes, file.stamp if file.text is not None else "", problem),
    )


def _note(db: sqlite3.Connection, host: str, items: list[tuple[str, int]]) -> None:
    noted = db.executemany(
        "INSERT INTO evaluation_files (host, path, bytes) VALUES (?, ?, ?)"
        " ON CONFLICT (host, path) DO UPDATE SET bytes = excluded.bytes WHERE bytes != excluded.bytes",
        [(host, path, size) for path, size in items],
    )
    if noted.rowcount > 0:
        count_change(db)


def _drop_absent(db: sqlite3.Connection, host: str, listed: set[str]) -> None:
    known = db.execute("SELECT path, stamp FROM evaluation_files WHERE host = ?", (host,)).fetchall()
    absent = [(host, path) for path, _ in known if path not in listed]
    db.executemany("DELETE FROM evaluation_files WHERE host = ? AND path = ?", absent)
    db.executemany("DELETE FROM evaluations WHERE host = ? AND source = ? AND run IS NULL", absent)
    if absent:
        count_change(db)


# -- one file --------------------------------------------------------------------------------------


def read_file(file: ListedFile) -> tuple[list[Draft], str]:
    """The evaluations in a file of results, and what is wrong with it, in a line. Never raises."""
    if file.text is None:
        return [], f"{file.path}: {file.error}"
    try:
        drafts = list(_drafts(file, file.text))
    except UserError as error:
        return [], str(error)
    # NaN has no place in the table of upstream's, nor has a file whose end is missing a mean.
    return [replace(draft, complete=True, partial=_is_partial(draft)) for draft in drafts], ""


def _is_partial(draft: Draft) -> bool:
    return draft.kind in ("core", "chat") and draft.mean is None


def _drafts(file: ListedFile, text: str) -> Iterator[Draft]:
    folder, _, name = file.path.partition("/")
    if name.endswith(".csv"):
        yield _of_upstream(read_csv(text, file.path), file.t, reference=folder == "eval_bundle")
    elif name.endswith(".md"):
        for table in read_report(text, file.path):
            yield _of_upstream(table, file.t)
    else:
        yield _of_document(file, text)


def _of_document(file: ListedFile, text: str) -> Draft:
    """A document of ours. Those of earlier releases do not tell their checkpoint: their names do."""
    document = fields.json_object(text)
    named = _CHAT_FILE.fullmatch(file.path)
    if document is not None and named is not None and "kind" not in document:
        return _of_old_chat(document, f"{named[1]}/{named[2]}", int(named[3]), file)
    result = read_result(document)
    if result is None:
        raise UserError(f"{file.path}: not the result of an evaluation", "evaluate again, or delete it")
    step = -1 if result.step is None else result.step
    draft = Draft(result.kind, step, result.checkpoint, result.t or file.t, run_id=result.run)
    take_result(draft, result)
    if named is not None and not draft.items:
        draft.items = f"{file.path.removesuffix('.json')}.jsonl"
    return draft


def _of_old_chat(document: Mapping[str, Any], checkpoint: str, step: int, file: ListedFile) -> Draft:
    """Values by metric: the form of chat_eval's results in earlier releases."""
    draft = Draft("chat", step, checkpoint, file.t, items=f"{file.path.removesuffix('.json')}.jsonl")
    take_flat(draft, document)
    if not draft.tasks:
        raise UserError(f"{file.path}: not the result of an evaluation", "evaluate again, or delete it")
    return draft


def _of_upstream(table: UpstreamTable, t: float, reference: bool = False) -> Draft:
    assert table.kind in KINDS
    if table.source:
        checkpoint = f"{table.source}/{table.tag}" if table.tag else table.source
    else:
        checkpoint = table.model
    names = dict.fromkeys([*table.accuracy, *table.centered, *table.values])
    return Draft(
        table.kind,
        -1 if table.step is None else table.step,
        checkpoint,
        t,
        settings={name: _setting(value) for name, value in table.settings.items()},
        tasks={name: _upstream_figure(table, name) for name in names},
        mean=table.values.get("val") if table.kind == "bpb" else table.mean,
        reference=reference,
        upstream=not reference,
    )


def _upstream_figure(table: UpstreamTable, name: str) -> TaskFigure:
    """A task's figure; what its file leaves out follows from the accuracy of guessing."""
    accuracy, told = table.accuracy.get(name, table.values.get(name)), table.centered.get(name)
    if accuracy is None and told is not None:
        accuracy = uncentered(name, told)
    if told is None and accuracy is not None and table.kind == "chat":
        told = centered(name, accuracy)
    return TaskFigure(accuracy, told)


def _setting(value: str) -> float | int | str:
    try:
        found = float(value)
    except ValueError:
        return value
    return int(found) if found.is_integer() and "." not in value else found


# -- an answer -------------------------------------------------------------------------------------


def _listed(entry: object) -> ListedFile | None:
    if not isinstance(entry, Mapping):
        return None
    path, size = _path(entry.get("path")), fields.whole(entry.get("bytes"), 0)
    t, stamp = fields.moment(entry.get("t")), fields.text(entry.get("stamp"), 80)
    text = entry.get("text")
    if path is None or size is None or t is None or not stamp:
        return None
    error = fields.text(entry.get("error")) or ""
    return ListedFile(path, size, t, stamp, text if isinstance(text, str) else None, error)


def _sized(entry: object) -> tuple[str, int] | None:
    if not isinstance(entry, Mapping):
        return None
    path, size = _path(entry.get("path")), fields.whole(entry.get("bytes"), 0)
    return None if path is None or size is None else (path, size)


def _path(value: object) -> str | None:
    """A path inside of a base directory, as an agent lists it."""
    if not isinstance(value, str) or len(value) > 1_000 or not value.isprintable():
        return None
    return None if value.startswith("/") or ".." in value.split("/") else value


def _steps(told: Mapping[Any, Any]) -> dict[str, list[int]]:
    found = {}
    for name, steps in list(told.items())[:MOST_PATHS]:
        if isinstance(name, str) and isinstance(steps, list):
            read = [fields.whole(step, 0) for step in steps]
            found[fields.text(name) or ""] = [step for step in read if step is not None]
    return found
