"""Where tokenizers cut a text differently."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanochat.tokenizer.explore.splitter import Split

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Differences:
    """Stretches of bytes, ascending and apart, that not all splits cut in the same places.

    `starts`, `ends` (k,) int64. A stretch runs from the last border all share before it to the first after it.
    """

    starts: "npt.NDArray[np.int64]"
    ends: "npt.NDArray[np.int64]"

    def __len__(self) -> int:
        return len(self.starts)

    def holds(self, byte: int) -> bool:
        """Whether the byte is in a stretch."""
        raise NotImplementedError

    def next(self, byte: int) -> int | None:
        """The start of the first stretch after the byte; from the last one on, the first of the text. None where
        there is none."""
        raise NotImplementedError

    def previous(self, byte: int) -> int | None:
        """The start of the last stretch before the one the byte is in; before the first, the last of the text."""
        raise NotImplementedError


def differences(splits: Sequence[Split]) -> Differences:
    """Where the splits of one text differ; none of fewer than two. ValueError when the texts differ."""
    raise NotImplementedError
