"""How often each id stands in a corpus: counted once, kept, and the tokens that hardly ever do."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nanochat.tokenizer.explore.splitter import Splitter

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

HARDLY = 10
"""A token seen fewer times than this in the corpus is hardly used."""


@dataclass(frozen=True, eq=False)
class TokenCounts:
    """`counts` (vocab_size,) int64: how often each id stands in the corpus."""

    counts: "npt.NDArray[np.int64]"
    documents: int
    bytes: int
    """Of the corpus, in UTF-8."""

    @property
    def tokens(self) -> int:
        raise NotImplementedError

    def order(self) -> "npt.NDArray[np.int64]":
        """(vocab_size,) each id's place by count, 1 for the most frequent; equals share the lowest."""
        raise NotImplementedError


def cached_counts(base: Path, splitter: Splitter, data_sha256: str) -> TokenCounts | None:
    """What `count_corpus` kept under the base directory for this tokenizer and this data; None when nothing."""
    raise NotImplementedError


def count_corpus(
    base: Path,
    splitter: Splitter,
    data_sha256: str,
    batches: Iterable[Sequence[str]],
    *,
    progress: Callable[[int, int], object] = lambda documents, size: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> TokenCounts | None:
    """Counts every id over the batches of documents and keeps the result under the base directory.

    `progress(documents, bytes)` after each batch; None, and nothing kept, once `cancelled()` says so. Runs in the
    caller's thread; encoding takes all cores and leaves the GIL free.
    """
    raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Rare:
    """Ids without special tokens, ascending: `never` stand in the corpus, `hardly` fewer times than the limit."""

    never: "npt.NDArray[np.int64]"
    hardly: "npt.NDArray[np.int64]"


def rare(splitter: Splitter, counts: TokenCounts, limit: int = HARDLY) -> Rare:
    """The tokens that a model trained on this corpus hardly sees: their embeddings stay untrained. Single bytes
    are told as well: a text may need them."""
    raise NotImplementedError
