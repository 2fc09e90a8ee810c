"""The merges are those of the definition and those of PyPI's rustbpe 0.1.0, whatever the corpus."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from bpe_reference import learn, ranks
from corpora import GENERAL_PATTERN, GPT4_PATTERN, SPLIT_PATTERN, documents, pieces, tied
from hypothesis import given, settings
from hypothesis import strategies as st

import rustbpe


def trained(
    corpus: list[str], vocab_size: int, pattern: str | None = SPLIT_PATTERN, **options: int
) -> rustbpe.Tokenizer:
    tokenizer = rustbpe.Tokenizer()
    tokenizer.train_from_iterator(corpus, vocab_size, pattern=pattern, **options)
    return tokenizer


@given(st.one_of(documents, tied), st.integers(256, 330))
@settings(max_examples=400, deadline=None)
def test_merges_are_those_of_the_definition(corpus: list[str], vocab_size: int) -> None:
    expected = ranks(learn((piece for text in corpus for piece in pieces(SPLIT_PATTERN, text)), vocab_size))
    assert trained(corpus, vocab_size).get_mergeable_ranks() == expected


@given(st.one_of(documents, tied), st.sampled_from([r"\w+", r"\S+|\s+", r"(?s).+", r"[ab]+?(?=b)|."]))
@settings(max_examples=200, deadline=None)
def test_merges_stay_within_the_pieces_of_any_pattern(corpus: list[str], pattern: str) -> None:
    if pattern == r"\w+":
        corpus = ["".join(c for c in text if c.isascii()) for text in corpus]
    expected = ranks(learn((piece for text in corpus for piece in pieces(pattern, text)), 300))
    assert trained(corpus, 300, pattern).get_mergeable_ranks() == expected


@given(documents)
@settings(max_examples=100, deadline=None)
def test_a_pattern_means_the_same_to_both_of_our_splitters(corpus: list[str]) -> None:
    fast, general = trained(corpus, 300), trained(corpus, 300, GENERAL_PATTERN)
    assert fast.get_mergeable_ranks() == general.get_mergeable_ranks()
    assert fast.batch_encode(corpus) == general.batch_encode(corpus)
    assert fast.training_stats.distinct_pretokens == general.training_stats.distinct_pretokens


@pytest.mark.slow
@given(st.lists(st.one_of(documents, tied), min_size=1, max_size=4), st.sampled_from([None, SPLIT_PATTERN]))
@settings(max_examples=150, deadline=None)
def test_merges_and_ids_are_those_of_the_peer(peer, corpora: list[list[str]], pattern: str | None) -> None:
    for corpus in corpora:
        ours = trained(corpus, 320, pattern)
        expected_ranks, expected_ids = peer.train(corpus, 320, pattern, corpus)
        assert ours.get_mergeable_ranks() == expected_ranks
        assert ours.batch_encode(corpus) == expected_ids


@pytest.fixture(scope="module")
def real_text(shared_data: Path) -> list[str]:
    """News, code, Chinese and English prose: every fourth document of the measured corpus."""
    shards = sorted((shared_data / "text").glob("*.parquet"))
    return [text for shard in shards for text in pq.read_table(shard)["text"].to_pylist()[::4]]


@pytest.mark.slow
@pytest.mark.parametrize("pattern", [SPLIT_PATTERN, GPT4_PATTERN], ids=["digits 1-2", "digits 1-3"])
def test_real_text_gives_the_peers_vocabulary(peer, real_text: list[str], pattern: str) -> None:
    ours = trained(real_text, 8192, pattern)
    sample = real_text[::50]
    expected_ranks, expected_ids = peer.train(real_text, 8192, pattern, sample)
    assert len(expected_ranks) == 8192
    assert ours.get_mergeable_ranks() == expected_ranks
    assert ours.batch_encode(sample) == expected_ids


@pytest.mark.slow
def test_real_text_splits_as_the_regular_expression_does(real_text: list[str]) -> None:
    fast, general = trained(real_text, 2048), trained(real_text, 2048, GENERAL_PATTERN)
    sizes = [
        (stats.pretokens, stats.distinct_pretokens) for stats in (fast.training_stats, general.training_stats)
    ]
    assert sizes[0] == sizes[1]
    assert fast.get_mergeable_ranks() == general.get_mergeable_ranks()


def test_neither_threads_nor_batches_change_the_merges(real_text: list[str]) -> None:
    corpus = real_text[:400]
    expected = trained(corpus, 3000, threads=1).get_mergeable_ranks()
    for options in ({"threads": 2}, {"threads": 7}, {"buffer_size": 1}, {"buffer_size": 3, "threads": 3}):
        assert trained(corpus, 3000, **options).get_mergeable_ranks() == expected


def test_one_huge_document_is_many_small_ones(real_text: list[str]) -> None:
    """A document of several batches is counted in parts, with no piece cut in two."""
    whole = "a b ".join(real_text[:600])
    assert len(whole) > 2_000_000
    split, general = trained([whole], 1500), trained([whole], 1500, GENERAL_PATTERN)
    assert split.training_stats.documents == 1
    assert split.training_stats.pretokens == general.training_stats.pretokens
    assert split.get_mergeable_ranks() == general.get_mergeable_ranks()
