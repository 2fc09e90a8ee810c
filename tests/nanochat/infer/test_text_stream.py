"""From tokens to text: whole characters, stop strings over any borders, tool calls apart."""

import codecs
import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.infer.scheduler import FinishReason, NewToken
from nanochat.infer.text_stream import Delta, StopStrings, TextStream
from nanochat.infer.token_table import token_table
from nanochat.infer.transcript import transcript
from nanochat.serve.api.logprobs import prompt_text, text_offsets
from nanochat.tokenizer.tokenizer import Tokenizer

EMOJI = "🙂".encode()
MERGES = [b"he", b"ll", b"hell", b" w", "é".encode(), EMOJI[:2], EMOJI[2:], b"\xef\xbf", b"\xbf\xbd", b"o w"]
TOKENIZER = Tokenizer(
    {bytes([byte]): byte for byte in range(256)} | {m: 256 + i for i, m in enumerate(MERGES)}
)
TABLE = token_table(TOKENIZER)
SPECIAL = TOKENIZER.special_id

pieces = st.lists(st.integers(0, 255 + len(MERGES)), max_size=30)
"""Tokens of any bytes, many of which are no UTF-8."""
texts = st.text(alphabet="helo w🙂é\ufffd", max_size=30)
stops = st.lists(st.text(alphabet="helo w🙂\ufffd", min_size=1, max_size=4), max_size=3)
cuts = st.lists(st.integers(0, 60), max_size=8)
anything = st.lists(st.integers(0, TOKENIZER.vocab_size - 1), min_size=1, max_size=30)
"""Tokens of any bytes and special ones."""


def stream_of(
    ids: Sequence[int], stream: TextStream, cuts: Sequence[int] = (), reason: FinishReason = FinishReason.STOP
) -> list[Delta]:
    """The deltas when news comes in batches that end at `cuts`; the last of `ids` ends the sample."""
    deltas = []
    for number, token in enumerate(ids):
        last = number == len(ids) - 1
        stream.add(NewToken(0, 0, token, forced=False, finish_reason=reason if last else None))
        if last or number in cuts:
            deltas.append(stream.take())
    return deltas


def joined(deltas: Sequence[Delta]) -> Delta:
    whole = Delta()
    for delta in deltas:
        whole.extend(delta)
    return whole


def ended(ids: Sequence[int]) -> list[int]:
    return [*ids, SPECIAL("assistant_end")]


def cut_at_stop(text: str, stops: Sequence[str]) -> str:
    """The text before the stop string that is complete first: one character after the other."""
    for end in range(len(text) + 1):
        begun = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if begun:
            return text[: min(begun)]
    return text


@given(texts, stops, cuts)
def test_text_comes_out_as_it_was_but_for_what_a_stop_string_ends(
    text: str, stops: list[str], cuts: list[int]
) -> None:
    deltas = stream_of(ended(TOKENIZER.encode(text)), TextStream(TABLE, stops), cuts)
    assert joined(deltas).text == cut_at_stop(text, stops)
    assert joined(deltas).finish_reason is FinishReason.STOP


@given(texts, stops, cuts)
def test_nothing_of_a_stop_string_ever_leaves(text: str, stops: list[str], cuts: list[int]) -> None:
    wanted = cut_at_stop(text, stops)
    stream = TextStream(TABLE, stops)
    said = ""
    for delta in stream_of(ended(TOKENIZER.encode(text)), stream, cuts):
        said += delta.text
        assert wanted.startswith(said)


@given(pieces, cuts)
def test_any_bytes_come_out_as_decoded_at_once_without_an_unfinished_last_character(
    ids: list[int], cuts: list[int]
) -> None:
    raw = b"".join(TABLE.bytes_of[token] or b"" for token in ids)
    expected = raw.decode("utf-8", "replace")
    if unfinished(raw):
        expected = expected[:-1]
    assert joined(stream_of(ended(ids), TextStream(TABLE), cuts)).text == expected


def unfinished(raw: bytes) -> bool:
    """Whether bytes end in the beginning of a character."""
    for begin in range(max(0, len(raw) - 3), len(raw)):
        try:
            raw[begin:].decode()
        except UnicodeDecodeError as error:
            if (error.start, error.reason) == (0, "unexpected end of data"):
                return True
    return False


def test_half_a_character_waits_and_a_real_replacement_character_does_not() -> None:
    half = TOKENIZER.encode("🙂")[0]
    assert TABLE.bytes_of[half] == EMOJI[:2]
    stream = TextStream(TABLE)
    stream.add(NewToken(0, 0, half, forced=False))
    assert not stream.take()
    stream.add(NewToken(0, 0, TOKENIZER.encode("🙂")[1], forced=False))
    assert stream.take().text == "🙂"
    assert joined(stream_of(ended(TOKENIZER.encode("a\ufffd")), TextStream(TABLE))).text == "a\ufffd"
    cut = [*TOKENIZER.encode("a"), half]
    assert joined(stream_of(cut, TextStream(TABLE), reason=FinishReason.LENGTH)).text == "a"


