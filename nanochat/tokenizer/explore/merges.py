"""Why a token is a token: the merges that made it, and the merges over a text one after the other."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanochat.tokenizer.explore.splitter import Split, Splitter

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class MergeTree:
    """A token and the two that were merged into it, down to single bytes, which have none.

    More than two `parts`: merging the bytes never reaches the token; it only stands for a whole piece of text.
    `token_id` is None where the bytes are no token of their own (never in a byte-level vocabulary).
    """

    token_id: int | None
    token: bytes
    parts: "tuple[MergeTree, ...]" = ()

    @property
    def depth(self) -> int:
        """Merges from the deepest byte up; 0 of a byte."""
        raise NotImplementedError


def merge_tree(splitter: Splitter, token_id: int) -> MergeTree:
    """How merging makes the token. Raises `UserError` with `splitter.no_tree`, or for a special token."""
    raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Step:
    """One merge over the text: the bytes `start:end` became the token, `cuts` are the borders inside."""

    rank: int
    start: int
    end: int
    cuts: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Replay:
    """The merges over a text in the order of their ranks, those of one rank from left to right.

    Step 0 is the text in single bytes, the last one (`len(replay)`) the split itself.
    """

    split: Split

    def __len__(self) -> int:
        """Number of merges."""
        raise NotImplementedError

    def step(self, number: int) -> Step:
        """Merge `number`, from 0: what takes the state `number` to `number + 1`."""
        raise NotImplementedError

    def state(self, number: int) -> Split:
        """The text after the first `number` merges."""
        raise NotImplementedError

    def of_size(self, size: int) -> Split:
        """The text in a vocabulary of the first `size` ids alone (256: bytes): what the slider shows."""
        raise NotImplementedError

    def steps_of_size(self, size: int) -> int:
        """How many merges the first `size` ids make."""
        raise NotImplementedError

    @property
    def sizes(self) -> "npt.NDArray[np.int64]":
        """The vocabulary sizes at which something changes, ascending: for a slider that skips the others."""
        raise NotImplementedError


def replay(splitter: Splitter, text: str) -> Replay:
    """The merges over `text`. Raises `UserError` with `splitter.no_tree`. Off the loop for long texts."""
    raise NotImplementedError


def with_vocab(splitter: Splitter, size: int) -> Splitter:
    """The tokenizer that the first `size` ids alone make: 256 are bytes. Raises `UserError` where there are no
    merges. Builds an encoder: for one text `Replay.of_size` is faster."""
    raise NotImplementedError
