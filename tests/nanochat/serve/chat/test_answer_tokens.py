"""The tokens of an answer as servers tell them, and the figures that come of them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.serve.answer import Answer
from nanochat.serve.answer_parts import PartList
from nanochat.serve.answer_stream import AnswerReader, Finish, Progress
from nanochat.serve.answer_tokens import (
    AnswerToken,
    Guess,
    TokenList,
    read_chat_tokens,
    read_ids,
    read_legacy_tokens,
)
from nanochat.serve.conversation import AnswerSettings, Part

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    ["content", "tokens", "token_logprobs", "top_logprobs", "token", "logprob", "bytes", "index", "text"]
)
SHAPED = st.recursive(
    JSON, lambda inner: st.dictionaries(FIELDS, inner) | st.lists(inner, max_size=3), max_leaves=12
)


def answer() -> Answer:
    return Answer("q", AnswerSettings(), "m")


def progress(count: int, **fields: Any) -> Progress:
    content = {"content": [{"token": "a", "logprob": -1.0, "bytes": [97]}] * count}
    return Progress(tokens=tuple(read_chat_tokens(content)), **fields)


def events(*documents: dict[str, Any]) -> list[Part | Progress]:
    reader = AnswerReader({})
    return [event for document in documents for event in reader.event(json.dumps(document))]


def test_a_chats_tokens_are_read_with_their_bytes_and_alternatives() -> None:
    top = [{"token": "\ufffd", "logprob": -0.5, "bytes": [0xC3]}, {"token": "b", "logprob": -1.5}]
    half = {"token": "\ufffd", "logprob": -0.5, "bytes": [0xC3], "top_logprobs": top, "index": 7}
    (token,) = read_chat_tokens({"content": [half]})
    assert (token.raw, token.logprob, token.index) == (b"\xc3", -0.5, 7)
    assert token.top == (Guess("\ufffd", -0.5), Guess("b", -1.5))
    assert token.probability == pytest.approx(0.60653, abs=1e-5)
    (plain,) = read_chat_tokens({"content": [{"token": "é", "logprob": 3.0, "bytes": None}]})
    assert (plain.raw, plain.probability, plain.top, plain.index) == ("é".encode(), 1.0, (), None)


def test_a_completions_tokens_are_read_from_their_lists() -> None:
    lists = {
        "tokens": ["a", "bytes:\\xe2\\x80", "bytes:", "c"],
        "token_logprobs": [None, -2.0, -0.25],
        "top_logprobs": [None, {"x": -3.0, "bytes:\\xe2\\x80": -2.0}],
    }
    tokens = list(read_legacy_tokens(lists))
    assert [token.raw for token in tokens] == [b"a", b"\xe2\x80", b"bytes:", b"c"]
    assert [token.logprob for token in tokens] == [None, -2.0, -0.25, None]
    assert tokens[1].top == (Guess("\ufffd", -2.0), Guess("x", -3.0))


@pytest.mark.slow
@given(SHAPED)
def test_whatever_a_server_sends_as_tokens_is_read_or_left_out(value: Any) -> None:
    for token in (*read_chat_tokens(value), *read_legacy_tokens(value)):
        token.text.encode()
        assert token.probability is None or 0 <= token.probability <= 1
    assert all(0 <= one < 1 << 31 for one in read_ids(value))


@given(SHAPED)
def test_whatever_stands_in_an_event_is_parts_and_progress(value: Any) -> None:
    choice = {"delta": {"content": "a"}, "logprobs": value, "token_ids": value, "finish_reason": "stop"}
    found = events({"choices": [choice], "usage": value, "timings": value, "prompt_token_ids": value})
    assert [event for event in found if isinstance(event, Part)] == [Part("text", "a")]


def test_an_event_tells_tokens_ids_and_who_answers_once() -> None:
    logprobs = {"content": [{"token": "a", "logprob": -1.0}]}
    choice = {"delta": {"content": "a"}, "logprobs": logprobs, "token_ids": [5]}
    first = {"choices": [choice], "system_fingerprint": "sft/d2@5", "prompt_token_ids": [1, 2]}
    found = events(first, {"choices": [choice], "system_fingerprint": "sft/d2@5"})
    assert [type(event) for event in found] == [Progress, Part, Progress, Part]
    told = found[0]
    assert isinstance(told, Progress) and told.fingerprint == "sft/d2@5"
    assert (told.ids, told.prompt_ids, told.total) == ((5,), (1, 2), None)
    assert isinstance(found[2], Progress) and found[2].fingerprint == ""
    assert events({"choices": [{"delta": {"content": "a"}}]}) == [Part("text", "a")]
    thought = {"choices": [{"delta": {"reasoning_content": "hm"}, "logprobs": logprobs}]}
    assert events(thought) == [Progress(is_thinking=True)]
    assert events({"choices": [{"text": "a", "index": 0}]}) == [Part("text", "a")]


def test_lists_of_tokens_and_parts_give_back_what_was_put_in() -> None:
    half = AnswerToken("\ufffd", b"\xc3", None, (Guess("a", -1.0),), 3)
    tokens = TokenList([half])
    tokens.extend([AnswerToken("b", b"b", -0.5)])
    assert tokens == [half, AnswerToken("b", b"b", -0.5)] and tokens[-1].index is None
    assert (tokens[0].raw, tokens[0].top, tokens[0].index, tokens[0].logprob) == (b"\xc3", half.top, 3, None)
    assert tokens[1:] == [tokens[1]] and next(iter(tokens)) == half and len(tokens) == 2
    made = [Part("text", "a"), Part("python", "6*7"), Part("python_output", "42")]
    parts = PartList(made[:2])
    parts.append(made[2])
    assert parts == made and parts[-1] == made[2] and parts[1:] == made[1:] and not PartList()
    for sequence in (tokens, parts):
        with pytest.raises(IndexError):
            sequence[len(sequence)]


def test_the_speed_is_of_the_tokens_after_those_that_came_first() -> None:
    found = answer()
    found.take(Progress(fingerprint="sft/d2@5"), 0.25)  # who answers is no token
    assert found.first_seconds is None
    found.take(progress(3), 0.5)
    found.take(Part("text", "aaa"), 0.5)
    assert (found.first_seconds, found.token_count, found.tokens_per_second) == (0.5, 3, None)
    found.take(progress(8), 1.5)
    assert (found.token_count, found.tokens_per_second) == (11, 8.0)
    found.take(progress(0, ids=(1, 2)), 2.5)  # a tool's tokens are no text, and count
    assert (found.token_count, found.tokens_per_second) == (13, 5.0)
    found.finish, found.seconds = Finish("stop", 4, 23), 2.5
    assert found.tokens_per_second == 10.0


def test_tokens_that_come_all_at_once_have_no_speed() -> None:
    found = answer()
    found.take(progress(1), 0.21)
    found.take(progress(12), 0.212)  # kept back on the way, by a busy machine or a proxy
    found.finish, found.seconds = Finish("stop", 4, 13), 0.212
    assert (found.token_count, found.tokens_per_second) == (13, None)


def test_a_server_that_counts_is_believed_and_one_that_does_not_has_no_speed() -> None:
    counted = answer()
    counted.take(progress(1, total=1), 0.5)
    counted.take(progress(1, total=6), 1.5)
    assert (counted.token_count, counted.tokens_per_second) == (6, 5.0)
    silent = answer()
    silent.take(Part("text", "a whole sentence at once"), 0.5)
    silent.take(Part("text", "and another"), 1.5)
    assert (silent.token_count, silent.tokens_per_second) == (None, None)
    silent.finish, silent.seconds = Finish("stop", 4, 11), 1.5
    assert (silent.token_count, silent.tokens_per_second) == (11, 10.0)
