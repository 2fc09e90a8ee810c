"""Two vocabularies: the tokens that only one has, and those that have another id in the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanochat.common.text import sanitize
from nanochat.tokenizer.explore.vocabulary import NONE, SPECIAL, TokenTable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_Key = tuple[bytes, bool]
"""A token's bytes, and whether it is a special token: text that spells one is another token."""


@dataclass(frozen=True, eq=False)
class Differing:
    """How the vocabularies A and B differ. Ids are int64 and rise."""

    a: TokenTable
    b: TokenTable
    only_a: NDArray[np.int64]
    only_b: NDArray[np.int64]
    moved: NDArray[np.int64]
    """(n, 2) the ids in A and in B of tokens that both have, where they are not equal; by the id in A."""
    same: int
    """Tokens that have one id in both."""

    @property
    def shared(self) -> int:
        """Tokens of A that B has too."""
        return self.same + len(self.moved)

    @property
    def union(self) -> int:
        """Tokens that A or B has."""
        return self.shared + len(self.only_a) + len(self.only_b)

    def summary(self) -> list[str]:
        """What is to be said of the two, a line each."""
        share = 100 * self.shared / self.union if self.union else 0.0
        return [
            f"A {_told(self.a)}, {len(self.only_a):,} of them not in B",
            f"B {_told(self.b)}, {len(self.only_b):,} of them not in A",
            f"in both: {self.shared:,} ({share:.1f} % of all), "
            f"{self.same:,} with the same id, {len(self.moved):,} with another",
        ]


def differing(a: TokenTable, b: TokenTable) -> Differing:
    """Compares two vocabularies, token by token. Some 0.2 s for 200,000 each: call it in a thread."""
    import numpy as np

    keys_a, keys_b = _keys(a), _keys(b)
    # A library may have several ids of the same bytes: the lowest stands for the token.
    ids_b = {key: token for token, key in zip(range(len(b) - 1, -1, -1), reversed(keys_b), strict=True)}
    ids_b.pop((b"", False), None)  # an id without a token is not another one's
    in_a = set(keys_a)
    only_a: list[int] = []
    moved_a: list[int] = []
    moved_b: list[int] = []
    for token, key in enumerate(keys_a):
        other = ids_b.get(key)
        if other is None:
            only_a.append(token)
        elif other != token:
            moved_a.append(token)
            moved_b.append(other)
    only_b = [token for token, key in enumerate(keys_b) if key not in in_a]
    lost_a, lost_b = np.array(only_a, np.int64), np.array(only_b, np.int64)
    return Differing(
        a,
        b,
        lost_a[a.kinds[lost_a] != NONE],
        lost_b[b.kinds[lost_b] != NONE],
        np.column_stack((np.array(moved_a, np.int64), np.array(moved_b, np.int64))),
        int(np.count_nonzero(a.kinds != NONE))
        - len(moved_a)
        - int(np.count_nonzero(a.kinds[lost_a] != NONE)),
    )


def _keys(table: TokenTable) -> list[_Key]:
    return list(zip(table.tokens, (table.kinds == SPECIAL).tolist(), strict=True))


def _told(table: TokenTable) -> str:
    tokens = int((table.kinds != NONE).sum())
    return f"{sanitize(table.name, 60)}: {tokens:,} tokens"
