"""The tree of kept beginnings: what it finds is what was put there, it stays within its slots, and gives up
the least recently used first."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat.infer.prefix_tree import PrefixTree

tokens = st.lists(st.integers(0, 2), min_size=1, max_size=12)


class Store:
    """A tree, and for each slot the beginning whose last token it was filled with."""

    def __init__(self, capacity: int) -> None:
        self.tree = PrefixTree(capacity)
        self.content: dict[int, tuple[int, ...]] = {}

    def insert(self, sequence: list[int], start: int = 0) -> int:
        """Returns how many leading tokens are kept afterwards."""
        first, slots = self.tree.insert(sequence, start)
        for i, slot in enumerate(slots.tolist(), start=first):
            self.content[slot] = tuple(sequence[: i + 1])
        return first + len(slots)

    def match(self, sequence: list[int]) -> int:
        """Checks what is found; returns its length."""
        slots = self.tree.match(sequence).tolist()
        for i, slot in enumerate(slots):
            assert self.content[slot] == tuple(sequence[: i + 1])
        return len(slots)


def common(a: list[int], b: list[int]) -> int:
    same = [x == y for x, y in zip(a, b, strict=False)]
    return same.index(False) if False in same else len(same)


@settings(max_examples=300)
@given(capacity=st.integers(0, 40), sequences=st.lists(st.tuples(st.booleans(), tokens), max_size=40))
def test_what_is_found_is_what_was_kept(capacity: int, sequences: list[tuple[bool, list[int]]]) -> None:
    store, kept = Store(capacity), []
    for inserts, sequence in sequences:
        if inserts:
            length = store.insert(sequence)
            assert length == min(len(sequence), capacity)
            assert store.match(sequence) == length
            kept.append(sequence)
        else:
            found = store.match(sequence)
            longest = max((common(sequence, other) for other in kept), default=0)
            assert found <= longest
            if not store.tree.evicted and sum(map(len, kept)) <= capacity:
                assert found == longest
        assert 0 <= store.tree.used <= capacity
    store.tree.clear()
    assert store.tree.used == 0
    assert all(store.match(sequence) == 0 for _, sequence in sequences)


def test_the_least_recently_used_end_goes_first_token_by_token() -> None:
    store = Store(10)
    system, old, new = [0] * 4, [1, 1, 1], [2, 2, 2]
    store.insert(system + old)
    store.insert(system + new)
    assert store.tree.used == 10
    assert store.match(system + old) == 7  # now `new` is the older one
    store.insert([3, 3])
    assert [store.match(system + end) for end in (new, old)] == [5, 7]
    store.insert([4] * 5)
    # The rest of `new`, [3, 3] and two tokens of `old` are gone; what both begin with is the latest used.
    assert [store.match(s) for s in ([3, 3], system + new, system + old)] == [0, 4, 5]
    assert store.tree.evicted == 2 + 5


def test_what_does_not_fit_is_kept_in_part_and_a_gap_is_never_filled() -> None:
    store = Store(6)
    assert store.insert([1] * 9) == 6
    assert store.insert([1] * 9, start=9) == 6  # the answer after a prompt that was not kept whole
    assert store.match([1] * 12) == 6
    assert store.insert([2] * 3, start=1) == 0
    assert store.tree.used == 6


def test_slots_of_one_run_lie_together() -> None:
    """As copies of neighbouring memory are the fast ones."""
    _, slots = PrefixTree(100).insert(range(50), 0)
    assert np.array_equal(slots, np.arange(50))
