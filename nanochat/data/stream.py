"""Rows of the classic era: documents, each after bos, in one endless stream that is cut into rows anywhere.

Classic models were trained and evaluated on these, a batch of B·T+1 tokens at a time, the last of which is
only a target, never an input.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nanochat.common.errors import UserError
from nanochat.data.dataloader import TOKENIZE_DOCUMENTS, Encoder, encode_documents
from nanochat.data.packing import Tokens
from nanochat.data.shards import iter_row_groups


@dataclass(frozen=True)
class StreamBatch:
    """inputs and targets (B, T) int64 on the device."""

    inputs: Tensor
    targets: Tensor


def stream_rows(tokenizer: Encoder, paths: Sequence[Path], context: int, unit: int) -> Iterator[Tokens]:
    """Rows of T+1 tokens without end, as batches of `unit` rows cut them from the stream.

    Raises `UserError` when the shards hold no text.
    """
    size = unit * context + 1
    held = np.empty(0, dtype=np.int32)
    for ids in _documents(tokenizer, paths):
        held = np.concatenate([held, *ids])
        while len(held) >= size:
            batch, held = held[:size], held[size:]
            for row in range(unit):
                yield batch[row * context : (row + 1) * context + 1]


def _documents(tokenizer: Encoder, paths: Sequence[Path]) -> Iterator[list[Tokens]]:
    """The documents, a batch of them at a time."""
    while True:
        empty = True
        for _, _, texts in iter_row_groups(paths):
            for first in range(0, len(texts), TOKENIZE_DOCUMENTS):
                empty = False
                yield encode_documents(tokenizer, texts[first : first + TOKENIZE_DOCUMENTS])
        if empty:
            raise UserError(f"{paths[0].parent}: no documents", "build the shards again")


def stream_batches(rows: Iterator[Tokens], size: int, device: torch.device | str) -> Iterator[StreamBatch]:
    """The rows in batches of `size`."""
    while True:
        tokens = torch.from_numpy(np.stack([next(rows) for _ in range(size)])).to(device).long()
        yield StreamBatch(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())
