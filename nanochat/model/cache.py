"""What a pass over new tokens needs of the tokens before them: a cache knows where the new ones stand.

Shapes as in `nanochat/model/gpt.py`: B rows, T tokens, C width, H heads, D channels of a head.
"""

from collections.abc import Callable
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

Attend: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""A layer's attention: q (B, T, H, D), keys and values (B, T or more, H_kv, D) → (B, T, H, D)."""
Tables: TypeAlias = tuple[Tensor, Tensor]
"""cos and sin of T positions, (T, 1, D/2) each."""
Rotary: TypeAlias = Callable[[int, int], Tables]
"""The tables of positions start … start+length−1."""


class Cache(Protocol):
    """What decoding keeps between passes: keys and values of each layer, and smear's last embedding."""

    def rotary(self, tokens: int, rotary: Rotary) -> Tables:
        """The tables of the next `tokens` tokens of each row."""
        ...

    def predecessors(self, x: Tensor) -> Tensor:
        """What stands before each of the new embeddings x (B, T, C): zeros before a sequence's first. Keeps
        the last, not smeared, for the next pass."""
        ...

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, attend: Attend) -> Tensor:
        """Keeps k and v, and returns `attend(q, …)` over all that is kept of the layer, or its equal."""
        ...

    def advance(self, tokens: int) -> None:
        """Counts the tokens of a pass, after its last layer."""
        ...


class AlignedRows:
    """The part of a `Cache` that is the same wherever all rows have read `length` tokens."""

    def __init__(self) -> None:
        self.length = 0
        self.last_embedding: Tensor | None = None
        """(B, 1, C)."""

    def rotary(self, tokens: int, rotary: Rotary) -> Tables:
        return rotary(self.length, tokens)

    def predecessors(self, x: Tensor) -> Tensor:
        before = x.new_zeros(x.size(0), 1, x.size(2)) if self.last_embedding is None else self.last_embedding
        self.last_embedding = x[:, -1:]
        return torch.cat((before, x[:, :-1]), dim=1)

    def advance(self, tokens: int) -> None:
        self.length += tokens
