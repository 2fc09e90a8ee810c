"""`build.json`, which `data build` writes beside its shards: what they are made of, how many documents each
holds, and the digest of each one's footer."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from nanochat.common.fields import json_object, text, whole
from nanochat.common.files import open_regular, read_regular

MANIFEST = "build.json"
FORMAT = "nanochat-shards"
_TAIL = 8
"""Bytes at the end of a parquet file: the length of its footer (4, little-endian), and `PAR1`."""


@dataclass(frozen=True)
class BuiltShard:
    """What `build.json` says of a shard: documents, and the sha256 of its footer."""

    documents: int
    footer: str


def footer_sha256(path: Path) -> str:
    """The sha256 of a parquet file's footer, which has no checksum of its own. Raises `OSError`."""
    with open_regular(path) as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _TAIL))
        tail = file.read()
        file.seek(max(0, size - _TAIL - int.from_bytes(tail[:4], "little")))
        return hashlib.sha256(file.read()).hexdigest()


def built_shard(path: Path) -> BuiltShard | None:
    """What `build.json` beside `path` says of that shard.

    None where it lists none, where another tool wrote it, and for one of version 0.1.0.
    """
    manifest = path.with_name(MANIFEST)
    try:
        found = manifest.stat()
        return _read(manifest, found.st_mtime_ns, found.st_size).get(path.name)
    except OSError:
        return None


@lru_cache(maxsize=16)
def _read(path: Path, modified: int, size: int) -> Mapping[str, BuiltShard]:
    content = json_object(read_regular(path)) or {}
    listed = content.get("files")
    if content.get("format") != FORMAT or not isinstance(listed, dict):
        return {}
    shards = {}
    for name, entry in listed.items():
        entry = entry if isinstance(entry, dict) else {}
        documents, footer = whole(entry.get("documents"), low=0), text(entry.get("footer_sha256"))
        if documents is not None and footer:
            shards[name] = BuiltShard(documents, footer)
    return shards
