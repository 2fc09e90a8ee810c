"""About how much text shards hold, told by a few of their footers."""

from collections.abc import Sequence
from pathlib import Path

from nanochat.data.shards import open_shard

FOOTERS = 4
"""Shards whose footers are read: on a network disk those of thousands take minutes."""


def expected_bytes(shards: Sequence[Path]) -> int:
    """About how many bytes of text the shards hold: what a few footers tell, and as much for each byte of the
    other files. 0 without shards. Raises `UserError` for a damaged one among those few."""
    text = size = 0
    for path in shards[:FOOTERS]:
        with open_shard(path) as file:
            footer = file.metadata
            text += sum(footer.row_group(index).total_byte_size for index in range(footer.num_row_groups))
            size += path.stat().st_size
    return text * sum(path.stat().st_size for path in shards) // size if size else 0
