"""Bits per byte: a loss that does not depend on the tokenizer."""

import math
from collections.abc import Iterable
from itertools import islice
from typing import Protocol

import torch
from torch import Tensor

from nanochat.compute.ranks import Ranks
from nanochat.model.gpt import GPT


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
    losses = model.losses(batch.inputs, batch.targets)  # (B, T) nats
    sizes = torch.where(batch.targets >= 0, token_bytes[batch.targets.clamp(min=0)], 0)  # (B, T) bytes
    return torch.stack(((losses * (sizes > 0)).sum(), sizes.sum().float()))


@torch.no_grad()
def evaluate_bpb(
    model: GPT, batches: Iterable[LabelledBatch], steps: int, token_bytes: Tensor, ranks: Ranks | None = None
) -> float | None:
    """Bits per byte over the first `steps` batches: Σ nats / (ln 2 · Σ bytes).

    With several `ranks` the batches are this rank's own, maybe none, and the sums are taken over all ranks.
    `token_bytes` (V,) int64 is each token's number of raw bytes, on the model's device.
    None when no target has bytes: nothing was measured.
    """
    counts = [count_batch(model, batch, token_bytes) for batch in islice(batches, steps)]
    # Batches are added in float64: a float32 sum would stop counting bytes exactly at 2²⁴.
    zero = torch.zeros(2, dtype=torch.float64)
    sums = torch.stack(counts).cpu().double().sum(dim=0) if counts else zero  # (2,)
    if ranks is not None and ranks.world > 1:
        sums = ranks.sum(sums.to(token_bytes.device)).cpu()
    nats, size = sums.tolist()
    return nats / (math.log(2) * size) if size else None
