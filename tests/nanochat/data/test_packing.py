"""Best-fit packing against its own definition, document by document."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat.data.packing import DocumentBuffer, continue_row, cropped_share, pack_row


def packed_plainly(stream: list[list[int]], capacity: int, rows: int, buffered: int) -> list[list[int]]:
    """The definition: scan the buffer as it arrived for the largest that fits, else cut the shortest."""
    buffer: list[list[int]] = []
    source = iter(stream)
    out = []
    for _ in range(rows):
        row: list[int] = []
        while len(row) < capacity:
            while len(buffer) < buffered:
                buffer.append(next(source))
            room = capacity - len(row)
            fitting = [i for i, document in enumerate(buffer) if len(document) <= room]
            if fitting:
                row += buffer.pop(max(fitting, key=lambda i: len(buffer[i])))
            else:
                row += buffer.pop(min(range(len(buffer)), key=lambda i: len(buffer[i])))[:room]
        out.append(row)
    return out


@settings(deadline=None)
@given(st.lists(st.integers(1, 40), min_size=10, max_size=60), st.integers(2, 30), st.integers(1, 12))
def test_rows_are_those_of_a_plain_scan(lengths: list[int], capacity: int, buffered: int) -> None:
    stream = [[1000 * (i + 1) + j for j in range(n)] for i, n in enumerate(lengths * 40)]
    expected = packed_plainly(stream, capacity, 6, buffered)
    source, buffer = iter(stream), DocumentBuffer()

    def refill() -> None:
        while len(buffer) < buffered:
            document = next(source)
            buffer.add(len(document), np.array(document[:capacity], dtype=np.int32))

    rows = np.empty((6, capacity), dtype=np.int32)
    for row in rows:
        pack_row(buffer, row, refill)
    assert rows.tolist() == expected


@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.lists(st.integers(0, 10), max_size=40))
def test_a_buffer_rebuilt_from_its_documents_continues_alike(lengths: list[int], limits: list[int]) -> None:
    buffer = DocumentBuffer.of((n, np.full(n, i, dtype=np.int32)) for i, n in enumerate(lengths))
    for limit in limits[: len(limits) // 2]:
        buffer.take_longest(limit)
    copy = DocumentBuffer.of(buffer.documents())
    assert len(copy) == len(buffer)
    for limit in limits:
        ours, theirs = buffer.take_longest(limit), copy.take_longest(limit)
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            assert ours.tolist() == theirs.tolist()
    while len(buffer):
        (length, ours), (other, theirs) = buffer.take_shortest(), copy.take_shortest()
        assert length == other
        assert ours.tolist() == theirs.tolist()


def test_what_is_cut_away_is_counted() -> None:
    buffer = DocumentBuffer.of([(9, np.arange(9, dtype=np.int32)), (30, np.arange(10, dtype=np.int32))])
    row = np.empty(10, dtype=np.int32)
    assert pack_row(buffer, row, lambda: None) == 29
    assert row.tolist() == [*range(9), 0]


@settings(deadline=None)
@given(st.lists(st.integers(1, 40), min_size=10, max_size=60), st.integers(2, 30), st.integers(1, 12))
def test_long_documents_that_continue_lose_nothing(lengths: list[int], capacity: int, buffered: int) -> None:
    """Every document comes out whole, and in one piece where the rows are put end to end."""
    stream = [np.arange(n, dtype=np.int32) + 1000 * (i + 1) for i, n in enumerate(lengths * 20)]
    source, buffer, rest = iter(stream), DocumentBuffer(), np.empty(0, dtype=np.int32)

    def refill() -> None:
        while len(buffer) < buffered:
            document = next(source)
            buffer.add(len(document), document)

    flat: list[int] = []
    for _ in range(8):
        row = np.empty(capacity, dtype=np.int32)
        rest, lost = continue_row(buffer, row, rest, refill)
        assert lost == 0
        flat += row.tolist()
    flat += rest.tolist()
    while flat:
        document = stream[flat[0] // 1000 - 1].tolist()
        assert flat[: len(document)] == document
        flat = flat[len(document) :]


@pytest.mark.slow
@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(2, 30), st.integers(1, 12))
def test_the_share_that_is_cropped(lengths: list[int], capacity: int, buffered: int) -> None:
    """By the definition: what left the buffer and is in no row."""
    stream = [[i] * n for i, n in enumerate(lengths * 600)]
    rows = packed_plainly(stream, capacity, 10, buffered)
    used = {document for row in rows for document in row}
    read = sum(len(stream[document]) for document in used)
    assert cropped_share(lengths, capacity, buffered, 10) == (read - 10 * capacity) / read


def test_documents_that_all_fit_are_not_cropped_and_books_nearly_whole() -> None:
    assert cropped_share([1] * 50, 10, 20, 100) == 0
    assert cropped_share([1000] * 50, 10, 20, 100) == 0.99
