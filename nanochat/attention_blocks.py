"""How attention by hand on a CPU cuts a sequence, and what it keeps. No torch: estimates use it."""

BLOCK = 128
"""Queries at a time: their scores over a few hundred keys stay in the cache."""
KEPT = 1 << 25
"""Attention weights kept for one layer's gradient, at most (128 MiB in float32); beyond, torch's kernel."""


def blocks(length: int, window: int | None) -> list[tuple[int, int, int]]:
    """(first key, first query, end of both) of each block; a query sees `window` keys before it."""
    starts = range(0, length, BLOCK)
    return [
        (0 if window is None else max(0, start - window), start, min(start + BLOCK, length))
        for start in starts
    ]


def kept_weights(batch: int, heads: int, length: int, window: int | None) -> int:
    """Attention weights that the gradient needs; 0 where torch's kernel is used instead."""
    weights = (
        batch * heads * sum((stop - start) * (stop - low) for low, start, stop in blocks(length, window))
    )
    return weights if length >= BLOCK and weights <= KEPT else 0
