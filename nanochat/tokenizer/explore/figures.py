"""What a text costs in several tokenizers, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

from nanochat.tokenizer.evaluation import Count, Size, Vocabulary, attention_ratio, fewer_percent
from nanochat.tokenizer.explore.splitter import Split


@dataclass(frozen=True)
class Figures:
    """One tokenizer's figures for a text: those that `tok_eval` prints for a corpus.

    Ratios are to the first one, 1 for it itself; all but `tokens` are None where the text has no tokens.
    """

    tokens: int
    bytes_per_token: float | None
    fewer_percent: float | None
    """Per cent fewer tokens that the first needs than this one; negative: more."""
    length_ratio: float | None
    """How much longer the sequence is than in the first's tokens."""
    attention_ratio: float | None
    """What attention over the text costs relative to the first's tokens: the square of the length ratio."""
    tokens_per_character: float | None
    tokens_per_word: float | None


def figures(splits: Sequence[Split]) -> list[Figures]:
    """The figures of splits of one text; the first is what the others are compared to."""
    size = Size()
    for split in splits[:1]:
        size.add(split.text)
    counts = [Count(Vocabulary(""), size, tokens=len(split)) for split in splits]
    return [_figures(count, counts[0]) for count in counts]


def _figures(count: Count, first: Count) -> Figures:
    if not count.tokens or not first.tokens:
        return Figures(count.tokens, None, None, None, None, None, None)
    return Figures(
        count.tokens,
        count.bytes_per_token,
        fewer_percent(first, count),
        count.tokens / first.tokens,
        attention_ratio(count, first),
        count.tokens_per_character,
        count.tokens_per_word if count.size.words else None,
    )
