"""From logits to the next token of each row, by the row's own settings and random numbers."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nanochat.common.errors import UserError


@dataclass(frozen=True)
class Sampling:
    """How tokens are sampled.

    First `logit_bias` is added to the logits of its token ids, as OpenAI's API defines it. Temperature 0 is
    then greedy (the lowest id among equals) and ignores the rest. Otherwise, in the order of transformers:
    logits are divided by the temperature, the `top_k` likeliest are kept (0: all; arXiv 1805.04833), of those
    the fewest whose probabilities reach `top_p` (nucleus sampling, arXiv 1904.09751), of those the ones at
    least `min_p` times as probable as the likeliest (arXiv 2407.01082), and one is sampled.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 42
    min_p: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise UserError(f"temperature {self.temperature} is not a number from 0 up")
        if self.top_k < 0:
            raise UserError(f"top-k {self.top_k} is negative", "0 keeps every token")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top-p {self.top_p} is not above 0 and at most 1")
        if not 0 <= self.min_p <= 1:
            raise UserError(f"min-p {self.min_p} is not between 0 and 1")
        for token, bias in self.logit_bias.items():
            if not math.isfinite(bias):
                raise UserError(f"the bias {bias} of token {token} is not a finite number")

    def rng(self, sample: int) -> random.Random:
        """The random numbers of one sample of a request: the same whatever else is computed with it."""
        return random.Random(f"{self.seed}/{sample}")


def sample_tokens(logits: Tensor, settings: Sequence[Sampling], uniforms: Sequence[float]) -> list[int]:
    """One token id a row: logits (rows, V) float32, and for each row its settings and a number in [0, 1)."""
    if any(s.logit_bias for s in settings):
        logits = _biased(logits, settings)
    if all(s.temperature == 0 for s in settings):
        return greedy(logits)
    # Rows that are cut in the same way are sampled together; temperatures may differ within a group.
    groups: dict[tuple[bool, int, float, float], list[int]] = {}
    for row, s in enumerate(settings):
        key = (True, 0, 1.0, 0.0) if s.temperature == 0 else (False, s.top_k, s.top_p, s.min_p)
        groups.setdefault(key, []).append(row)
    sampled = [0] * len(settings)
    for (is_greedy, top_k, top_p, min_p), rows in groups.items():
        part = logits if len(groups) == 1 else logits[rows]  # (rows of the group, V)
        if is_greedy:
            tokens = greedy(part)
        else:
            temperatures = [settings[row].temperature for row in rows]
            tokens = _sample(part, temperatures, top_k, top_p, min_p, [uniforms[row] for row in rows])
        for row, token in zip(rows, tokens, strict=True):
            sampled[row] = token
    return sampled


def _biased(logits: Tensor, settings: Sequence[Sampling]) -> Tensor:
    """A copy of logits (rows, V) with each row's biases added."""
    entries = [(row, *entry) for row, s in enumerate(settings) for entry in s.logit_bias.items()]
    rows, ids, biases = (torch.tensor(column, device=logits.device) for column in zip(*entries, strict=True))
    return logits.index_put((rows, ids), biases.to(logits.dtype), accumulate=True)


def greedy(logits: Tensor) -> list[int]:
    """The likeliest token of each row of logits (rows, V), the lowest id among equals."""
    if logits.device.type == "cpu":
        ids: list[int] = logits.numpy().argmax(-1).tolist()  # ten times as fast as torch's
        return ids
    return logits.argmax(-1).tolist()


def _sample(
    logits: Tensor,
    temperatures: list[float],
    top_k: int,
    top_p: float,
    min_p: float,
    uniforms: list[float],
) -> list[int]:
    """Inverse transform sampling: the first token whose cumulative probability exceeds the row's uniform.

    Not torch.multinomial, whose random numbers depend on the other rows of the batch.
    """
    ids: Tensor | None = None
    if 0 < top_k < logits.size(-1):
        logits, ids = logits.topk(top_k, dim=-1)  # (rows, top_k), likeliest first
    elif top_p < 1:
        logits, ids = logits.sort(dim=-1, descending=True, stable=True)  # (rows, V)
    temperature = torch.tensor(temperatures, device=logits.device)[:, None]  # (rows, 1)
    # float64: sums over tens of thousands of tokens must not lose the small ones.
    weights = torch.softmax(logits / temperature, dim=-1, dtype=torch.float64)
    sums = weights.cumsum(dim=-1)
    if top_p < 1:
        # A token stays when those before it have not reached top_p: the first always does.
        weights = weights * (sums - weights < top_p)
    if min_p > 0:
        weights = weights * (weights >= min_p * weights.amax(dim=-1, keepdim=True))
    if top_p < 1 or min_p > 0:
        sums = weights.cumsum(dim=-1)
    # Scaled by the last sum, which the filters leave below 1: no second normalisation is needed.
    at = torch.tensor(uniforms, dtype=torch.float64, device=logits.device)[:, None] * sums[:, -1:]
    picked = torch.searchsorted(sums, at, right=True).clamp_(max=logits.size(-1) - 1)  # (rows, 1)
    if ids is not None:
        picked = ids.gather(-1, picked)
    tokens: list[int] = picked[:, 0].tolist()
    return tokens
