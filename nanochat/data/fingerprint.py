"""What a training reads, in a few words and one digest: so that a resume on other data is noticed.

No shard is opened: names and sizes, and the digest of `build.json` where there is one, tell other text well
enough, on a network disk too.
"""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from nanochat.common.files import open_regular
from nanochat.data.manifest import MANIFEST
from nanochat.data.shards import ShardSet


def shards_fingerprint(shards: ShardSet) -> dict[str, Any]:
    """`name`, `size` and `sha256` of a shard set, for a checkpoint's metadata."""
    paths = [*shards.train, shards.val]
    sizes = [path.stat().st_size for path in paths]
    build = ""
    with contextlib.suppress(OSError), open_regular(shards.folder / MANIFEST) as file:
        build = hashlib.file_digest(file, "sha256").hexdigest()
    listed = [[path.name, size] for path, size in zip(paths, sizes, strict=True)]
    return {
        "name": shards.folder.name,
        "size": f"{len(paths)} shards, {sum(sizes):,} bytes",
        "sha256": digest([listed, build]),
    }


def digest(content: object) -> str:
    """A sha256 of anything JSON can say; of other values, of their text."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def describe(fingerprint: Mapping[str, Any]) -> str:
    """A fingerprint as a line shows it."""
    short = str(fingerprint.get("sha256", ""))[:12]
    return f"{fingerprint.get('name', '?')} ({fingerprint.get('size', '?')}, {short})"
