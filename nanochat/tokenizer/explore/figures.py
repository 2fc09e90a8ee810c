"""What a text costs in several tokenizers, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

from nanochat.tokenizer.explore.splitter import Split


@dataclass(frozen=True)
class Figures:
    """One tokenizer's figures for a text. Ratios and differences are to the first one; None of an empty text."""

    tokens: int
    bytes_per_token: float | None
    fewer_percent: float | None
    """Per cent fewer tokens than the first has; negative: more. 0 of the first itself."""
    length_ratio: float | None
    """Tokens by those of the first: how much longer the sequence is."""
    attention_ratio: float | None
    """What attention over the text costs by what it costs in the first: the square of the length ratio."""
    tokens_per_character: float | None
    tokens_per_word: float | None


def figures(splits: Sequence[Split]) -> list[Figures]:
    """The figures of splits of one text; the first is what the others are compared to."""
    raise NotImplementedError
