"""The merges over a text one after the other, and the text in a vocabulary of any smaller size.

A token of the final split is made by its own merges alone, none of which reaches over its borders. So the
merges of all tokens, sorted by rank, are the merges of the text; and since each takes away the borders inside
what it joins, the text after any number of them is where borders are left.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from nanochat.common.errors import UserError
from nanochat.tokenizer.explore.merges import Merge, merges_of
from nanochat.tokenizer.explore.splitter import Split, Splitter

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Replay:
    """The merges over a text in the order of their ranks, those of one rank from left to right.

    Arrays are over the merges, (m,): the `ranks` after which each comes, the `starts` and `ends` of what it
    joins in bytes of the text, the `ids` it makes. `gone` (bytes + 1,) says which merge takes away the border
    before each byte; m where none does, -1 inside a token that is added as a whole. State 0 is the text
    in bytes, but for such tokens; state m is the split itself.
    """

    split: Split
    ranks: "npt.NDArray[np.int64]"
    starts: "npt.NDArray[np.int64]"
    ends: "npt.NDArray[np.int64]"
    ids: "npt.NDArray[np.uint32]"
    gone: "npt.NDArray[np.int64]"
    first_ids: "npt.NDArray[np.uint32]"
    """(bytes,) the ids of state 0, at the places where its tokens begin."""

    def __len__(self) -> int:
        """Number of merges."""
        return len(self.ranks)

    def step(self, number: int) -> Merge:
        """Merge `number`, 0 … m-1: it takes state `number` to `number + 1`."""
        import numpy as np

        start, end = int(self.starts[number]), int(self.ends[number])
        cuts = start + 1 + np.flatnonzero(self.gone[start + 1 : end] == number)
        return Merge(int(self.ranks[number]), start, end, tuple(cuts.tolist()))

    def state(self, number: int) -> Split:
        """The text after the first `number` merges."""
        import numpy as np

        if number >= len(self):
            return self.split
        ends = 1 + np.flatnonzero(self.gone[1:] >= number)
        ids = self.first_ids.copy()
        ids[self.starts[:number]] = self.ids[:number]  # of those that begin at one place the last counts
        starts = np.concatenate([np.zeros(1, np.int64), ends])[:-1]
        return Split(self.split.text, ids[starts], ends.astype(np.int64))

    def steps_of_size(self, size: int) -> int:
        """How many merges have a rank under `size`."""
        return int(self.ranks.searchsorted(size, side="left"))

    def of_size(self, size: int) -> Split:
        """The text in a vocabulary of the first `size` ids (256: bytes): what their merges alone make."""
        return self.state(self.steps_of_size(size))

    @cached_property
    def sizes(self) -> "npt.NDArray[np.int64]":
        """The vocabulary sizes at which something changes, ascending: a slider may skip the others."""
        import numpy as np

        return self.ranks[np.diff(self.ranks, prepend=-1) > 0] + 1


def replay(splitter: Splitter, text: str) -> Replay:
    """The merges over `text`.

    Raises `UserError` where the tokenizer has no merges or changes the text before it merges. A text of
    10,000 characters takes some ten milliseconds, once.
    """
    import numpy as np

    if splitter.ranks is None:
        raise UserError(f"{splitter.name} has no merges: {splitter.no_tree}")
    split = splitter.split(text)
    if split.note:
        raise UserError(f"no replay in {splitter.name}: {split.note}")
    ranks = splitter.ranks
    byte_ids = np.asarray([ranks.get(bytes([byte]), 0) for byte in range(256)], np.uint32)
    first_ids = byte_ids[np.frombuffer(split.data, np.uint8)]
    merges = _Merges()
    gone = np.zeros(len(split.data) + 1, np.int64)
    for token_id, places in _places(split):
        token = splitter.token(token_id)
        if ranks.get(token) == token_id:
            made = merges_of(splitter, token)
            merges.add(made, [ranks[token[merge.start : merge.end]] for merge in made], places)
        else:  # added as a whole: it is there from the start
            first_ids[places] = token_id
            gone[(places[:, None] + np.arange(1, len(token))).ravel()] = -1
    ids, keys, starts, ends = merges.columns()
    order = merges.order()
    gone[gone == 0] = len(order)
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    places, owners = merges.borders()
    gone[places] = number[owners]
    return Replay(
        split, keys[order], starts[order], ends[order], ids[order].astype(np.uint32), gone, first_ids
    )


def _places(split: Split) -> "Iterator[tuple[int, npt.NDArray[np.int64]]]":
    """Each id of the split and the first bytes of its tokens."""
    import numpy as np

    order = np.argsort(split.ids, kind="stable")
    ids = split.ids[order]
    firsts = np.flatnonzero(np.diff(ids.astype(np.int64), prepend=-1))
    for token_id, indices in zip(ids[firsts].tolist(), np.split(order, firsts[1:]), strict=False):
        yield token_id, split.starts[indices]


class _Merges:
    """Merges of all tokens of a text, gathered token by token."""

    def __init__(self) -> None:
        self._total = 0
        self._columns: list[npt.NDArray[np.int64]] = []
        """(5, merges) each: id, key, level, start, end."""
        self._borders: list[npt.NDArray[np.int64]] = []
        """(2, borders) each: place in the text, number of the merge it vanishes with."""

    def add(self, merges: Sequence[Merge], ids: Sequence[int], places: "npt.NDArray[np.int64]") -> None:
        """A token's merges, wherever it begins in the text."""
        import numpy as np

        if not merges:
            return
        keys, levels = _keys([merge.rank for merge in merges])
        count, times = len(merges), len(places)
        rows = np.empty((5, times, count), np.int64)
        rows[0], rows[1], rows[2] = ids, keys, levels
        rows[3] = places[:, None] + np.asarray([merge.start for merge in merges])
        rows[4] = places[:, None] + np.asarray([merge.end for merge in merges])
        self._columns.append(rows.reshape(5, -1))
        cuts = np.asarray([(index, cut) for index, merge in enumerate(merges) for cut in merge.cuts])
        borders = np.empty((2, times, len(cuts)), np.int64)
        borders[0] = places[:, None] + cuts[:, 1]
        borders[1] = self._total + np.arange(times)[:, None] * count + cuts[:, 0]
        self._borders.append(borders.reshape(2, -1))
        self._total += count * times

    def columns(self) -> "npt.NDArray[np.int64]":
        """(4, merges): ids, keys, starts, ends, as they were added."""
        return self._all()[[0, 1, 3, 4]]

    def order(self) -> "npt.NDArray[np.int64]":
        """(merges,) their order: by key, then from left to right."""
        import numpy as np

        _, keys, levels, starts, _ = self._all()
        return np.lexsort((starts, levels, keys))

    def _all(self) -> "npt.NDArray[np.int64]":
        import numpy as np

        self._columns = [np.concatenate([np.empty((5, 0), np.int64), *self._columns], axis=1)]
        return self._columns[0]

    def borders(self) -> "npt.NDArray[np.int64]":
        """(2, borders): places, and the numbers of their merges as they were added."""
        import numpy as np

        return np.concatenate([np.empty((2, 0), np.int64), *self._borders], axis=1)


def _keys(ranks: Sequence[int]) -> tuple[list[int], list[int]]:
    """What sorts a token's merges among others': their ranks, and where one comes after a higher rank (in no
    vocabulary that was trained by merging) that rank, with a level."""
    keys, levels = [-1], [0]
    for rank in ranks:
        late = rank < keys[-1]
        levels.append(levels[-1] + 1 if late else levels[-1] if rank == keys[-1] else 0)
        keys.append(max(rank, keys[-1]))
    return keys[1:], levels[1:]
