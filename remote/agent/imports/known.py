"""The documents of imports: which there are, whether one can be used, and what a log is known again by."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import open_bytes
from ..rundirs import RUN_ID
from .origin import FOLDER
from .sources import KINDS

if TYPE_CHECKING:
    Json = dict[str, Any]

HEAD = 64 * 1024
"""Bytes of a log's beginning that its content is known by."""
MOST_IMPORTS = 5_000


def head_of(path: Path, most: int) -> list[Any]:
    """How many bytes of a log's beginning there are, at most `most`, and their sha256."""
    with open_bytes(path) as file:
        raw = file.read(min(most, HEAD))
    return [len(raw), hashlib.sha256(raw).hexdigest()]


def ids(base: Path) -> list[str]:
    """The ids of all imports."""
    try:
        names = os.listdir(str(base / FOLDER))
    except OSError:
        return []
    found = [name[:-5] for name in names if name.endswith(".json") and not name.startswith(".")]
    return sorted(found)[:MOST_IMPORTS]


def usable(document: Json) -> bool:
    """Whether a document of an import has everything that is acted on."""
    head, runs = document.get("head"), document.get("runs")
    return (
        all(isinstance(document.get(name), str) for name in ("id", "path", "kind"))
        and document.get("kind") in KINDS
        and isinstance(document.get("memory"), dict)
        and isinstance(head, list)
        and len(head) == 2
        and type(head[0]) is int
        and isinstance(runs, list)
        and all(isinstance(entry, dict) and {"run_id", "seq", "size"} <= entry.keys() for entry in runs)
        and all(RUN_ID.fullmatch(str(entry["run_id"])) for entry in runs)
    )
