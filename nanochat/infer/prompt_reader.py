"""Prompts read into their caches: several in one pass, a long one in some."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from torch import Tensor

from nanochat.infer.kvcache import KVCache, PackedCache
from nanochat.model.gpt import GPT


@dataclass(frozen=True)
class PromptPart:
    """Further tokens of a prompt, at least one, and the cache of what was read of it before."""

    cache: KVCache
    tokens: Sequence[int]
    each_chunk: Callable[[Tensor], None] | None = None
    """Called with the hidden states (T, C) of the tokens, some at a time."""


def passes(parts: Sequence[PromptPart], most: int) -> Iterator[list[PromptPart]]:
    """The parts in order, cut into passes of `most` tokens together; the last has what is left."""
    group: list[PromptPart] = []
    room = most
    for part in parts:
        start = 0
        while start < len(part.tokens):
            piece = replace(part, tokens=part.tokens[start : start + room])
            group.append(piece)
            start += len(piece.tokens)
            room -= len(piece.tokens)
            if not room:
                yield group
                group, room = [], most
    if group:
        yield group


def read_in_torch(model: GPT, parts: Sequence[PromptPart]) -> Tensor:
    """One pass over the tokens of all parts: the logits (parts, V) of each one's next token."""
    counts = [len(part.tokens) for part in parts]
    ids = torch.tensor([[token for part in parts for token in part.tokens]], device=model.device)
    caches = [part.cache for part in parts]
    hidden = model.hidden(ids, PackedCache(caches, counts) if len(parts) > 1 else caches[0])[0]  # (ΣT, C)
    for part, states in zip(parts, torch.split(hidden, counts), strict=True):
        if part.each_chunk is not None:
            part.each_chunk(states)
    return model.logits(hidden[[end - 1 for end in accumulate(counts)]])
