"""Encoding: the definition's ids, tiktoken's ids, and every text back."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import tiktoken
from bpe_reference import encode, learn
from corpora import SPLIT_PATTERN, documents, pieces, repeats, telling, texts, tied
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiktoken.load import load_tiktoken_bpe

import rustbpe


def trained(corpus: list[str], vocab_size: int = 400) -> rustbpe.Tokenizer:
    tokenizer = rustbpe.Tokenizer()
    tokenizer.train_from_iterator(corpus, vocab_size, pattern=SPLIT_PATTERN)
    return tokenizer


def as_tiktoken(tokenizer: rustbpe.Tokenizer) -> tiktoken.Encoding:
    return tiktoken.Encoding(
        "ours",
        pat_str=tokenizer.get_pattern(),
        mergeable_ranks=dict(tokenizer.get_mergeable_ranks()),
        special_tokens={},
    )


@given(st.one_of(documents, tied), texts)
@settings(max_examples=200, deadline=None)
def test_ids_are_those_of_the_definition(corpus: list[str], text: str) -> None:
    merges = learn((piece for document in corpus for piece in pieces(SPLIT_PATTERN, document)), 320)
    assert trained(corpus, 320).encode(text) == encode(pieces(SPLIT_PATTERN, text), merges)


@pytest.mark.slow
@given(st.one_of(documents, tied), st.lists(texts, max_size=5))
@settings(max_examples=200, deadline=None)
def test_ids_are_those_of_tiktoken_with_the_same_ranks(corpus: list[str], others: list[str]) -> None:
    tokenizer = trained(corpus)
    peer = as_tiktoken(tokenizer)
    for text in corpus + others:
        assert tokenizer.encode(text) == peer.encode_ordinary(text)


@given(st.one_of(documents, tied), st.lists(texts, max_size=5))
@settings(max_examples=200, deadline=None)
def test_every_text_comes_back(corpus: list[str], others: list[str]) -> None:
    tokenizer = trained(corpus)
    for text in corpus + others:
        assert tokenizer.decode(tokenizer.encode(text)) == text


@given(st.one_of(documents, tied), st.lists(texts, max_size=8))
@settings(max_examples=100, deadline=None)
def test_a_batch_is_its_texts_one_by_one(corpus: list[str], others: list[str]) -> None:
    tokenizer = trained(corpus)
    batch = corpus + others
    assert tokenizer.batch_encode(batch) == [tokenizer.encode(text) for text in batch]


@given(st.one_of(documents, tied), st.lists(texts, max_size=5))
@settings(max_examples=100, deadline=None)
def test_a_tokenizer_from_ranks_equals_the_trained_one(corpus: list[str], others: list[str]) -> None:
    tokenizer = trained(corpus)
    ranks = tokenizer.get_mergeable_ranks()
    again = rustbpe.Tokenizer.from_mergeable_ranks(ranks[::-1], SPLIT_PATTERN)
    assert again.get_mergeable_ranks() == ranks
    assert again.vocab_size == tokenizer.vocab_size
    assert again.batch_encode(corpus + others) == tokenizer.batch_encode(corpus + others)


@given(st.text(telling, min_size=70, max_size=300).map(lambda text: "".join(text.split())))
@settings(max_examples=100, deadline=None)
def test_long_words_have_tiktokens_ids(word: str) -> None:
    tokenizer = trained([word, word[::-1]], 600)
    assert tokenizer.encode(word * 3) == as_tiktoken(tokenizer).encode_ordinary(word * 3)


@pytest.mark.slow
def test_real_text_has_tiktokens_ids(shared_data: Path) -> None:
    shards = sorted((shared_data / "text").glob("*.parquet"))
    corpus = [text for shard in shards for text in pq.read_table(shard)["text"].to_pylist()[::8]]
    tokenizer = trained(corpus, 16384)
    assert tokenizer.vocab_size == 16384
    assert tokenizer.batch_encode(corpus) == as_tiktoken(tokenizer).encode_ordinary_batch(
        corpus, num_threads=2
    )


@pytest.fixture(scope="module", params=["r50k_base", "cl100k_base", "o200k_base"])
def published(
    request: pytest.FixtureRequest, shared_data: Path
) -> Iterator[tuple[rustbpe.Tokenizer, tiktoken.Encoding]]:
    """Ids that are not in byte order, ranks that no training here made, patterns of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(shared_data / "tiktoken-cache"))
        address = f"https://openaipublic.blob.core.windows.net/encodings/{request.param}.tiktoken"
        ranks = list(load_tiktoken_bpe(address).items())
        peer = tiktoken.get_encoding(request.param)
        yield rustbpe.Tokenizer.from_mergeable_ranks(ranks, peer._pat_str), peer


@pytest.mark.slow
def test_published_vocabularies_give_tiktokens_ids(
    published: tuple[rustbpe.Tokenizer, tiktoken.Encoding], shared_data: Path
) -> None:
    ours, peer = published
    shards = sorted((shared_data / "text").glob("*.parquet"))
    corpus = [text for shard in shards for text in pq.read_table(shard)["text"].to_pylist()[::20]]
    assert ours.batch_encode(corpus) == peer.encode_ordinary_batch(corpus, num_threads=2)
    assert ours.decode(ours.encode(corpus[0])) == corpus[0]


@given(st.one_of(st.text(), texts, st.lists(repeats, max_size=4).map("".join)))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
def test_published_vocabularies_on_random_unicode_and_long_runs(
    published: tuple[rustbpe.Tokenizer, tiktoken.Encoding], text: str
) -> None:
    ours, peer = published
    assert ours.encode(text) == peer.encode_ordinary(text)


@pytest.mark.parametrize(
    "unit", ["a", "A", " ", "\n", "!", "7", "é", "猫", "猫A", "A\u0301", "'s", " \t", "😀"]
)
def test_published_vocabularies_on_runs_of_one_class(
    published: tuple[rustbpe.Tokenizer, tiktoken.Encoding], unit: str
) -> None:
    ours, peer = published
    assert ours.encode(unit * 3000) == peer.encode_ordinary(unit * 3000)
