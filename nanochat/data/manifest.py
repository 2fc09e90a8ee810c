"""`build.json`, which `data build` writes beside its shards: what they are made of, and how many documents
each holds."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from nanochat.common.fields import json_object, whole

MANIFEST = "build.json"
FORMAT = "nanochat-shards"


def documents_of_shards(folder: Path) -> Mapping[str, int]:
    """File name → documents, for the shards that `build.json` of `folder` lists.

    Empty where there is none, where another tool wrote it, and for one of version 0.1.0, which lists none.
    """
    try:
        found = (folder / MANIFEST).stat()
        return _read(folder / MANIFEST, found.st_mtime_ns, found.st_size)
    except OSError:
        return {}


@lru_cache(maxsize=16)
def _read(path: Path, modified: int, size: int) -> Mapping[str, int]:
    content = json_object(path.read_bytes()) or {}
    listed = content.get("rows")
    if content.get("format") != FORMAT or not isinstance(listed, dict):
        return {}
    return {name: rows for name, value in listed.items() if (rows := whole(value, low=0)) is not None}