def test_text_that_may_begin_a_stop_string_is_held_back_until_it_does_not() -> None:
    stream = TextStream(TABLE, ["o wx"])
    ids = TOKENIZER.encode("hello w")
    for token in ids:
        stream.add(NewToken(0, 0, token, forced=False))
    assert stream.take().text == "hell"
    stream.add(NewToken(0, 0, TOKENIZER.encode("y")[0], forced=False))
    assert stream.take().text == "o wy"


@given(texts, stops, cuts)
def test_the_tokens_of_a_stop_string_are_not_told_and_those_before_it_all_are(
    text: str, stops: list[str], cuts: list[int]
) -> None:
    ids = TOKENIZER.encode(text)
    stream = TextStream(TABLE, stops, keep_tokens=True)
    whole = joined(stream_of(ended(ids), stream, cuts))
    told = [token.new.token for token in whole.tokens]
    assert told == ids[: len(told)]
    kept = b"".join(TABLE.bytes_of[token] or b"" for token in told)
    assert kept.startswith(whole.text.encode())
    begins = [token.offset for token in whole.tokens]
    assert begins == sorted(begins) and all(at < len(whole.text) for at in begins)
    if whole.text == text:
        assert told == ids


@given(texts, cuts)
def test_a_token_is_told_with_its_first_character(text: str, cuts: list[int]) -> None:
    stream = TextStream(TABLE, ["hel", "🙂🙂"], keep_tokens=True)
    said = 0
    for delta in stream_of(ended(TOKENIZER.encode(text)), stream, cuts):
        said += len(delta.text)
        assert all(token.offset < said for token in delta.tokens)


@given(pieces)
def test_offsets_are_those_of_the_character_that_a_tokens_first_byte_belongs_to(ids: list[int]) -> None:
    raws = [TABLE.bytes_of[token] or b"" for token in ids]
    owners = character_of_each_byte(b"".join(raws))
    places = [0, *itertools.accumulate(map(len, raws))][: len(ids)]
    assert text_offsets(TABLE, ids) == [owners[place] for place in places]
    text = prompt_text(TABLE, ids)
    assert len(text) == (owners[-1] + 1 if owners else 0)


def character_of_each_byte(raw: bytes) -> list[int]:
    """By the spans that Python's own decoder replaces."""
    bad: list[tuple[int, int]] = []

    def replace(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeDecodeError)
        bad.append((error.start, error.end))
        return "\ufffd", error.end

    codecs.register_error("spans", replace)
    raw.decode("utf-8", "spans")
    owners: list[int] = []
    number, at = 0, 0
    for start, end in [*bad, (len(raw), len(raw))]:
        for character in raw[at:start].decode():
            owners += [number] * len(character.encode())
            number += 1
        owners += [number] * (end - start)
        number, at = number + 1, end
    return owners


def test_the_stop_string_that_is_complete_first_wins_however_text_arrives() -> None:
    stops = StopStrings(["abcd", "bc", "c"])
    assert stops.find("xabcd") == 2
    assert StopStrings(["ab", "b"]).find("xab") == 1
    assert stops.find("ab") is None
    assert [StopStrings(["abc"]).overlap(text) for text in ("xab", "xabx", "a", "", "bc")] == [2, 0, 1, 0, 0]
    assert StopStrings(["x"]).overlap("abx") == 0


# -- tool calls ---------------------------------------------------------------------------------------


def call_of(expression: str, output: str | None) -> list[int]:
    result = []
    if output is not None:
        result = [SPECIAL("output_start"), *TOKENIZER.encode(output), SPECIAL("output_end")]
    return [SPECIAL("python_start"), *TOKENIZER.encode(expression), SPECIAL("python_end"), *result]


@given(texts, texts, texts, cuts)
def test_tool_calls_are_set_apart_with_their_place_in_the_text(
    before: str, expression: str, after: str, cuts: list[int]
) -> None:
    ids = [*TOKENIZER.encode(before), *call_of(expression, "36"), *TOKENIZER.encode(after)]
    whole = joined(stream_of(ended(ids), TextStream(TABLE), cuts))
    assert whole.text == before + after
    assert [call.document for call in whole.calls] == [
        {
            "index": 0,
            "type": "calculator",
            "arguments": expression,
            "output": "36",
            "offset": len(before),
        }
    ]


