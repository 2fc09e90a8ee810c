"""How custom attention on a CPU cuts a sequence, and what it keeps. No torch: estimates use it."""

BLOCK = {"float32": 128, "bfloat16": 256}
"""Queries at a time, by compute type: their scores over a few hundred keys stay in the cache."""
KEPT = 1 << 25
"""Attention weights kept for one layer's gradient, at most (128 MiB in float32); beyond, torch's kernel,
which keeps none and computes them again."""


def blocks(length: int, window: int | None, dtype: str) -> list[tuple[int, int, int]]:
    """(first key, first query, end of both) of each block; a query sees `window` keys before it."""
    size = BLOCK[dtype]
    return [
        (0 if window is None else max(0, start - window), start, min(start + size, length))
        for start in range(0, length, size)
    ]


def kept_weights(batch: int, heads: int, length: int, window: int | None, dtype: str) -> int:
    """Attention weights that the gradient needs; 0 where torch's kernel is used instead."""
    if dtype not in BLOCK or length < BLOCK[dtype]:
        return 0
    parts = blocks(length, window, dtype)
    weights = batch * heads * sum((stop - start) * (stop - low) for low, start, stop in parts)
    return weights if weights <= KEPT else 0
