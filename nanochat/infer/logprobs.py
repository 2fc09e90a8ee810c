"""Log-probabilities of tokens as a model gives them: of its softcapped logits in float32, before temperature,
bias and filters (vLLM's `raw_logprobs`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from nanochat.model.gpt import GPT

CHUNK = 128
"""Places whose logits are computed together: it bounds memory, 4 bytes × vocabulary each."""

TopTokens: TypeAlias = tuple[tuple[int, float], ...]
"""The most probable tokens and their log-probabilities in nats, the likeliest first."""


@dataclass(frozen=True)
class TokenLogprobs:
    """A token, its log-probability in nats given those before it, and the most probable ones there."""

    token: int
    logprob: float
    top: TopTokens = ()


def top_tokens(logits: Tensor, count: int) -> list[TopTokens]:
    """The `count` likeliest tokens of each row of logits (rows, V); the lower id first among equals."""
    return _top(torch.log_softmax(logits.float(), -1), count)


def token_logprobs(logits: Tensor, tokens: Sequence[int], top: int) -> list[TokenLogprobs]:
    """For each row of logits (rows, V) those of its token, with the `top` likeliest of the row."""
    logprobs = torch.log_softmax(logits.float(), -1)
    chosen = logprobs.gather(-1, torch.tensor(tokens, device=logits.device)[:, None])[:, 0].tolist()
    likeliest = _top(logprobs, top)
    return [TokenLogprobs(*found) for found in zip(tokens, chosen, likeliest, strict=True)]


def _top(logprobs: Tensor, count: int) -> list[TopTokens]:
    count = min(count, logprobs.size(-1))
    if count == 0:
        return [()] * len(logprobs)
    values, ids = logprobs.topk(count, dim=-1)  # (rows, count)
    rows = zip(ids.tolist(), values.tolist(), strict=True)
    return [tuple(sorted(zip(*row, strict=True), key=lambda pair: (-pair[1], pair[0]))) for row in rows]


class PromptLogprobs:
    """Collects the log-probabilities of a prompt's tokens while the model reads it, `top` likeliest each."""

    def __init__(self, model: GPT, prompt: Sequence[int], top: int) -> None:
        self._model, self._prompt, self._top = model, prompt, top
        self.found: list[TokenLogprobs | None] = [None]
        """One a token of the prompt so far; the first has none."""

    def add(self, hidden: Tensor) -> None:
        """Takes the hidden states (T, C) of the next T tokens: each tells of the token after its own."""
        for part in torch.split(hidden, CHUNK):
            tokens = self._prompt[len(self.found) : len(self.found) + len(part)]
            if tokens:  # nothing follows the prompt's last token
                logits = self._model.logits(part[: len(tokens)])
                self.found += token_logprobs(logits, tokens, self._top)