@pytest.mark.parametrize(
    ("ids", "calls"),
    [
        (call_of("1/0", None), [("1/0", None)]),
        ([*call_of("1/0", None), *TOKENIZER.encode("he")], [("1/0", None)]),
        ([*call_of("1+1", "2"), *call_of("2+2", "4")], [("1+1", "2"), ("2+2", "4")]),
        ([*call_of("1/0", None), *call_of("2+2", "4")], [("1/0", None), ("2+2", "4")]),
        (call_of("1+1", "2")[:-1], [("1+1", "2")]),
        (call_of("1+1", None)[:-1], [("1+1", None)]),
        ([SPECIAL("python_start"), *call_of("1+1", "2")], [("1+1", "2")]),
        ([SPECIAL("python_end"), *TOKENIZER.encode("he")], []),
        (call_of("", "9")[2:], [("", "9")]),
        ([SPECIAL("output_end"), SPECIAL("user_start")], []),
    ],
)
def test_calls_that_are_unfinished_repeated_or_made_up(
    ids: list[int], calls: list[tuple[str, str | None]]
) -> None:
    whole = joined(stream_of(ended(ids), TextStream(TABLE)))
    assert [(call.expression, call.output) for call in whole.calls] == calls
    assert [call.index for call in whole.calls] == list(range(len(calls)))
    assert whole.text in ("", "he")


def test_a_model_without_tools_has_only_text() -> None:
    ids = [*TOKENIZER.encode("he"), *call_of("llo", None), *TOKENIZER.encode(" w")]
    whole = joined(stream_of(ended(ids), TextStream(TABLE, tools=False)))
    assert (whole.text, whole.calls) == ("hello w", [])


def test_what_is_forced_and_what_ends_the_sample_counts_but_is_no_token_of_the_text() -> None:
    ids = ended([*TOKENIZER.encode("he"), *call_of("1+1", "2")])
    stream = TextStream(TABLE, keep_tokens=True)
    assert [token.new.token for token in joined(stream_of(ids, stream)).tokens] == TOKENIZER.encode("he")
    assert stream.count == len(ids)
    with_end = TextStream(TABLE, keep_tokens=True, keep_end=True)
    told = joined(stream_of(ids, with_end)).tokens
    assert (told[-1].new.token, told[-1].offset) == (SPECIAL("assistant_end"), 2)


def test_nothing_counts_after_a_stop_string() -> None:
    stream = TextStream(TABLE, ["l"])
    deltas = stream_of(ended(TOKENIZER.encode("he"))[:-1] + TOKENIZER.encode("lloo"), stream)
    assert joined(deltas).text == "he"
    assert stream.ended and stream.count == 2


def test_a_transcript_is_the_text_and_the_calls_in_their_order() -> None:
    start, end = SPECIAL("python_start"), SPECIAL("python_end")
    output_start, output_end = SPECIAL("output_start"), SPECIAL("output_end")

    def ids(text: str) -> list[int]:
        return list(text.encode())

    sample = [
        *ids("so é "), start, *ids("1+1"), end, output_start, *ids("2"), output_end, start, *ids("x"), end,
        *ids("!"), SPECIAL("assistant_end"),
    ]  # fmt: skip
    whole = [
        ("text", "so é "), ("python", "1+1"), ("python_output", "2"), ("python", "x"), ("text", "!"),
    ]  # fmt: skip
    assert transcript(TABLE, sample, FinishReason.STOP) == whole
    assert transcript(TABLE, sample[:9], FinishReason.LENGTH) == [("text", "so é "), ("python", "1+")]
    assert transcript(TABLE, [], FinishReason.STOP) == []


@given(anything, stops, cuts, st.booleans(), st.booleans())
def test_tokens_that_come_together_tell_what_they_tell_one_by_one(
    ids: list[int], stops: list[str], cuts: list[int], keep_tokens: bool, tools: bool
) -> None:
    def new_stream() -> TextStream:
        return TextStream(TABLE, stops, tools=tools, keep_tokens=keep_tokens, keep_end=True)

    one_by_one, together = new_stream(), new_stream()
    last = len(ids) - 1
    news = [
        NewToken(0, 0, token, False, FinishReason.LENGTH if number == last else None)
        for number, token in enumerate(ids)
    ]
    found = []
    borders = sorted({0, *(cut for cut in cuts if cut < len(ids)), len(ids)})
    for start, end in itertools.pairwise(borders):
        together.add_all(news[start:end])
        found.append(together.take())
    assert found == stream_of(ids, one_by_one, [end - 1 for end in borders[1:]], FinishReason.LENGTH)
    assert (together.count, together.ended) == (one_by_one.count, one_by_one.ended)
