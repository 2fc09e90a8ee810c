"""Which beginnings of sequences are kept, and where: a radix tree over tokens, as in SGLang's RadixAttention
(arXiv 2312.07104).

A slot is the place of one token of one sequence in a store of fixed size; sequences with the same beginning
share its slots. When slots run out, the least recently used end of a sequence is given up first, token by
token from its end, so that what remains is always a beginning.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Ids: TypeAlias = npt.NDArray[np.int32]
Slots: TypeAlias = npt.NDArray[np.int64]


class _Node:
    """A run of tokens that all sequences through it share, and the slots of these."""

    __slots__ = ("children", "parent", "slots", "tokens")

    def __init__(self, tokens: Ids, slots: Slots, parent: "_Node | None") -> None:
        self.tokens, self.slots, self.parent = tokens, slots, parent
        self.children: dict[int, _Node] = {}
        """By their first token."""


class PrefixTree:
    """Token sequences over `capacity` slots. Slots are lent by `insert`, found by `match`."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.evicted = 0
        """Tokens given up for others."""
        self.clear()

    def clear(self) -> None:
        """Forgets every sequence."""
        self._root = _Node(np.empty(0, np.int32), np.empty(0, np.int64), None)
        # The least recently used first. A node is touched before its parent: so the first is never a parent.
        self._order: OrderedDict[_Node, None] = OrderedDict()
        self._free: Slots = np.arange(self.capacity, dtype=np.int64)[::-1].copy()
        """A stack of which the first `_free_count` are free."""
        self._free_count = self.capacity

    @property
    def used(self) -> int:
        """Slots in use: the tokens kept."""
        return self.capacity - self._free_count

    def match(self, tokens: Sequence[int]) -> Slots:
        """The slots of the longest kept beginning of `tokens`, in order; they now are the latest used."""
        ids = np.asarray(tokens, np.int32)
        path, length = self._walk(ids)
        self._touch(path)
        if not path:
            return np.empty(0, np.int64)
        return np.concatenate([node.slots for node in path])[:length]

    def insert(self, tokens: Sequence[int], start: int) -> tuple[int, Slots]:
        """Keeps `tokens`; returns how many leading ones were kept before, and the slots of those after them.

        The caller fills these slots. There may be fewer than there are tokens, where nothing else could be
        given up, and there are none when fewer than `start` leading tokens were kept before: the caller
        can fill from token `start` on only.
        """
        ids = np.asarray(tokens, np.int32)
        path, length = self._walk(ids)
        if length < start:
            return length, np.empty(0, np.int64)
        if length < len(ids):
            path = self._split(path, length)
        self._touch(path)
        slots = self._take(len(ids) - length, path)
        if len(slots):
            parent = path[-1] if path else self._root
            node = _Node(ids[length : length + len(slots)].copy(), slots, parent)
            parent.children[int(node.tokens[0])] = node
            self._touch([*path, node])
        return length, slots

    def _walk(self, ids: Ids) -> tuple[list[_Node], int]:
        """The nodes from the root on that begin `ids`, and how many tokens agree; the last node may agree
        in part."""
        path: list[_Node] = []
        children, length = self._root.children, 0
        while length < len(ids):
            node = children.get(int(ids[length]))
            if node is None:
                break
            path.append(node)
            rest = ids[length : length + len(node.tokens)]
            differ = np.flatnonzero(node.tokens[: len(rest)] != rest)
            common = int(differ[0]) if len(differ) else len(rest)
            length += common
            if common < len(node.tokens):
                break
            children = node.children
        return path, length

    def _split(self, path: list[_Node], length: int) -> list[_Node]:
        """Parts the last node where `length` tokens end, if it reaches further; the path to that place."""
        reach = sum(len(node.tokens) for node in path)
        if reach == length:
            return path
        lower = path[-1]
        at = len(lower.tokens) - (reach - length)
        upper = _Node(lower.tokens[:at].copy(), lower.slots[:at].copy(), lower.parent)
        lower.tokens, lower.slots, lower.parent = lower.tokens[at:].copy(), lower.slots[at:].copy(), upper
        upper.children[int(lower.tokens[0])] = lower
        assert upper.parent is not None
        upper.parent.children[int(upper.tokens[0])] = upper
        return [*path[:-1], upper]

    def _touch(self, path: list[_Node]) -> None:
        """Makes these nodes the latest used, the first of them last of all."""
        for node in reversed(path):
            self._order[node] = None
            self._order.move_to_end(node)

    def _take(self, count: int, path: list[_Node]) -> Slots:
        """Up to `count` slots, from sequences that do not go through the end of `path` if none are free."""
        while self._free_count < count:
            oldest = next(iter(self._order), None)
            if oldest is None or oldest in path:
                break
            self._trim(oldest, count - self._free_count)
        taken = min(count, self._free_count)
        slots = self._free[self._free_count - taken : self._free_count][::-1].copy()
        self._free_count -= taken
        return slots

    def _trim(self, leaf: _Node, count: int) -> None:
        """Gives up the last `count` tokens of a node without children, and the node with its last token."""
        rest = max(0, len(leaf.tokens) - count)
        given = leaf.slots[rest:][::-1]
        self._free[self._free_count : self._free_count + len(given)] = given
        self._free_count += len(given)
        self.evicted += len(given)
        if rest:
            leaf.tokens, leaf.slots = leaf.tokens[:rest].copy(), leaf.slots[:rest].copy()
        else:
            assert leaf.parent is not None
            del leaf.parent.children[int(leaf.tokens[0])]
            del self._order[leaf]
