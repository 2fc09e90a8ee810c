"""From logits to the next token of each row, by settings and a random stream of the row's own."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nanochat.common.errors import UserError


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn.

    Temperature 0 is greedy (the lowest id among equals) and ignores the rest. Otherwise logits are divided
    by the temperature, the `top_k` likeliest are kept (0: all), of those the fewest whose probabilities
    reach `top_p` (nucleus sampling, arXiv 1904.09751), and one is drawn.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 42

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise UserError(f"temperature {self.temperature} is not a number from 0 up")
        if self.top_k < 0:
            raise UserError(f"top-k {self.top_k} is negative", "0 keeps every token")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top-p {self.top_p} is not above 0 and at most 1")

    def stream(self, sample: int) -> random.Random:
        """The random numbers of one sample of a request: the same whatever else is computed with it."""
        return random.Random(f"{self.seed}/{sample}")


def choose(logits: Tensor, settings: Sequence[Sampling], draws: Sequence[float]) -> list[int]:
    """A token id a row: logits (n, V) float32, and for each row its settings and a number in [0, 1)."""
    if all(s.temperature == 0 for s in settings):
        return greedy(logits)
    groups: dict[tuple[bool, int, float], list[int]] = {}
    for row, s in enumerate(settings):
        key = (True, 0, 1.0) if s.temperature == 0 else (False, s.top_k, s.top_p)
        groups.setdefault(key, []).append(row)
    chosen = [0] * len(settings)
    for (is_greedy, top_k, top_p), rows in groups.items():
        part = logits if len(groups) == 1 else logits[rows]
        if is_greedy:
            tokens = greedy(part)
        else:
            temperatures = [settings[row].temperature for row in rows]
            tokens = _draw(part, temperatures, top_k, top_p, [draws[row] for row in rows])
        for row, token in zip(rows, tokens, strict=True):
            chosen[row] = token
    return chosen


def greedy(logits: Tensor) -> list[int]:
    """The likeliest token of each row, the lowest id among equals."""
    if logits.device.type == "cpu":
        ids: list[int] = logits.numpy().argmax(-1).tolist()  # ten times as quick as torch's
        return ids
    return logits.argmax(-1).tolist()


def _draw(
    logits: Tensor, temperatures: list[float], top_k: int, top_p: float, draws: list[float]
) -> list[int]:
    """By the inverse of the cumulative distribution at each row's draw."""
    ids: Tensor | None = None
    if 0 < top_k < logits.size(-1):
        logits, ids = logits.topk(top_k, dim=-1)
    elif top_p < 1:
        logits, ids = logits.sort(dim=-1, descending=True, stable=True)
    temperature = torch.tensor(temperatures, device=logits.device)[:, None]
    weights = torch.softmax(logits / temperature, dim=-1, dtype=torch.float64)
    sums = weights.cumsum(dim=-1)
    if top_p < 1:
        # A token stays when those before it have not reached top_p: the first always does.
        sums = (weights * (sums - weights < top_p)).cumsum(dim=-1)
    at = torch.tensor(draws, dtype=torch.float64, device=logits.device)[:, None] * sums[:, -1:]
    picked = torch.searchsorted(sums, at, right=True).clamp_(max=logits.size(-1) - 1)
    if ids is not None:
        picked = ids.gather(-1, picked)
    tokens: list[int] = picked[:, 0].tolist()
    return tokens
