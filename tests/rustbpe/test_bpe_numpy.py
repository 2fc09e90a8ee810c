"""Encoding to arrays, counting and spans: equal to the lists, which are tiktoken's."""

import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tiktoken
from corpora import GENERAL_PATTERN, SPLIT_PATTERN, documents, texts
from hypothesis import given, settings
from hypothesis import strategies as st

import rustbpe

CORPUS = ["the cat sat on the mat", "猫は the 猫 2024\n", "it's aaaa aaaaaaa <|bos|>", "don't 😀 e\u0301"]
RUNS = st.builds(
    lambda unit, n: unit * n,
    st.sampled_from(["a", " ", "\n", "9", "!", "é", "猫", "😀", "'s", " \n"]),
    st.integers(0, 400),
)


def trained(pattern: str = SPLIT_PATTERN) -> rustbpe.Tokenizer:
    tokenizer = rustbpe.Tokenizer()
    tokenizer.train_from_iterator(CORPUS, 300, pattern=pattern)
    return tokenizer


@pytest.fixture(scope="module", params=[SPLIT_PATTERN, GENERAL_PATTERN], ids=["scan", "engine"])
def tokenizer(request: pytest.FixtureRequest) -> rustbpe.Tokenizer:
    return trained(request.param)


def split_at(ids: np.ndarray, offsets: np.ndarray) -> list[list[int]]:
    return [part.tolist() for part in np.split(ids, offsets[1:-1].astype(np.int64))]


@given(text=st.one_of(texts, RUNS))
@settings(max_examples=150, deadline=None)
def test_one_text(tokenizer: rustbpe.Tokenizer, text: str) -> None:
    expected = tokenizer.encode(text)
    ids = tokenizer.encode_to_numpy(text)
    assert (ids.dtype.name, ids.shape, ids.flags.writeable) == ("uint32", (len(expected),), True)
    assert ids.tolist() == expected
    assert tokenizer.count(text) == len(expected)
    spanned, spans = tokenizer.encode_with_offsets(text)
    assert (spans.dtype.name, spans.shape) == ("uint64", (len(expected), 2))
    assert spanned.tolist() == expected
    raw, ranks = text.encode(), tokenizer.get_mergeable_ranks()
    assert [raw[first:end] for first, end in spans.tolist()] == [ranks[token][0] for token in expected]


