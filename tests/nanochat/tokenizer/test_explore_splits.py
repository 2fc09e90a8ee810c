"""Splits are byte-exact spans of the text, in blocks that never cut a character, for any tokenizer."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat.common.text import valid_text
from nanochat.tokenizer.evaluation import characters, count_text, words
from nanochat.tokenizer.explore.blocks import blocks
from nanochat.tokenizer.explore.byte_level import RankSplitter
from nanochat.tokenizer.explore.counting import cached_counts, count_corpus, rare
from nanochat.tokenizer.explore.differences import differences
from nanochat.tokenizer.explore.figures import figures
from nanochat.tokenizer.explore.plain import ByteSplitter, CharacterSplitter, WordSplitter
from nanochat.tokenizer.explore.rank_file import GPT2_PATTERN
from nanochat.tokenizer.explore.splitter import Split, Splitter
from nanochat.tokenizer.special_tokens import SPECIAL_TOKENS
from nanochat.tokenizer.tokenizer import Tokenizer

FAMILY = "👨‍👩‍👧‍👦"
TRAINED = Tokenizer.train_from_iterator(
    ["the cat sat on the mat. It's 1234 naïve 中文字 한국어 🙂\n" * 3, "def f(x):\n    return x\n" * 3], 400
)
OURS = RankSplitter("ours", TRAINED.ranks, TRAINED.pattern, TRAINED.special_ids)
LOSSY = RankSplitter("letters", TRAINED.ranks, r"\p{L}+")
SPLITTERS: list[Splitter] = [OURS, LOSSY, ByteSplitter(), CharacterSplitter(), WordSplitter()]


def texts() -> st.SearchStrategy[str]:
    """Any text, half surrogate pairs too, with what is hard for a screen in it."""
    parts = st.sampled_from(
        [
            FAMILY,
            "🇰🇷🇫🇷",
            "é",
            "e\u0301\u0323",
            "नमस्ते",
            "각",
            "각",
            "\r\n",
            "\ud83d",
            " \u3000",
            *SPECIAL_TOKENS[:2],
        ]
    )
    any_text = st.text(st.characters(), max_size=12)
    return st.lists(st.one_of(any_text, parts), max_size=8).map("".join)


def ranges(data: bytes) -> list[tuple[int, int]]:
    size = len(data)
    return [(0, size), (size // 3, size // 2), (size // 2, size // 2 + 1), (1, 2)]


@pytest.mark.parametrize("splitter", SPLITTERS, ids=lambda splitter: splitter.name)
@given(text=texts())
@settings(max_examples=30)
def test_tokens_tile_the_text(splitter: Splitter, text: str) -> None:
    split = splitter.split(text)
    assert split.text == valid_text(text)
    assert split.ids.dtype == np.uint32 and split.ends.dtype == np.int64
    if len(split):
        assert b"".join(split.piece(index) for index in range(len(split))) == split.data
    assert list(splitter.count_tokens([text, "", text])) == [len(split), 0, len(split)]
    if splitter.vocab_size:
        counts = splitter.count_ids([text, text])
        assert list(counts) == list(2 * np.bincount(split.ids, minlength=splitter.vocab_size))
    if not split.note and not isinstance(splitter, WordSplitter):
        assert [splitter.token(token) for token in split.ids.tolist()] == [
            split.piece(index) for index in range(len(split))
        ]


@pytest.mark.parametrize("clusters", [True, False])
@pytest.mark.parametrize("splitter", SPLITTERS, ids=lambda splitter: splitter.name)
@given(text=texts())
@settings(max_examples=30)
def test_blocks_are_whole_characters_and_cover_any_range(
    splitter: Splitter, clusters: bool, text: str
) -> None:
    split = splitter.split(text)
    whole = blocks(split, clusters=clusters)
    assert "".join(block.text for block in whole) == split.text
    for start, stop in ranges(split.data):
        some = blocks(split, start, stop, clusters=clusters)
        if start >= min(stop, len(split.data)):
            assert not some
            continue
        assert some[0].start <= start and some[-1].end >= min(stop, len(split.data))
        assert set(some) <= set(whole)  # the same, wherever one looks from
        assert all(a.end == b.start and a.last == b.first for a, b in pairwise(some))
    for block in whole:
        assert block.text.encode() == split.data[block.start : block.end]
        if block.hex:
            assert len(block.hex) == block.last - block.first > 1
            assert bytes.fromhex(" ".join(block.hex)) == block.text.encode()


def test_tokens_that_share_a_character_are_one_block_in_hex() -> None:
    text = f"a🙃{FAMILY}e\u0301"
    shown = blocks(ByteSplitter().split(text))
    assert [block.text for block in shown] == ["a", "🙃", FAMILY, "e\u0301"]
    assert shown[0].hex == () and shown[1].hex == ("f0", "9f", "99", "83")
    assert len(shown[2].hex) == 25
    points = blocks(CharacterSplitter().split(text), clusters=False)
    assert [block.text for block in points] == list(text) and not any(block.hex for block in points)


def test_a_block_far_into_a_long_text_takes_no_longer() -> None:
    """Blocks look at their own range: they never decode what is around it."""
    split = ByteSplitter().split("x" * 1000)
    object.__setattr__(split, "data", b"x" * 400 + "éx".encode() + b"\xff" * 597)  # no text elsewhere
    assert [block.text for block in blocks(split, 399, 402)] == ["x", "é"]


def test_special_tokens_in_a_text_are_plain_characters() -> None:
    split = OURS.split("<|bos|>")
    assert OURS.specials["<|bos|>"] not in split.ids and split.ids.tolist() == TRAINED.encode("<|bos|>")
    assert OURS.token(OURS.specials["<|bos|>"]) == b"<|bos|>" == OURS.spelled(TRAINED.bos_id).encode()
    for wrong in (-1, OURS.vocab_size):
        with pytest.raises(KeyError):
            OURS.token(wrong)


def test_a_pattern_that_leaves_out_text_says_so() -> None:
    assert "leaves out" in LOSSY.split("ab 12 cd!").note and not LOSSY.split("abc").note


@given(text=texts())
def test_words_and_characters_count_as_tok_eval_counts_them(text: str) -> None:
    text = valid_text(text)
    counted = count_text([text], [characters(), words()])
    assert [len(CharacterSplitter().split(text)), len(WordSplitter().split(text))] == [
        count.tokens for count in counted
    ]


# -- differences and figures -------------------------------------------------------------------------


def made(text: str, *ends: int) -> Split:
    return Split(text, np.zeros(len(ends), np.uint32), np.asarray(ends, np.int64))


def test_differences_are_between_borders_that_all_share() -> None:
    found = differences([made("abcdefghij", 2, 4, 6, 10), made("abcdefghij", 2, 5, 6, 8, 9, 10)])
    assert (found.starts.tolist(), found.ends.tolist()) == ([2, 6], [6, 10])
    assert [found.holds(byte) for byte in (0, 1, 2, 5, 6, 9)] == [False, False, True, True, True, True]
    assert [found.next(byte) for byte in (0, 2, 5, 6, 9)] == [2, 6, 6, 2, 2]
    assert [found.previous(byte) for byte in (0, 2, 3, 6, 9)] == [6, 6, 2, 2, 6]
    assert differences([made("ab", 1, 2)]).next(0) is None
    with pytest.raises(ValueError, match="different texts"):
        differences([made("ab", 2), made("ac", 2)])


@given(text=texts())
def test_differences_are_where_borders_differ(text: str) -> None:
    splits = [splitter.split(text) for splitter in (OURS, CharacterSplitter(), WordSplitter())]
    found = differences(splits)
    borders = [set(split.ends.tolist()) - {len(split.data)} for split in splits]
    shared, some = set.intersection(*borders), set.union(*borders)
    for byte in range(1, len(splits[0].data)):
        inside = any(a < byte < b for a, b in zip(found.starts.tolist(), found.ends.tolist(), strict=True))
        assert inside or byte not in some - shared
        assert not (inside and byte in shared)


def test_figures_are_those_of_tok_eval() -> None:
    text = "the cat sat 中文"
    ours, theirs = figures([OURS.split(text), ByteSplitter().split(text)])
    assert ours.tokens == len(TRAINED.encode(text)) and theirs.tokens == 18
    assert (ours.length_ratio, ours.attention_ratio, ours.fewer_percent) == (1, 1, 0)
    assert theirs.length_ratio == 18 / ours.tokens
    assert theirs.attention_ratio == pytest.approx((18 / ours.tokens) ** 2)
    assert theirs.fewer_percent == pytest.approx(100 * (18 - ours.tokens) / 18)
    assert theirs.bytes_per_token == 1 and theirs.tokens_per_word == 18 / 4
    assert figures([OURS.split(""), ByteSplitter().split("")])[1].length_ratio is None


# -- counting ----------------------------------------------------------------------------------------

DATA = "ab" * 32


def test_ids_are_counted_once_and_kept(tmp_path: Path) -> None:
    corpus = [["the cat", "中文"], ["the mat" * 40]]
    seen: list[tuple[int, int]] = []
    found = count_corpus(tmp_path, OURS, DATA, corpus, progress=lambda *done: seen.append(done))
    assert found is not None and (found.documents, found.bytes) == (3, 7 + 6 + 280)
    assert seen == [(3, 293)]
    ids = [token for batch in corpus for text in batch for token in TRAINED.encode(text)]
    assert found.tokens == len(ids) and found.counts[ids[0]] == ids.count(ids[0])
    kept = cached_counts(tmp_path, OURS, DATA)
    assert kept is not None and kept.counts.tolist() == found.counts.tolist()
    assert (kept.documents, kept.bytes) == (found.documents, found.bytes)
    assert cached_counts(tmp_path, OURS, "cd" * 32) is None
    assert cached_counts(tmp_path, RankSplitter("other", TRAINED.ranks, GPT2_PATTERN), DATA) is None
    places = found.places()
    assert places[int(found.counts.argmax())] == 1 and places.max() <= len(found.counts)
    never = rare(OURS, found).never.tolist()
    assert set(never) == {token for token in range(len(TRAINED.ranks)) if token not in ids}
    hardly = rare(OURS, found, limit=40).hardly.tolist()
    assert hardly == [token for token in range(len(TRAINED.ranks)) if 0 < ids.count(token) < 40]


def test_a_cancelled_count_keeps_nothing(tmp_path: Path) -> None:
    assert count_corpus(tmp_path, OURS, DATA, [["a"]], cancelled=lambda: True) is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", [lambda raw: raw[:-30], lambda raw: b"", lambda raw: b"PK" + raw[9:]])
def test_a_damaged_count_is_counted_anew(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    assert count_corpus(tmp_path, OURS, DATA, [["the cat"]]) is not None
    (path,) = tmp_path.rglob("*.npz")
    path.write_bytes(damage(path.read_bytes()))
    assert cached_counts(tmp_path, OURS, DATA) is None
