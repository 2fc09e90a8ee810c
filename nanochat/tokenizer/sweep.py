"""Vocabularies of several sizes from one training.

The trainer learns merges one after the other and never looks ahead, so the first n merges of a large
vocabulary are those of the vocabulary that stops after n: one pass of counting serves every size.
"""

from collections.abc import Iterable, Iterator

from nanochat.tokenizer.special_tokens import SPECIAL_TOKENS
from nanochat.tokenizer.tokenizer import Tokenizer


def of_size(tokenizer: Tokenizer, vocab_size: int) -> Tokenizer:
    """The tokenizer that training to `vocab_size` ids, special tokens included, would have given.

    Raises ValueError for a size that is larger than the tokenizer's own, or leaves no merge.
    """
    ordinary = vocab_size - len(SPECIAL_TOKENS)
    if not 256 < ordinary <= len(tokenizer.ranks):
        raise ValueError(f"no {vocab_size} ids in a vocabulary of {tokenizer.vocab_size}")
    ranks = {token: rank for token, rank in tokenizer.ranks.items() if rank < ordinary}
    return Tokenizer(ranks, pattern=tokenizer.pattern, trained_on=tokenizer.trained_on)


def sizes_within(tokenizer: Tokenizer, sizes: Iterable[int]) -> Iterator[int]:
    """The sizes that the text had enough pairs for, smallest first, and the tokenizer's own where it is less
    than was asked for."""
    wanted = sorted(set(sizes))
    reached = [size for size in wanted if size <= tokenizer.vocab_size]
    yield from reached
    if reached != wanted and tokenizer.vocab_size not in reached:
        yield tokenizer.vocab_size
