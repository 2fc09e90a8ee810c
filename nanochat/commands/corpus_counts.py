"""The corpora under the base directory, and how often the tokens of a vocabulary stand in one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from nanochat.common.text import percent, size_bytes

if TYPE_CHECKING:
    from nanochat.tokenizer.explore.counting import TokenCounts
    from nanochat.tokenizer.explore.splitter import Splitter


@dataclass(frozen=True)
class Corpus:
    """A folder of shards, named as under the base directory."""

    name: str
    folder: Path


def corpora(layout: Layout) -> list[Corpus]:
    """The folders of shards there are: the default one first, then those of plans. Reads folders."""
    folders = [layout.data_dir(), layout.base / "base_data", *sorted(layout.base.glob("*/data"))]
    return [
        Corpus(layout.told(folder), folder)
        for folder in dict.fromkeys(folders)
        if folder.is_dir() and next(folder.glob("*.parquet"), None) is not None
    ]


@dataclass(frozen=True)
class Progress:
    """How far counting is: `share` by row groups, bytes of text so far."""

    share: float
    bytes: int

    def __str__(self) -> str:
        return f"{percent(self.share)}, {size_bytes(self.bytes)} of text"


def kept_counts(base: Path, splitter: Splitter, corpus: Corpus) -> TokenCounts | None:
    """What was counted earlier; None when nothing was, or the folder is no corpus. Call it in a thread."""
    from nanochat.tokenizer.explore.counting import cached_counts

    try:
        data = _fingerprint(corpus)
    except UserError:
        return None
    return cached_counts(base, splitter, data)


def count_tokens(
    base: Path,
    splitter: Splitter,
    corpus: Corpus,
    progress: Callable[[Progress], object],
    cancelled: Callable[[], bool],
) -> TokenCounts | None:
    """Counts every id over the training shards; None once `cancelled()` says so. Call it in a thread.

    Raises `UserError` for shards that cannot be read.
    """
    from nanochat.data.shards import iter_row_groups, shard_info, split_shards
    from nanochat.tokenizer.explore.counting import count_corpus

    shards = split_shards(corpus.folder).train
    total = sum(shard_info(path).row_groups for path in shards)
    done = 0

    def batches() -> Iterator[list[str]]:
        nonlocal done
        for _, _, documents in iter_row_groups(shards):
            yield documents
            done += 1

    return count_corpus(
        base,
        splitter,
        _fingerprint(corpus),
        batches(),
        progress=lambda documents, size: progress(Progress(min(1.0, (done + 1) / max(1, total)), size)),
        cancelled=cancelled,
    )


def _fingerprint(corpus: Corpus) -> str:
    from nanochat.data.fingerprint import shards_fingerprint
    from nanochat.data.shards import split_shards

    try:
        return str(shards_fingerprint(split_shards(corpus.folder))["sha256"])
    except OSError as error:
        raise UserError(f"cannot read {corpus.folder}: {error.strerror}") from error
