"""From logits to the next token."""

import torch
from torch import Tensor


def sample_next(
    logits: Tensor, temperature: float, top_k: int = 0, generator: torch.Generator | None = None
) -> Tensor:
    """One token id a row: logits (n, V) float32 → (n,) int64.

    Temperature 0 is greedy (the lowest id among equals) and ignores the rest. Otherwise the `top_k`
    likeliest (0: all) are kept, divided by the temperature, and one is drawn.
    """
    if temperature == 0:
        return logits.argmax(dim=-1)
    if top_k and top_k < logits.size(-1):
        kept, ids = logits.topk(top_k, dim=-1)
        drawn = torch.multinomial((kept / temperature).softmax(dim=-1), 1, generator=generator)
        return ids.gather(-1, drawn)[:, 0]
    return torch.multinomial((logits / temperature).softmax(dim=-1), 1, generator=generator)[:, 0]
