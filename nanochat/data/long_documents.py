"""What cropping would cost: the share of the tokens that packing drops, told before the first step."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nanochat.data.dataloader import TOKENIZE_DOCUMENTS, Encoder, encode_documents
from nanochat.data.packing import BUFFER_DOCUMENTS, cropped_share
from nanochat.data.shards import open_shard, read_row_group

SAMPLE_DOCUMENTS = 1000
SAMPLE_CHARS = 8_000_000
"""Characters that are tokenized for the estimate at most, about a second's work."""
SAMPLE_SHARDS = 4
MOST_ROWS = 10_000
"""Rows that are packed for the estimate at most, some tenths of a second; then the share hardly changes."""
CONTINUE_FROM = 0.5
"""Where cropping would drop more than this, long documents continue in the next row unless told otherwise."""


@dataclass(frozen=True)
class Cropping:
    """An estimate of what cropping drops, from a sample of the documents."""

    share: float
    """Fraction of the tokens, 0 … 1."""
    documents: int
    """Documents in the sample."""

    def __str__(self) -> str:
        share = "less than 0.1" if self.share < 0.001 else f"about {100 * self.share:.1f}"
        return f"{share} % of the tokens (by a sample of {self.documents:,} documents)"


def estimate_cropping(tokenizer: Encoder, paths: Sequence[Path], context: int, rows: int) -> Cropping | None:
    """What cropping drops while `rows` rows of `context` + 1 tokens are packed; None for an empty sample.

    The sample is the beginning of up to four shards, so that a few footers are read, not all. Raises
    `UserError` as `open_shard` and `read_row_group` do.
    """
    lengths: list[int] = []
    every = max(1, len(paths) // SAMPLE_SHARDS)
    chosen = paths[::every][:SAMPLE_SHARDS]
    for path in chosen:
        for texts in _beginning(path, SAMPLE_DOCUMENTS // len(chosen), SAMPLE_CHARS // len(chosen)):
            lengths += map(len, encode_documents(tokenizer, texts))
    if not lengths:
        return None
    share = cropped_share(lengths, context + 1, BUFFER_DOCUMENTS, min(rows, MOST_ROWS))
    return Cropping(share, len(lengths))


def _beginning(path: Path, documents: int, chars: int) -> Iterator[list[str]]:
    """The first documents of a shard, at least one and at most about so many, in batches."""
    batch: list[str] = []
    with open_shard(path) as file:
        for group in range(file.num_row_groups):
            for text in read_row_group(file, path, group):
                batch.append(text)
                documents, chars = documents - 1, chars - len(text)
                done = documents <= 0 or chars <= 0
                if done or len(batch) == TOKENIZE_DOCUMENTS:
                    yield batch
                    batch = []
                if done:
                    return
    if batch:
        yield batch
