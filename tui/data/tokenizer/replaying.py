"""What the replay of merges is told by."""

from __future__ import annotations

MOST_CHARACTERS = 20_000
"""Characters of a text whose merges are played."""
SIZES = (256, 300, 512, 1_000, 2_048, 4_096, 8_192, 16_384, 32_768, 50_257, 65_536, 100_277, 200_019)
"""Sizes of a vocabulary that the slider stops at; its own is the last."""


def next_size(now: int, by: int, largest: int) -> int:
    """The next larger or smaller size of the slider."""
    sizes = [*(size for size in SIZES if size < largest), largest]
    if by > 0:
        return next((size for size in sizes if size > now), largest)
    return next((size for size in reversed(sizes) if size < now), sizes[0])


def slider(at: int, of: int, width: int, unicode: bool = True) -> str:
    """A line with a knob at its place."""
    place = round((width - 1) * at / of) if of else 0
    before, knob, after = ("━", "●", "─") if unicode else ("=", "O", "-")
    return before * place + knob + after * (width - 1 - place)


def word_of(kind: str) -> str:
    """What the text consists of before the first merge."""
    return "the text in bytes" if kind == "bpe" else "the text before anything is merged"
