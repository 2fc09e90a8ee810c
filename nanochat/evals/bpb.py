"""Bits per byte: a loss that does not depend on the tokenizer."""

import math
from collections.abc import Iterable
from itertools import islice
from typing import Protocol

import torch
from torch import Tensor

from nanochat.model import GPT


class LabelledBatch(Protocol):
    """Inputs and targets, both (B, T) int64 on the model's device."""

    @property
    def inputs(self) -> Tensor: ...

    @property
    def targets(self) -> Tensor: ...


def count_batch(model: GPT, batch: LabelledBatch, token_bytes: Tensor) -> Tensor:
    """[nats, bytes] (2,) float32 of a batch, over the targets whose token has bytes.

    Ignored targets (−1) and special tokens, which have no bytes, count in neither.
    """
    losses = model.losses(batch.inputs, batch.targets)
    sizes = torch.where(batch.targets >= 0, token_bytes[batch.targets.clamp(min=0)], 0)
    return torch.stack(((losses * (sizes > 0)).sum(), sizes.sum().float()))


@torch.no_grad()
def evaluate_bpb(model: GPT, batches: Iterable[LabelledBatch], steps: int, token_bytes: Tensor) -> float:
    """Bits per byte over the first `steps` batches: Σ nats / (ln 2 · Σ bytes).

    `token_bytes` (V,) int64 is each token's number of raw bytes, on the model's device.
    Infinite when no target has bytes.
    """
    counts = [count_batch(model, batch, token_bytes) for batch in islice(batches, steps)]
    nats, size = torch.stack(counts).cpu().double().sum(dim=0).tolist()
    return nats / (math.log(2) * size) if size else math.inf
