"""`evaluations`: the files of results in a base directory, with their text where it is new to the asker, and
where the items of evaluations lie.

What the files say is for the reader to find out; here they are only listed, and bounded. The folders are
those that the stages, and upstream nanochat, write to.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import stat
import zlib
from typing import TYPE_CHECKING, Any

from .checkpoints import saved_steps
from .files import AgentError, open_bytes, open_regular, os_error
from .rundirs import RUN_ID

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    Json = dict[str, Any]

FOLDERS = {
    "base_eval": (".json", ".csv"),
    "chat_eval": (".json",),
    "base_loss": (".json",),
    "tok_eval": (".json",),
    "report": (".md",),
    "eval_bundle": (".csv",),
}
ITEMS = ("core-items.jsonl", "chat-items.jsonl")
PUBLISHED = re.compile(r"openai-community-[\w.-]{1,80}\.csv")
"""The tables of published models that lie beside the bundle; its other tables are no results."""
STEP = re.compile(r"step_\d{6,12}")
MOST_FILES = 2_000
"""Of each folder; of more the ones written to last."""
MOST_RUNS = 2_000
MOST_BYTES = 256 * 1024
"""Of a file of results: a table has two thousand."""
READ_LIMIT = 4 << 20
"""Bytes of items in one answer."""
MOST_TEXT = 2 << 20
"""Characters of text in one answer; what is left is sent when asked again."""


def evaluations(base: Path, content: Json) -> Json:
    """The files of results, those of items, and the steps of the checkpoints there are.

    `known` of the request maps paths to the stamps of an earlier answer: their text is not sent again.
    `more` says that the text of some files is still to come.
    """
    known = content.get("known", {})
    if not isinstance(known, dict):
        raise AgentError("'known' must be an object", "usage")
    files: list[Json] = []
    left_out, room, more = 0, MOST_TEXT, False
    for folder in sorted(FOLDERS):
        found = sorted(_files(base / folder, FOLDERS[folder]), key=lambda entry: entry[1])
        left_out += max(0, len(found) - MOST_FILES)
        for name, modified, size in found[-MOST_FILES:]:
            path = folder + "/" + name
            entry: Json = {"path": path, "bytes": size, "t": modified, "stamp": "%d-%.6f" % (size, modified)}
            if known.get(path) != entry["stamp"]:
                if room > 0:
                    _add_text(base / path, entry)
                    room -= len(entry.get("text") or "")
                else:
                    more = True
                    continue
            files.append(entry)
    runs = sorted(_names(base / "runs", RUN_ID))
    left_out += max(0, len(runs) - MOST_RUNS)
    items = [item for run in runs[-MOST_RUNS:] for item in _items(base, run)]
    items += _chat_items(base)
    return {
        "files": files,
        "items": items,
        "steps": saved_steps(base),
        "left_out": left_out,
        "more": more,
    }


def _files(folder: Path, endings: tuple[str, ...]) -> Iterator[tuple[str, float, int]]:
    """Name, time and size of the regular files of a folder that may be results."""
    try:
        with os.scandir(str(folder)) as entries:
            for entry in entries:
                if not entry.name.endswith(endings) or not _is_plain(entry.name):
                    continue
                if folder.name == "eval_bundle" and not PUBLISHED.fullmatch(entry.name):
                    continue
                try:
                    found = entry.stat()
                except OSError:
                    continue
                if stat.S_ISREG(found.st_mode):
                    yield entry.name, found.st_mtime, found.st_size
    except OSError:
        return


def _add_text(path: Path, entry: Json) -> None:
    """The text of a file, or in a word why there is none."""
    if entry["bytes"] > MOST_BYTES:
        entry["error"] = "it is larger than %d KiB" % (MOST_BYTES >> 10)
        return
    try:
        with open_bytes(path) as file:
            entry["text"] = file.read(MOST_BYTES).decode("utf-8", "replace")
    except OSError as error:
        entry["error"] = error.strerror or str(error)


def _items(base: Path, run: str) -> Iterator[Json]:
    """The items of a run's evaluation, or of those that a training made on its way."""
    for name in ITEMS:
        yield from _item(base, "runs/" + run + "/" + name)
    for step in sorted(_names(base / "runs" / run / "core", STEP)):
        yield from _item(base, "runs/" + run + "/core/" + step + "/" + ITEMS[0])


def _chat_items(base: Path) -> Iterator[Json]:
    """The copies of chat items that lie beside their results."""
    found = sorted(_files(base / "chat_eval", (".jsonl",)), key=lambda entry: entry[1])
    for name, _, size in found[-MOST_FILES:]:
        yield {"path": "chat_eval/" + name, "bytes": size}


def _item(base: Path, path: str) -> Iterator[Json]:
    try:
        found = os.stat(str(base / path))
    except OSError:
        return
    if stat.S_ISREG(found.st_mode):
        yield {"path": path, "bytes": found.st_size}


def _names(folder: Path, form: re.Pattern[str]) -> Iterator[str]:
    """The names in a folder that have that form."""
    try:
        names = os.listdir(str(folder))
    except OSError:
        return
    yield from (name for name in names if form.fullmatch(name))


def _is_plain(name: str) -> bool:
    return name.isprintable() and not name.startswith(".") and len(name) <= 200


READABLE = re.compile(
    r"runs/[A-Za-z0-9][A-Za-z0-9._-]{0,119}/(?:core/step_\d{6,12}/)?(?:core|chat)-items\.jsonl"
    r"|chat_eval/[^/\0]{1,194}\.jsonl"
)


def read_items(base: Path, path: str, offset: int, limit: int, before: bool = False) -> Json:
    """Bytes of a file of items, compressed. `identity` is another for other content, and "" without a file.

    `before`: also the sha256 of what lies before `offset`, by which a reader sees whether the file has only
    been added to. Raises AgentError for what can be no such file.
    """
    if not READABLE.fullmatch(path) or not _is_plain(path.rpartition("/")[2]):
        raise AgentError("not a file of items: %r" % (path,), "usage")
    try:
        descriptor = open_regular(base / path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return {"offset": 0, "size": 0, "identity": "", "before": "", "zlib": _packed(b"")}
    except OSError as error:
        raise os_error("cannot read " + path, error) from error
    try:
        found = os.fstat(descriptor)
        start = min(max(0, offset), found.st_size)
        raw = os.pread(descriptor, max(0, min(limit, READ_LIMIT, found.st_size - start)), start)
        digest = _sha256(descriptor, start) if before else ""
    finally:
        os.close(descriptor)
    identity = "%d-%d-%d" % (found.st_ino, found.st_size, found.st_mtime_ns)
    return {
        "offset": start,
        "size": found.st_size,
        "identity": identity,
        "before": digest,
        "zlib": _packed(raw),
    }


def _sha256(descriptor: int, size: int) -> str:
    """Of the first `size` bytes. An inode would not do: a deleted file's number is given out again."""
    digest, at = hashlib.sha256(), 0
    while at < size:
        raw = os.pread(descriptor, min(READ_LIMIT, size - at), at)
        if not raw:
            break
        digest.update(raw)
        at += len(raw)
    return digest.hexdigest()


def _packed(raw: bytes) -> str:
    return base64.b64encode(zlib.compress(raw, 1)).decode()
