"""Items read together: what all sequences of an item begin with is read once, the rest row by row.

A batch reads the first `shared` tokens of each item in one pass, keeps their keys and values, and reads
every sequence's remainder from there in a second. Items of other lengths join when that costs fewer
tokens than a batch of their own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nanochat.evals.icl import Ids, Item, common_length

NEAR = 1e-4
"""Nats or logits closer than this may fall either way in another order of the same sums."""


class LanguageModel(Protocol):
    """What an evaluation needs of a model and its tokenizer."""

    bos: int
    limit: int
    """Tokens of the longest sequence it can read."""
    shares: bool
    """Whether it can go on from a prefix read once."""
    pass_cost: int
    """What one more pass through the model costs, in tokens."""
    cuts_at_lines: bool
    device: torch.device

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...

    def logits(
        self, prefixes: Tensor, counts: Sequence[int], tails: Tensor, rows: Tensor, columns: Tensor
    ) -> Iterator[Tensor]:
        """Float32 logits (n, V), a chunk after the other, at the places (rows, columns) of `tails`.

        prefixes (I, P), P may be 0; tails (R, T): the first counts[0] rows go on from prefix 0, and so on.
        """
        ...


@dataclass
class Batch:
    """Items whose first `shared` tokens are read once each."""

    items: list[Item] = field(default_factory=list)
    shared: int = 0
    rows: int = 0
    longest: int = 0

    def joined(self, item: Item, shared: int) -> "Batch":
        return Batch(
            [*self.items, item], min(self.shared, shared) if self.items else shared,
            self.rows + len(item.sequences), max(self.longest, *map(len, item.sequences)),
        )  # fmt: skip

    def cost(self, per_pass: int) -> int:
        """Tokens computed, and what the passes cost beside them."""
        passes = 2 if self.shared else 1
        return len(self.items) * self.shared + self.rows * (self.longest - self.shared) + passes * per_pass


def shareable(item: Item) -> int:
    """How many first tokens of all the item's sequences come before anything that is scored."""
    if len(item.sequences) < 2:
        return 0
    first = min(start for start, _ in item.spans)
    return max(0, min(common_length(item.sequences), first) - 1)


def plan_batches(items: Sequence[Item], model: LanguageModel, budget: int) -> list[Batch]:
    """Batches of at most `budget` padded tokens (an item that alone has more is a batch by itself).

    The same items give the same batches, wherever and however often they are planned.
    """
    shares = {item.index: shareable(item) if model.shares else 0 for item in items}
    for item in items:
        if (len(item.sequences) - 1) * shares[item.index] < model.pass_cost:
            shares[item.index] = 0

    def size(item: Item) -> tuple[int, int, int]:
        return -shares[item.index], -max(map(len, item.sequences)), item.index

    batches: list[Batch] = []
    for item in sorted(items, key=size):
        shared = shares[item.index]
        alone = Batch().joined(item, shared)
        if batches:
            both = batches[-1].joined(item, shared)
            apart = batches[-1].cost(model.pass_cost) + alone.cost(model.pass_cost)
            if both.rows * both.longest <= budget and both.cost(model.pass_cost) <= apart:
                batches[-1] = both
                continue
        batches.append(alone)
    return batches


@dataclass(frozen=True)
class Score:
    """What the model makes of one sequence's span."""

    loss: float
    """Mean nats of the span's tokens; NaN when it is empty."""
    predicted: Ids
    """The likeliest token at each place of the span."""
    exact: bool
    """Whether these are the span's own tokens."""
    margin: float
    """Least distance in logits, over the span, between the likeliest token and the next."""


def score(model: LanguageModel, batch: Batch) -> list[list[Score]]:
    """The scores of each item's sequences."""
    shared = batch.shared
    prefixes = np.stack([item.sequences[0][:shared] for item in batch.items])
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
    wanted = np.concatenate(targets)
    losses, predicted, margins = _judge(
        model, _tensor(model, prefixes), [len(item.sequences) for item in batch.items], _tensor(model, tails),
        _tensor(model, np.concatenate(rows)), _tensor(model, np.concatenate(columns)), _tensor(model, wanted),
    )  # fmt: skip
    scores, at = [], 0
    for size in sizes:
        part = slice(at, at + size)
        margin = margins[part].min().item() if size else float("inf")
        own = predicted[part].numpy()
        exact = bool(np.array_equal(own, wanted[part]))
        scores.append(Score(losses[part].mean().item(), own, exact, margin))
        at += size
    found = iter(scores)
    return [[next(found) for _ in item.sequences] for item in batch.items]


def _tensor(model: LanguageModel, array: Ids) -> Tensor:
    return torch.from_numpy(array.astype(np.int64, copy=False)).to(model.device)


def _judge(
    model: LanguageModel, prefixes: Tensor, counts: Sequence[int], tails: Tensor, rows: Tensor,
    columns: Tensor, targets: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Each target's nats, the likeliest token there, and its margin in logits; on the CPU."""
    losses, predicted, margins = [], [], []
    at = 0
    with torch.inference_mode():
        for logits in model.logits(prefixes, counts, tails, rows, columns):
            losses.append(F.cross_entropy(logits, targets[at : at + len(logits)], reduction="none"))
            predicted.append(logits.argmax(-1))
            best = logits.topk(2).values
            margins.append(best[:, 0] - best[:, 1])
            at += len(logits)
        if not losses:
            empty = torch.empty(0)
            return empty, empty.long(), empty
        return torch.cat(losses).cpu(), torch.cat(predicted).cpu(), torch.cat(margins).cpu()
