"""Items evaluated together: the prefix that all sequences of an item share is computed once.

A batch computes the first `shared` tokens of each item in one pass, keeps their keys and values, and
continues every sequence from there in a second. Items of different lengths join a batch when that costs
fewer tokens than a batch of their own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from nanochat.evals.icl import Ids, Item, common_length

NEAR_TIE = 1e-4
"""Nats or logits closer than this may compare either way when the same sums are taken in another order."""


@dataclass(frozen=True)
class BatchInput:
    """A batch as a model reads it, on its device: sequences split into their item's prefix and a tail."""

    prefixes: Tensor
    """(I, P) ids, one row an item; P may be 0."""
    counts: Sequence[int]
    """Sequences of each item: the first counts[0] rows of `tails` continue prefix 0, and so on."""
    tails: Tensor
    """(R, T) ids, right-padded with bos: attention is causal, so padding changes nothing before it."""
    rows: Tensor
    """(N,): the row of `tails` of each scored position."""
    columns: Tensor
    """(N,): its column, the place whose logits predict the target."""
    targets: Tensor
    """(N,): the id that follows it."""


class LanguageModel(Protocol):
    """What an evaluation needs of a model and its tokenizer."""

    bos: int
    max_tokens: int
    """Tokens of the longest sequence it can read."""
    reuses_prefixes: bool
    """Whether it can continue from the keys and values of a prefix."""
    pass_cost: int
    """What one more forward pass costs, in tokens."""
    splits_at_newlines: bool
    """Whether the tokenizer never joins a newline with what follows, unless that is white space."""
    device: torch.device

    def encode(self, text: str) -> Sequence[int] | NDArray[np.uint32]: ...

    def decode(self, ids: Sequence[int]) -> str: ...

    def logits(self, batch: BatchInput) -> Iterator[Tensor]:
        """Float32 logits (n, V) of the scored positions in their order, some positions at a time."""
        ...


@dataclass
class Batch:
    """Items whose first `shared` tokens are computed once each."""

    items: list[Item] = field(default_factory=list)
    shared: int = 0
    rows: int = 0
    """Sequences of all items."""
    longest: int = 0
    """Tokens of the longest sequence."""

    def with_item(self, item: Item, shared: int) -> "Batch":
        """The batch that also holds `item`, of whose tokens the first `shared` may be shared."""
        return Batch(
            items=[*self.items, item],
            shared=min(self.shared, shared) if self.items else shared,
            rows=self.rows + len(item.sequences),
            longest=max(self.longest, *map(len, item.sequences)),
        )

    def cost(self, pass_cost: int) -> int:
        """Tokens computed, padding included, plus the cost of the passes in tokens."""
        passes = 2 if self.shared else 1
        tails = self.rows * (self.longest - self.shared)
        return len(self.items) * self.shared + tails + passes * pass_cost


def shared_prefix(item: Item) -> int:
    """How many first tokens all sequences of the item share before anything that is scored.

    One token less, as the logits that predict the first scored token must come from the tail.
    """
    if len(item.sequences) < 2:
        return 0
    first = min(start for start, _ in item.spans)
    return max(0, min(common_length(item.sequences), first) - 1)


def plan_batches(items: Sequence[Item], model: LanguageModel, budget: int) -> list[Batch]:
    """Batches of at most `budget` padded tokens (an item that alone has more is a batch by itself).

    The same items give the same batches, wherever and however often they are planned.
    """
    shared = {item.index: shared_prefix(item) if model.reuses_prefixes else 0 for item in items}
    for item in items:
        # What sharing saves must pay for the second pass.
        if (len(item.sequences) - 1) * shared[item.index] < model.pass_cost:
            shared[item.index] = 0

    def size(item: Item) -> tuple[int, int, int]:
        return -shared[item.index], -max(map(len, item.sequences)), item.index

    batches: list[Batch] = []
    for item in sorted(items, key=size):
        alone = Batch().with_item(item, shared[item.index])
        if batches:
            together = batches[-1].with_item(item, shared[item.index])
            apart = batches[-1].cost(model.pass_cost) + alone.cost(model.pass_cost)
            if together.rows * together.longest <= budget and together.cost(model.pass_cost) <= apart:
                batches[-1] = together
                continue
        batches.append(alone)
    return batches


@dataclass(frozen=True)
class Score:
    """The model's predictions over one sequence's span."""

    loss: float
    """Mean nats of the span's tokens; NaN when it is empty."""
    predicted: Ids
    """The likeliest token at each place of the span."""
    exact: bool
    """Whether these are the span's own tokens."""
    margin: float
    """Least difference in logits, over the span, between the likeliest token and the second."""


def score(model: LanguageModel, batch: Batch) -> list[list[Score]]:
    """The scores of each item's sequences."""
    inputs, sizes = _batch_input(model, batch)
    losses, predicted, margins = _score_positions(model, inputs)
    targets = inputs.targets.cpu().numpy()
    scores, at = [], 0
    for size in sizes:
        span = slice(at, at + size)
        ids = predicted[span].numpy()
        scores.append(
            Score(
                loss=losses[span].mean().item(),
                predicted=ids,
                exact=bool(np.array_equal(ids, targets[span])),
                margin=margins[span].min().item() if size else float("inf"),
            )
        )
        at += size
    found = iter(scores)
    return [[next(found) for _ in item.sequences] for item in batch.items]


def _batch_input(model: LanguageModel, batch: Batch) -> tuple[BatchInput, list[int]]:
    """The tensors of a batch, and how many positions each sequence has scored."""
    shared = batch.shared
    tails = np.full((batch.rows, batch.longest - shared), model.bos, dtype=np.int64)
    rows, columns, targets, sizes = [], [], [], []
    row = 0
    for item in batch.items:
        for ids, (start, end) in zip(item.sequences, item.spans, strict=True):
            tails[row, : len(ids) - shared] = ids[shared:]
            # A token is predicted one place before it; nothing predicts the first.
            places = np.arange(start - 1, end - 1) if start > 0 else np.arange(0)
            rows.append(np.full(len(places), row))
            columns.append(places - shared)
            targets.append(ids[places + 1])
            sizes.append(len(places))
            row += 1

    def tensor(array: Ids) -> Tensor:
        return torch.from_numpy(array.astype(np.int64, copy=False)).to(model.device)

    inputs = BatchInput(
        prefixes=tensor(np.stack([item.sequences[0][:shared] for item in batch.items])),
        counts=[len(item.sequences) for item in batch.items],
        tails=tensor(tails),
        rows=tensor(np.concatenate(rows)),
        columns=tensor(np.concatenate(columns)),
        targets=tensor(np.concatenate(targets)),
    )
    return inputs, sizes


def _score_positions(model: LanguageModel, batch: BatchInput) -> tuple[Tensor, Tensor, Tensor]:
    """The target's nats, the likeliest id and its margin in logits at each scored position: (N,), on the
    CPU."""
    losses, predicted, margins = [], [], []
    at = 0
    with torch.inference_mode():
        for logits in model.logits(batch):  # (n, V)
            targets = batch.targets[at : at + len(logits)]
            losses.append(F.cross_entropy(logits, targets, reduction="none"))
            predicted.append(logits.argmax(-1))
            best = logits.topk(2).values  # (n, 2)
            margins.append(best[:, 0] - best[:, 1])
            at += len(logits)
        if not losses:
            empty = torch.empty(0)
            return empty, empty.long(), empty
        return torch.cat(losses).cpu(), torch.cat(predicted).cpu(), torch.cat(margins).cpu()
