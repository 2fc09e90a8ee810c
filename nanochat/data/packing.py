"""Best-fit packing of documents into rows of fixed length, without padding.

Each row is filled with the longest buffered document that still fits. When none fits, one of two rules holds:

- crop, upstream nanochat's: the shortest is cropped to the space left and its rest dropped;
- continue: any of them fills the space left, and its rest goes into the next rows, without bos. Nothing is
  lost. Neither the longest nor the shortest: a short training would see nothing but tables, or snippets.

Among equal lengths the first to arrive goes first.
"""

import itertools
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]

LongDocuments = Literal["crop", "continue"]
"""What is done with a document that does not fit what is left of a row."""

BUFFER_DOCUMENTS = 1000
"""Documents among which the one that fits best is looked for."""

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
        self.tokens = 0
        """Tokens kept of all documents."""

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
        self.tokens += len(tokens)

    def take_longest(self, limit: int) -> Tokens | None:
        """The longest document of at most `limit` tokens, or None."""
        index = bisect_right(self._lengths, limit)
        return self._take(self._lengths[index - 1])[1] if index else None

    def take_any(self) -> tuple[int, Tokens]:
        """(length, tokens) of a document of any length, drawn by what is in the buffer: an equal one draws
        the same. ZeroDivisionError when there is none.
        """
        drawn = (self.tokens * 2_654_435_761 % (1 << 32)) >> 8  # Knuth's multiplicative hash
        return self._take(self._lengths[drawn % len(self._lengths)])

    def take_shortest(self) -> tuple[int, Tokens]:
        """(length, tokens) of the shortest document. IndexError when there is none."""
        return self._take(self._lengths[0])

    def _take(self, length: int) -> tuple[int, Tokens]:
        queue = self._queues[length]
        tokens = queue.popleft()
        self._size -= 1
        self.tokens -= len(tokens)
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


def continue_row(
    buffer: DocumentBuffer, row: Tokens, rest: Tokens, refill: Callable[[], None]
) -> tuple[Tokens, int]:
    """Fills `row` with `rest`, what the row before left of its last document, then from `buffer`.

    Returns what is left over for the next row, and the number of tokens lost: of documents that were cropped
    when they were buffered, by a loader that crops.
    """
    filled, lost = min(len(rest), len(row)), 0
    row[:filled] = rest[:filled]
    rest = rest[filled:]
    while filled < len(row):
        refill()
        room = len(row) - filled
        tokens = buffer.take_longest(room)
        if tokens is None:
            length, tokens = buffer.take_any()
            lost += length - len(tokens)
            rest = tokens[room:]
            tokens = tokens[:room]
        row[filled : filled + len(tokens)] = tokens
        filled += len(tokens)
    return rest, lost


def cropped_share(lengths: Sequence[int], capacity: int, buffered: int, rows: int) -> float:
    """The fraction of the tokens, 0 … 1, that the rule crop drops while it packs `rows` rows.

    The documents are of these lengths, which come round again. Raises ValueError without documents.
    """
    if not lengths or rows < 1:
        raise ValueError("no documents, or no rows")
    buffer, row = DocumentBuffer(), np.empty(capacity, dtype=np.int32)
    blank = np.zeros(capacity, dtype=np.int32)
    source = itertools.cycle(lengths)

    def refill() -> None:
        while len(buffer) < buffered:
            length = next(source)
            buffer.add(length, blank[:length])

    cut = sum(pack_row(buffer, row, refill) for _ in range(rows))
    return cut / (rows * capacity + cut)