@given(batch=st.one_of(documents, st.lists(RUNS, max_size=6)), threads=st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_a_batch(tokenizer: rustbpe.Tokenizer, batch: list[str], threads: int) -> None:
    expected = tokenizer.batch_encode(batch)
    ids, offsets = tokenizer.encode_batch_to_numpy(batch, threads)
    assert (ids.dtype.name, offsets.dtype.name, offsets.shape) == ("uint32", "uint64", (len(batch) + 1,))
    assert offsets[0] == 0
    assert offsets[-1] == ids.size
    assert not batch or split_at(ids, offsets) == expected
    counts = tokenizer.count_batch(batch, num_threads=threads)
    assert counts.dtype == np.uint64
    assert counts.tolist() == [len(ids) for ids in expected]


def test_texts_longer_than_a_thread_takes_at_once() -> None:
    """Cut among threads in the middle of a text, next to texts that are empty."""
    tokenizer = trained()
    batch = ["", "the cat's mat 20 " * 40_000, "", "", "猫" * 100_000, "x y\n" * 90_000, ""]
    peer = tiktoken.Encoding(
        "ours",
        pat_str=SPLIT_PATTERN,
        mergeable_ranks=dict(tokenizer.get_mergeable_ranks()),
        special_tokens={},
    )
    ids, offsets = tokenizer.encode_batch_to_numpy(batch, num_threads=3)
    assert split_at(ids, offsets) == [peer.encode_ordinary(text) for text in batch]
    assert tokenizer.batch_encode(batch) == split_at(ids, offsets)
    assert tokenizer.count_batch(batch, 2).tolist() == np.diff(offsets).tolist()
    assert tokenizer.count(batch[1]) == offsets[2] - offsets[1]


def test_real_text_has_tiktokens_ids(shared_data: Path) -> None:
    shards = sorted((shared_data / "text").glob("*.parquet"))
    batch = [text for shard in shards for text in pq.read_table(shard)["text"].to_pylist()[::16]]
    tokenizer = rustbpe.Tokenizer()
    tokenizer.train_from_iterator(batch, 8192, pattern=SPLIT_PATTERN)
    peer = tiktoken.Encoding(
        "ours",
        pat_str=SPLIT_PATTERN,
        mergeable_ranks=dict(tokenizer.get_mergeable_ranks()),
        special_tokens={},
    )
    expected = peer.encode_ordinary_batch(batch, num_threads=2)
    ids, offsets = tokenizer.encode_batch_to_numpy(batch, num_threads=2)
    assert ids.tolist() == [token for document in expected for token in document]
    assert np.diff(offsets).tolist() == [len(document) for document in expected]
    assert tokenizer.count_batch(batch).tolist() == np.diff(offsets).tolist()
    again = rustbpe.Tokenizer.from_mergeable_ranks(tokenizer.get_mergeable_ranks(), SPLIT_PATTERN)
    assert np.array_equal(again.encode_batch_to_numpy(batch)[0], ids)


@pytest.mark.parametrize("method", ["encode_batch_to_numpy", "count_batch"])
def test_what_is_no_batch_is_refused(method: str) -> None:
    call: Callable[..., Any] = getattr(trained(), method)
    with pytest.raises(TypeError, match="item 1 of texts is int, not str"):
        call(["a", 3])
    with pytest.raises(TypeError, match="item 0 of texts is int, not str"):
        call(range(1 << 50))  # as long as this says it is, no memory would hold it
    with pytest.raises(TypeError, match="one str"):
        call("ab")
    with pytest.raises(UnicodeEncodeError):
        call(["fine", "\ud800"])
    with pytest.raises(OverflowError):
        call(["a"], num_threads=-1)


@pytest.mark.parametrize("method", ["encode_to_numpy", "count", "encode_with_offsets"])
def test_what_is_no_text_is_refused(method: str) -> None:
    call: Callable[..., Any] = getattr(trained(), method)
    with pytest.raises(TypeError):
        call(b"ab")
    with pytest.raises(UnicodeEncodeError, match="surrogates"):
        call("\ud800")


def test_a_pattern_that_gives_up_says_where() -> None:
    ranks = rustbpe.Tokenizer().get_mergeable_ranks()
    tokenizer = rustbpe.Tokenizer.from_mergeable_ranks(ranks, r"(?:a|a|a)*?(?=b)\b")
    with pytest.raises(ValueError, match=r"failed on the text.*[Bb]acktrack"):
        tokenizer.encode_to_numpy("a" * 60)
    with pytest.raises(ValueError, match=r"item 1 of texts.*[Bb]acktrack"):
        tokenizer.count_batch(["a", "a" * 60])


def test_the_first_text_that_fails_is_told_whatever_the_threads() -> None:
    ranks = rustbpe.Tokenizer().get_mergeable_ranks()
    tokenizer = rustbpe.Tokenizer.from_mergeable_ranks(ranks, r"(?:a|a|a)*?(?=b)\b")
    stuck = " " * (1 << 17) + "a" * 60  # as much as a thread takes at once
    for threads in (1, 2, 3):
        with pytest.raises(ValueError, match="item 1 of texts"):
            tokenizer.count_batch(["a", stuck, *[stuck] * 4], threads)


def test_threads_share_a_tokenizer() -> None:
    tokenizer = trained()
    batch = [text * 300 for text in CORPUS] * 10
    expected = tokenizer.encode_batch_to_numpy(batch)[0]
    same: list[bool] = []
    threads = [
        threading.Thread(
            target=lambda: same.append(np.array_equal(tokenizer.encode_batch_to_numpy(batch, 2)[0], expected))
        )
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same == [True] * 6


def test_a_long_result_is_an_array_like_any_other() -> None:
    """Past some length the array is memory that was not copied; it outlives its tokenizer."""
    tokenizer = trained()
    text = "the cat 9 sat. " * 30_000
    expected = np.array(tokenizer.encode(text), dtype=np.uint32)
    ids = tokenizer.encode_to_numpy(text)
    batch, _ = tokenizer.encode_batch_to_numpy([text, text], 2)
    del tokenizer
    np.testing.assert_array_equal(ids, expected)
    np.testing.assert_array_equal(batch, np.concatenate([expected, expected]))
    assert (batch.dtype.name, batch.flags.writeable, batch.flags.c_contiguous) == ("uint32", True, True)
    batch += 1
    np.testing.assert_array_equal(ids, expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(batch))[: len(ids)], ids + 1)
