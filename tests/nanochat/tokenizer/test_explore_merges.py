"""Merge trees spell their tokens; a replay goes from bytes to the split through smaller vocabularies."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat.common.errors import UserError
from nanochat.tokenizer.explore.byte_level import RankSplitter
from nanochat.tokenizer.explore.merges import MergeTree, merge_tree, merges_of, with_vocab
from nanochat.tokenizer.explore.plain import ByteSplitter
from nanochat.tokenizer.explore.replay import replay
from nanochat.tokenizer.explore.splitter import Split, Splitter
from nanochat.tokenizer.sweep import of_size
from nanochat.tokenizer.tokenizer import Tokenizer

TEXT = [
    "the cat sat on the mat, the cats. naïve 中文字 中文 🙂🙃 12345 banana\n" * 3,
    "return self.x\n    " * 4,
]
TRAINED = Tokenizer.train_from_iterator(TEXT, 420)
OURS = RankSplitter("ours", TRAINED.ranks, TRAINED.pattern, TRAINED.special_ids)


def shuffled() -> RankSplitter:
    """No trained vocabulary: "ab" comes after what it is a part of, and no merge leads to "xyz"."""
    ranks = {bytes([byte]): 255 - byte for byte in range(256)}
    for token in (b"abc", b"cd", b"ab", b"xyz", b"abcd", b"aa"):
        ranks[token] = len(ranks)
    return RankSplitter("shuffled", ranks, r"[^ ]+| +")


ODD = shuffled()


def same(a: Split, b: Split) -> bool:
    return np.array_equal(a.ids, b.ids) and np.array_equal(a.ends, b.ends)


def leaves(tree: MergeTree) -> list[bytes]:
    if not tree.parts:
        return [tree.token]
    return [leaf for part in tree.parts for leaf in leaves(part)]


@pytest.mark.parametrize("splitter", [OURS, ODD], ids=lambda splitter: splitter.name)
def test_the_leaves_of_a_tree_are_the_bytes_of_the_token(splitter: Splitter) -> None:
    assert splitter.ranks is not None
    for token, rank in splitter.ranks.items():
        tree = merge_tree(splitter, rank)
        assert (tree.token, tree.token_id) == (token, rank)
        assert leaves(tree) == [bytes([byte]) for byte in token]
        assert (tree.depth == 0) == (len(token) == 1)
        assert [merge.end for merge in merges_of(splitter, token)][-1:] == [len(token)][: len(token) > 1]


def test_a_tree_is_in_the_order_of_the_ranks() -> None:
    tree = merge_tree(OURS, TRAINED.ranks[b" the"])
    assert tree.merged and tree.rank == tree.token_id and len(tree.parts) == 2
    assert all(part.rank is None or part.rank < tree.token_id for part in tree.parts if tree.token_id)
    odd = merge_tree(ODD, 259)
    assert not odd.merged and [part.token for part in odd.parts] == [b"x", b"y", b"z"]


def test_what_no_merge_makes_has_no_tree() -> None:
    with pytest.raises(UserError, match="added as a whole"):
        merge_tree(OURS, TRAINED.bos_id)
    with pytest.raises(UserError, match="bytes are not merged"):
        merge_tree(ByteSplitter(), 65)
    with pytest.raises(UserError, match="bytes are not merged"):
        replay(ByteSplitter(), "a")
    with pytest.raises(UserError, match="too long"):
        merges_of(OURS, b"a" * 5000)


def texts() -> st.SearchStrategy[str]:
    parts = st.sampled_from(
        ["the cat", " naïve", "中文字", "🙂", "banana", "aaaa", "abcd", "xyz", "xyzabc", " ", "\n"]
    )
    return st.lists(st.one_of(parts, st.text(max_size=6)), max_size=12).map("".join)


@pytest.mark.parametrize("splitter", [OURS, ODD], ids=lambda splitter: splitter.name)
@given(text=texts())
@settings(max_examples=30)
def test_a_replay_goes_from_bytes_to_the_split(splitter: RankSplitter, text: str) -> None:
    played, split = replay(splitter, text), splitter.split(text)
    assert same(played.state(len(played)), split)
    assert played.state(0).ends.tolist() == list(range(1, len(split.data) + 1))
    assert len(played) <= len(split.data)
    for number in range(0, len(played), 1 + len(played) // 5):
        before, merge, after = played.state(number), played.step(number), played.state(number + 1)
        gone = set(before.ends.tolist()) - set(after.ends.tolist())
        assert gone == set(merge.cuts) and set(after.ends.tolist()) < set(before.ends.tolist())
        for index, token in enumerate(after.ids.tolist()):
            assert splitter.token(token) == after.piece(index) or merge.end - merge.start > 2
    assert all(a <= b for a, b in pairwise(played.ranks))


@cache
def smaller(size: int) -> Splitter:
    return with_vocab(OURS, size)


@settings(max_examples=50)
@given(text=texts(), size=st.sampled_from([256, 257, 270, 300, 350, 400, 411, 10_000]))
def test_a_smaller_vocabulary_is_what_training_would_have_given(text: str, size: int) -> None:
    played = replay(OURS, text)
    assert same(played.of_size(size), smaller(size).split(text))
    if 256 < size <= len(TRAINED.ranks):
        ids = of_size(TRAINED, size + len(TRAINED.special_ids)).encode(text)
        assert played.of_size(size).ids.tolist() == ids
    changes = [at for at in played.sizes.tolist() if at <= size]
    assert same(played.of_size(changes[-1] if changes else 256), played.of_size(size))
