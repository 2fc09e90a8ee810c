"""Best-fit packing of documents into rows of fixed length, without padding.

Each row is filled with the longest buffered document that still fits; when none fits, the shortest is cropped
to the space left and its rest dropped. Among equal lengths the first to arrive goes first.
"""

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]

IGNORE_INDEX = -1
"""The target of a position that does not count in the loss: `ignore_index` of torch's cross entropy."""


class DocumentBuffer:
    """Tokenized documents by length: add, take the longest within a limit, take the shortest.

    A queue for each distinct length, and the sorted list of those lengths: finding a document is one
    bisection, whatever the number of documents.
    """

    def __init__(self) -> None:
        self._queues: dict[int, deque[Tokens]] = {}
        self._lengths: list[int] = []
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, length: int, tokens: Tokens) -> None:
        """Buffers a document of `length` tokens, of which the prefix `tokens` (maybe all) is kept."""
        queue = self._queues.get(length)
        if queue is None:
            queue = self._queues[length] = deque()
            insort(self._lengths, length)
        queue.append(tokens)
        self._size += 1

    def take_longest(self, limit: int) -> Tokens | None:
        """The longest document of at most `limit` tokens, or None."""
        index = bisect_right(self._lengths, limit)
        return self._take(self._lengths[index - 1])[1] if index else None

    def take_shortest(self) -> tuple[int, Tokens]:
        """(length, tokens) of the shortest document. IndexError when there is none."""
        return self._take(self._lengths[0])

    def _take(self, length: int) -> tuple[int, Tokens]:
        queue = self._queues[length]
        tokens = queue.popleft()
        self._size -= 1
        if not queue:
            del self._queues[length]
            del self._lengths[bisect_left(self._lengths, length)]
        return length, tokens

    def documents(self) -> list[tuple[int, Tokens]]:
        """(length, tokens) of every document, in an order that rebuilds an equal buffer (`of`)."""
        return [(length, tokens) for length in self._lengths for tokens in self._queues[length]]

    @classmethod
    def of(cls, documents: Iterable[tuple[int, Tokens]]) -> "DocumentBuffer":
        buffer = cls()
        for length, tokens in documents:
            buffer.add(length, tokens)
        return buffer


def pack_row(buffer: DocumentBuffer, row: Tokens, refill: Callable[[], None]) -> int:
    """Fills `row` from `buffer`, which `refill` tops up before every placement.

    Returns the number of tokens cropped.
    """
    filled, cut = 0, 0
    while filled < len(row):
        refill()
        room = len(row) - filled
        tokens = buffer.take_longest(room)
        if tokens is None:
            length, tokens = buffer.take_shortest()
            cut += length - room
            tokens = tokens[:room]
        row[filled : filled + len(tokens)] = tokens
        filled += len(tokens)
    return cut
