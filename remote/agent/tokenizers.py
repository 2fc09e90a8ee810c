"""`tokenizers`: the tokenizers of a base directory, and the bytes of their files.

The folders are those of `nanochat.common.paths`, the names of files those of `nanochat.tokenizer.files`. What
a file says is for the reader to check.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import zlib
from typing import TYPE_CHECKING, Any

from .checkpoints import FOLDERS, MOST_TAGS, OURS, changed, folders
from .files import AgentError, open_bytes, open_regular, os_error, read_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    Json = dict[str, Any]

HEADS = ("tokenizer.json", "tokenizer.pkl")
"""The file that says what a folder is: ours, upstream nanochat's."""
FILES = re.compile(r"tokenizer\.(?:json|pkl)|tokenizer-[0-9a-f]{16}\.tiktoken")
FORMAT = "nanochat-tokenizer"
MOST = 500
"""Tokenizers in an answer."""
MOST_BYTES = 64 << 20
"""Of a file: a million tokens take a quarter."""
READ_LIMIT = 4 << 20
"""Bytes in one answer."""


def answer(base: Path, content: Json) -> Json:
    """Does what a request asks: `list`, or `read` a part of a file. Raises AgentError."""
    if content.get("do") == "list":
        return listed(base)
    if content.get("do") == "read":
        return read(base, content)
    raise AgentError("tokenizers can be listed or read", "usage")


def listed(base: Path) -> Json:
    """Folder, files with their bytes, size of the vocabulary where it says it, and a sha256 of what it is.

    A tokenizer that lies in several places is told once, the place of the latest training first.
    """
    found: dict[str, Json] = {}
    for folder in _folders(base):
        if len(found) >= MOST:
            break
        told = _told(base, folder)
        if told is not None:
            found.setdefault(told["identity"], told)
    return {"tokenizers": list(found.values())}


def _folders(base: Path) -> Iterator[Path]:
    """Where tokenizers may lie."""
    yield base / "tokenizer"
    known = {"runs", "tokenizer", *FOLDERS.values()}
    own = [folder for folder in sorted(folders(base)) if folder.name not in known]
    yield from own
    for folder in own:
        yield from sorted(folders(folder))[:MOST]  # as tok_sweep saves them
    for source in FOLDERS.values():
        for tag in sorted(folders(base / source), key=changed)[-MOST_TAGS:]:
            steps = [step for step in sorted(folders(tag), reverse=True) if OURS.fullmatch(step.name)]
            yield from (step / "tokenizer" for step in steps[:20])


def _told(base: Path, folder: Path) -> Json | None:
    for head in HEADS:
        try:
            with open_bytes(folder / head) as file:
                digest = hashlib.sha256(file.read(MOST_BYTES)).hexdigest()
        except OSError:
            continue
        meta = read_json(folder / head) or {}
        ranks = meta.get("ranks")
        size = meta.get("vocab_size")
        if head == HEADS[0] and (meta.get("format") != FORMAT or not isinstance(ranks, str)):
            return None  # of another program
        names = [head] + [name for name in [ranks] if isinstance(name, str) and FILES.fullmatch(name)]
        try:
            files = {name: os.stat(str(folder / name)).st_size for name in names}
        except OSError:
            return None
        return {
            "folder": str(folder.relative_to(base)),
            "files": files,
            "vocab_size": size if isinstance(size, int) else 0,
            "identity": str(meta.get("fingerprint") or digest),
        }
    return None


def read(base: Path, content: Json) -> Json:
    """Bytes of a file, compressed."""
    folder, name, offset = content.get("folder"), content.get("file"), content.get("offset")
    parts = folder.split("/") if isinstance(folder, str) else []
    if not 1 <= len(parts) <= 4 or not all(part and part[0] != "." and part.isprintable() for part in parts):
        raise AgentError("no folder of a tokenizer is called so", "usage")
    if not isinstance(name, str) or not FILES.fullmatch(name):
        raise AgentError("no file of a tokenizer is called so", "usage")
    if not isinstance(offset, int) or not 0 <= offset <= MOST_BYTES:
        raise AgentError("'offset' must be a number of bytes", "usage")
    path = base.joinpath(*parts) / name
    try:
        descriptor = open_regular(path)
        try:
            size = os.fstat(descriptor).st_size
            raw = os.pread(descriptor, READ_LIMIT, offset)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise os_error("cannot read the tokenizer", error) from error
    return {"size": size, "zlib": base64.b64encode(zlib.compress(raw, 1)).decode("ascii")}
