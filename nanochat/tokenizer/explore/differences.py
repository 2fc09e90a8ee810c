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

    `starts`, `ends` (k,) int64. A stretch runs from a border that all share to the next one, with borders
    in between that only some have.
    """

    starts: "npt.NDArray[np.int64]"
    ends: "npt.NDArray[np.int64]"

    def __len__(self) -> int:
        return len(self.starts)

    def holds(self, byte: int) -> bool:
        """Whether the byte is in a stretch."""
        place = int(self.starts.searchsorted(byte, side="right")) - 1
        return place >= 0 and byte < int(self.ends[place])

    def next(self, byte: int) -> int | None:
        """The start of the first stretch after the byte; after the last one, the first of the text. None
        where there is none."""
        if not len(self):
            return None
        return int(self.starts[int(self.starts.searchsorted(byte, side="right")) % len(self)])

    def previous(self, byte: int) -> int | None:
        """The start of the last stretch that begins before the byte; before the first, the last of the
        text. None where there is none."""
        if not len(self):
            return None
        return int(self.starts[int(self.starts.searchsorted(byte, side="left")) - 1])


def differences(splits: Sequence[Split]) -> Differences:
    """Where the splits of one text differ; none of fewer than two. ValueError when the texts differ."""
    import numpy as np

    if any(split.text != splits[0].text for split in splits):
        raise ValueError("splits of different texts have no differences")
    nothing = np.zeros(0, np.int64)
    if len(splits) < 2:
        return Differences(nothing, nothing)
    size = len(splits[0].data)
    cuts = np.zeros(size + 1, np.int32)
    for split in splits:
        cuts[split.ends] += 1  # an end that comes several times counts once
    cuts[[0, size]] = len(splits)
    borders = np.flatnonzero(cuts)
    partial = np.flatnonzero(cuts[borders] < len(splits))
    shared = np.flatnonzero(cuts[borders] == len(splits))
    # The shared borders before and after each that only some have; several may lie between the same two.
    after = shared.searchsorted(partial)
    after = after[np.diff(after, prepend=0) > 0]
    return Differences(borders[shared[after - 1]], borders[shared[after]])
