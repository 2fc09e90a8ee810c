"""How texts come out in vocabularies: tokens, growth over characters and words, what stays unknown or unused.

Texts come as documents, one at a time, so that a text may be larger than memory.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanochat.tokenizer.tokenizer import Tokenizer

Ids = Sequence[int] | NDArray[Any]


@dataclass(frozen=True)
class Vocabulary:
    """Something that splits text into tokens.

    Of one with ids `encode` gives these, all under `size`, and `partial` (size,) bool tells which stand for
    a part of a character. Of one of whole units, characters or words, `units` gives them; `known` are those
    that a vocabulary of limited size would hold, None where no text has told which.
    """

    name: str
    size: int | None = None
    encode: Callable[[str], Ids] | None = None
    partial: NDArray[np.bool_] | None = None
    units: Callable[[str], Iterable[str]] | None = None
    known: frozenset[str] | None = None

    @property
    def key(self) -> str:
        """The name in the names of figures."""
        return self.name.lower().replace("-", "")


@dataclass
class Size:
    """How large a text is."""

    bytes: int = 0
    characters: int = 0
    words: int = 0
    """Between white space."""

    def add(self, document: str) -> None:
        self.bytes += len(document.encode())
        self.characters += len(document)
        self.words += len(document.split())


@dataclass
class Count:
    """A text in the tokens of one vocabulary."""

    vocabulary: Vocabulary
    size: Size
    """Shared by all that count the same text."""
    tokens: int = 0
    partial: int = 0
    """Tokens that stand for a part of a character: what a byte-level vocabulary has in place of unknowns."""
    unknown: int = 0
    """Units that a vocabulary of limited size does not hold."""
    used: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    """(size,) which ids the text uses."""

    def __post_init__(self) -> None:
        if self.vocabulary.encode is not None:
            self.used = np.zeros(self.vocabulary.size or 0, dtype=bool)

    def add(self, document: str) -> Ids:
        """Counts one more document of the text. Returns its ids, none of a vocabulary without."""
        vocabulary = self.vocabulary
        ids: Ids = ()
        if vocabulary.encode is not None:
            ids = np.asarray(vocabulary.encode(document), dtype=np.int64)
            self.tokens += len(ids)
            self.used[ids] = True
            if vocabulary.partial is not None:
                self.partial += int(np.count_nonzero(vocabulary.partial[ids]))
        elif vocabulary.units is not None:
            units = Counter(vocabulary.units(document))
            self.tokens += units.total()
            if vocabulary.known is not None:
                self.unknown += sum(n for unit, n in units.items() if unit not in vocabulary.known)
        return ids

    @property
    def bytes_per_token(self) -> float:
        return _ratio(self.size.bytes, self.tokens)

    @property
    def tokens_per_character(self) -> float:
        """How much longer a sequence of these is than one of characters; under 1 it is shorter."""
        return _ratio(self.tokens, self.size.characters)

    @property
    def tokens_per_word(self) -> float:
        """How much longer a sequence of these is than one of words: the vocabulary's fertility."""
        return _ratio(self.tokens, self.size.words)

    @property
    def unknown_percent(self) -> float | None:
        """Share of the tokens that are unknown; 0 with bytes among the tokens, None where nothing tells."""
        if self.vocabulary.encode is not None:
            return 0.0
        return None if self.vocabulary.known is None else 100 * _ratio(self.unknown, self.tokens)

    @property
    def partial_percent(self) -> float | None:
        """Share of the tokens that stand for a part of a character; None of whole units."""
        return None if self.vocabulary.partial is None else 100 * _ratio(self.partial, self.tokens)

    @property
    def used_percent(self) -> float | None:
        """Share of the vocabulary's ids that the text uses; None of whole units."""
        if self.vocabulary.encode is None:
            return None
        return 100 * _ratio(int(np.count_nonzero(self.used)), len(self.used))

    @property
    def nats_per_bpb(self) -> float:
        """The loss a token, in nats, that is one bit per byte of this text: ln 2 × bytes per token."""
        return math.log(2) * self.bytes_per_token

    @property
    def uniform_bpb(self) -> float | None:
        """Bits per byte of a model that holds all ids for equally likely, as an untrained one does."""
        size = self.vocabulary.size
        return math.log2(size) / self.bytes_per_token if size and self.tokens and self.size.bytes else None


def fewer_percent(ours: Count, other: Count) -> float:
    """How many per cent fewer tokens ours needs than the other; negative: more."""
    return 100 * _ratio(other.tokens - ours.tokens, other.tokens)


def attention_ratio(ours: Count, other: Count) -> float:
    """What attention over the text costs in our tokens, relative to the other's: the square of the tokens."""
    return _ratio(ours.tokens, other.tokens) ** 2


def count_text(
    documents: Iterable[str],
    vocabularies: Sequence[Vocabulary],
    check: Callable[[str, Ids], object] | None = None,
) -> list[Count]:
    """One text in each vocabulary, in one pass over its documents; `check` is called with each and its ids in
    the first vocabulary, before it is encoded in the others."""
    size = Size()
    counts = [Count(vocabulary, size) for vocabulary in vocabularies]
    for document in documents:
        size.add(document)
        for place, count in enumerate(counts):
            ids = count.add(document)
            if place == 0 and check is not None:
                check(document, ids)
    return counts


def partial_tokens(tokens: Iterable[bytes]) -> NDArray[np.bool_]:
    """(V,) which of the tokens are no whole characters of UTF-8."""
    return np.fromiter((not _is_text(token) for token in tokens), dtype=bool)


def trained_vocabulary(name: str, tokenizer: Tokenizer) -> Vocabulary:
    """A tokenizer trained here. Special tokens are ids too, which no text uses."""
    tokens: list[bytes] = [b""] * tokenizer.vocab_size
    for token, rank in tokenizer.ranks.items():
        tokens[rank] = token
    return Vocabulary(name, tokenizer.vocab_size, tokenizer.encode_to_numpy, partial_tokens(tokens))


def characters(known: frozenset[str] | None = None) -> Vocabulary:
    """One token a character."""
    return Vocabulary("characters", units=iter, known=known)


def words(known: frozenset[str] | None = None) -> Vocabulary:
    """One token a word between white space; the white space itself is lost."""
    return Vocabulary("words", units=str.split, known=known)


def most_frequent(units: Iterable[str], size: int) -> frozenset[str]:
    """The `size` most frequent units; among equally frequent ones those that come first."""
    return frozenset(unit for unit, _ in islice(Counter(units).most_common(), size))


def _is_text(token: bytes) -> bool:
    try:
        token.decode()
    except UnicodeDecodeError:
        return False
    return True


def _ratio(value: float, of: float) -> float:
    return value / of if of else 0.0
