"""Vocabularies as columns: what a search leaves, in what order, and how two of them differ."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.common.errors import UserError
from nanochat.tokenizer.explore.differing import differing
from nanochat.tokenizer.explore.patterns import PatternSearch
from nanochat.tokenizer.explore.search import Search, matching, parse_search
from nanochat.tokenizer.explore.spelling import hexed, shown
from nanochat.tokenizer.explore.vocabulary import KINDS, TokenTable, read_tokens

TOKENS = [b"the", b" the", b"The", b"a", b"\xe4\xbd", "你".encode(), b"", b"\n\n", b"ing", b" sing", b"12"]


@dataclass
class FakeSplitter:
    """What reading a vocabulary asks of a splitter."""

    tokens: list[bytes]
    specials: Mapping[str, int] = field(default_factory=dict)
    name: str = "fake"
    ranks: Mapping[bytes, int] | None = None

    @property
    def vocab_size(self) -> int:
        return len(self.tokens) + len(self.specials)

    def token(self, token_id: int) -> bytes:
        return self.tokens[token_id]


def table(tokens: list[bytes], specials: Mapping[str, int] | None = None, name: str = "fake") -> TokenTable:
    return read_tokens(FakeSplitter(tokens, specials or {}, name))  # type: ignore[arg-type]


def found(text: str, counts: list[int] | None = None) -> list[int]:
    told = None if counts is None else np.array(counts)
    return [int(one) for one in matching(table(TOKENS, {"<|bos|>": 11}), parse_search(text), told)]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", list(range(12))),
        ("the", [0, 1, 2]),
        ("The", [2]),
        (" the", [1]),
        (r"\n", [7]),
        (r"\xe4", [4]),
        ("ing len:4-", [9]),
        ("len:4-  s", [9]),
        ("#2-4", [2, 3, 4]),
        ("#0 the", [0]),
        ("id:8- is:special", [11]),
        ("is:part", [4]),
        ("is:byte", [3]),
        ("hex:bd", [4, 5]),
        ("chars:1", [3, 5]),
        ("chars:-1 len:2-", [4, 5]),
        ("bos", [11]),
    ],
)
def test_a_search_finds_what_is_meant(text: str, ids: list[int]) -> None:
    assert found(text) == ids


def test_searches_by_count_need_counts_and_leave_special_tokens_out() -> None:
    counts = [100, 9, 10, 0, 5, 0, 0, 3, 50, 11, 10, 0]
    assert found("is:never", counts) == [3, 5]
    assert found("is:hardly", counts) == [1, 4, 7]
    assert found("count:9-10", counts) == [1, 2, 10]
    with pytest.raises(UserError, match="counted"):
        found("is:never")


@pytest.mark.parametrize(
    "text", ["len:", "len:a", "len:1-2-3", "len:1 len:2", "is:", "is:word", "hex:f", "#x", "re:" + "a" * 501]
)
def test_a_term_that_says_nothing_is_one_line(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_search(text)
    assert "\n" not in str(caught.value)


def test_a_pattern_is_all_that_follows() -> None:
    assert parse_search("len:3 ing re:^ ?the len:4$") == Search(
        text="ing", sizes=(3, 3), pattern="^ ?the len:4$"
    )


@given(st.text(max_size=30))
def test_anything_typed_is_a_search_or_one_line(text: str) -> None:
    try:
        search = parse_search(text)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(search, Search)


pieces = st.lists(
    st.one_of(st.text("aB c.é你", max_size=6).map(str.encode), st.binary(max_size=5)), min_size=1, max_size=40
)


@given(pieces, st.text("abB c.é你", max_size=3))
def test_text_is_found_where_it_stands_and_nowhere_else(tokens: list[bytes], text: str) -> None:
    made = table(tokens)
    search = Search(text=text)

    def holds(token: bytes) -> bool:
        there = token.decode("utf-8", "backslashreplace")
        return text in there if text != text.lower() else text in there.lower()

    assert matching(made, search).tolist() == [i for i, token in enumerate(tokens) if holds(token)]


@given(pieces, st.text("abB .", max_size=3), st.text("abB .", max_size=2))
def test_searching_on_within_what_was_found_finds_the_same(tokens: list[bytes], text: str, more: str) -> None:
    made = table(tokens)
    first = matching(made, Search(text=text))
    longer = Search(text=more + text + more)
    assert matching(made, longer, within=first).tolist() == matching(made, longer).tolist()


@given(pieces, st.sampled_from(["id", "text", "bytes", "characters", "count"]), st.booleans())
def test_an_order_keeps_every_id_and_rises_or_falls(
    tokens: list[bytes], column: str, descending: bool
) -> None:
    made = table(tokens)
    counts = np.array([len(token) * 7 % 5 for token in tokens])
    every = np.arange(len(tokens))
    order = made.ordered(every, column, descending, counts).tolist()
    values = {
        "id": every,
        "text": made.alphabetical,
        "bytes": made.sizes,
        "characters": made.characters,
        "count": counts,
    }[column]
    sorted_by = [int(values[token]) for token in order]
    assert sorted(order) == every.tolist()
    assert sorted_by == sorted(sorted_by, reverse=descending)


def test_the_alphabet_is_that_of_bytes() -> None:
    made = table([b"b", b"a", b"", b"ab", b"\xff", b"a"])
    assert made.ordered(np.arange(6), "text").tolist() == [2, 1, 5, 3, 0, 4]


def test_kinds_and_lengths() -> None:
    made = table(TOKENS, {"<|bos|>": 11})
    assert [made.kind(i) for i in (0, 3, 4, 5, 6, 11)] == ["text", "byte", "part", "text", "none", "special"]
    assert made.lengths(np.arange(12))[:5] == [1, 1, 3, 4, 1]
    assert set(made.kinds.tolist()) <= set(range(len(KINDS)))
    with pytest.raises(UserError, match="no vocabulary"):
        table([])


# ---- two vocabularies --------------------------------------------------------------------------------


def test_two_vocabularies_differ_in_what_only_one_has_and_what_moved() -> None:
    one = table([b"a", b"b", b"ab", b"<x>"], {"<x>": 4}, "one")
    other = table([b"a", b"ab", b"b", b"c"], {"<x>": 4}, "other")
    told = differing(one, other)
    assert told.only_a.tolist() == [3]  # text that spells the special token is another token
    assert told.only_b.tolist() == [3]
    assert told.moved.tolist() == [[1, 2], [2, 1]]
    assert (told.same, told.shared, told.union) == (2, 4, 6)
    assert "in both: 4 (66.7 % of all), 2 with the same id, 2 with another" in told.summary()


@given(pieces, pieces)
def test_every_token_is_in_one_or_in_both(first: list[bytes], second: list[bytes]) -> None:
    one, other = table(first), table(second)
    told = differing(one, other)
    a, b = {t for t in first if t}, {t for t in second if t}
    assert {first[i] for i in told.only_a} == a - b
    assert {second[i] for i in told.only_b} == b - a
    assert len(told.only_a) + told.shared == sum(bool(token) for token in first)
    assert all(first[i] and first[i] == second[j] and i != j for i, j in told.moved)


# ---- patterns ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def answers() -> Mapping[str, object]:
    """One process, asked several times; then one that is ended by its limits."""

    async def ask() -> dict[str, object]:
        search = PatternSearch(["the", " the", "你好", "ing\n"])
        told: dict[str, object] = {}
        try:
            for pattern in (r"^the$", r"\p{Han}", r"ing$", "the"):
                told[pattern] = (await search.find(pattern)).tolist()
            for wrong in ("(", "[", "(" * 400):
                with pytest.raises(UserError, match="no such pattern"):
                    await search.find(wrong)
            was_there = search._process is not None
            with pytest.raises(asyncio.CancelledError):
                task = asyncio.create_task(search.find("the"))
                await asyncio.sleep(0)
                task.cancel()
                await task
            told["ended"] = was_there and search._process is None
            told["again"] = (await search.find("the")).tolist()
        finally:
            search.close()
        return told

    return asyncio.run(ask())


def test_a_pattern_finds_tokens(answers: Mapping[str, object]) -> None:
    assert answers["^the$"] == [0]
    assert answers[r"\p{Han}"] == [2]
    assert answers["the"] == [0, 1]


def test_a_search_that_is_cancelled_ends_its_process_and_the_next_one_works(
    answers: Mapping[str, object],
) -> None:
    assert answers["ended"] is True
    assert answers["again"] == [0, 1]


def test_a_pattern_that_takes_too_long_is_given_up() -> None:
    async def ask() -> None:
        search = PatternSearch(["a" * 40 + "c"], seconds=0.3)
        try:
            await search.find("c")
            with pytest.raises(UserError, match=r"takes over 0\.3 s"):
                await search.find(r"^(?:a|aa|aaa)+(?:a|aa)+(?:a|aa)+b|(?:(a+)(a+))+\1\2d")
            assert (await search.find("c")).tolist() == [0]
        finally:
            search.close()

    asyncio.run(ask())


# ---- spelling ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "text"),
    [
        (b" the", "·the"),
        (b"\n\n\t", "↵↵⇥"),
        (b"\xe4\xbd", "⟨e4 bd⟩"),
        (b"a\xe4", "a⟨e4⟩"),
        (b"\x1b[31m", "␛[31m"),
        (b"a\xe4 \xbdb\xff\xfe", "a⟨e4⟩·⟨bd⟩b⟨ff fe⟩"),
        ("\u0301".encode(), "◌\u0301"),
        ("\u200d".encode(), "⟨200d⟩"),
        ("\ufe0f".encode(), "⟨fe0f⟩"),
        ("\U0001f3fd".encode(), "⟨1f3fd⟩"),
        ("नि".encode() + b"\xe0\xa4", "नि⟨e0 a4⟩"),
        (b"\xe0\xa4" + "\u093f".encode(), "⟨e0 a4⟩◌\u093f"),
        ("你".encode(), "你"),
    ],
)
def test_every_byte_of_a_token_can_be_seen(token: bytes, text: str) -> None:
    assert shown(token) == text


@given(st.binary(max_size=40))
def test_no_token_acts_on_a_terminal(token: bytes) -> None:
    line = shown(token)
    assert "�" not in line or "�".encode() in token
    assert not any(letter < " " or letter == "\x7f" for letter in line)


def test_bytes_in_hex_are_cut() -> None:
    assert hexed(b"\x00\xff") == "00 ff"
    assert hexed(bytes(9), 2) == "00 00 …"
