"""The client of OpenAI-compatible servers, against real HTTP: answers, refusals, and streams that break."""

import asyncio
import json
import socket
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse
from stub_server import DONE, END, StubServer, chunk, error, text, usage

from nanochat.common.errors import Exit, UserError
from nanochat.serve import client as client_module
from nanochat.serve.answer_stream import Finish
from nanochat.serve.client import BusyError, ChatClient, CutError, ServedModel, StatusError
from nanochat.serve.conversation import AnswerSettings, Part, join_parts
from nanochat.serve.event_stream import MAX_EVENT_BYTES, EventReader

ASKED = [{"role": "user", "content": "hello there"}]


async def answer(stub: StubServer, **settings: float) -> tuple[list[Part], Finish | None]:
    parts: list[Part] = []
    finish = None
    async with ChatClient(stub.url) as client:
        async for event in client.stream("stub/small", ASKED, AnswerSettings(**settings)):  # type: ignore[arg-type]
            if isinstance(event, Part):
                parts.append(event)
            else:
                finish = event
    return parts, finish


async def refusal(stub: StubServer) -> UserError:
    with pytest.raises(UserError) as caught:
        await answer(stub)
    assert "\n" not in str(caught.value)
    return caught.value


# -- answers ---------------------------------------------------------------------------------------


async def test_an_answer_comes_in_parts_and_says_how_it_ended(stub: StubServer) -> None:
    parts, finish = await answer(stub)
    assert parts == [Part("text", "hello"), Part("text", " there")]
    assert finish == Finish("stop", 10, 2, cached_tokens=7, queue_ms=1.5)


async def test_the_settings_are_sent(stub: StubServer) -> None:
    await answer(stub, temperature=0.25, top_p=0.9, max_tokens=7, seed=3)
    sent = stub.requests[0]
    assert sent["messages"] == ASKED
    assert (sent["temperature"], sent["top_p"], sent["max_tokens"], sent["seed"]) == (0.25, 0.9, 7, 3)
    assert (sent["model"], sent["stream"]) == ("stub/small", True)
    await answer(stub)
    assert not {"seed", "top_p", "top_k"} & stub.requests[1].keys()


async def test_tool_calls_stand_where_the_model_made_them(stub: StubServer) -> None:
    calls = [
        {"index": 0, "type": "calculator", "arguments": "6*7", "output": "42", "offset": 6},
        {"index": 1, "type": "calculator", "arguments": "1/0", "output": None, "offset": 9},
    ]
    stub.answer = lambda body: [
        text("It "),
        chunk(delta={"content": "is 42. ok", "executed_tools": calls}),
        END,
        DONE,
    ]
    parts, _ = await answer(stub)
    assert join_parts(parts) == (
        Part("text", "It is "),
        Part("python", "6*7"),
        Part("python_output", "42"),
        Part("text", "42."),
        Part("python", "1/0"),
        Part("text", " ok"),
    )


async def test_a_server_that_does_not_stream_is_read_too(stub: StubServer) -> None:
    document = {
        "choices": [{"message": {"content": "whole"}, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 2}},
    }
    stub.answer = lambda body: JSONResponse(document)
    assert await answer(stub) == ([Part("text", "whole")], Finish("length", 3, 1, 2))


async def test_leaving_early_ends_the_answer_on_the_server(stub: StubServer) -> None:
    stub.answer = lambda body: [text("one"), 30.0, text("never"), END]
    async with ChatClient(stub.url) as client:
        events = client.stream("stub/small", ASKED, AnswerSettings())
        assert await anext(events) == Part("text", "one")
        await events.aclose()
    deadline = time.monotonic() + 5
    while not stub.left and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    assert stub.left == 1


async def test_a_server_that_takes_connections_and_says_nothing_is_not_waited_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_module, "LIST_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        async with ChatClient(f"http://127.0.0.1:{deaf.getsockname()[1]}") as client:
            with pytest.raises(CutError, match=r"said nothing for 0\.2 s"):
                await client.models()


# -- refusals --------------------------------------------------------------------------------------


async def test_an_error_in_openais_shape_is_told_in_its_own_words(stub: StubServer) -> None:
    stub.answer = lambda body: error(400, "temperature: -1 is not\n\x1b[2Ja number", code="invalid_value")
    found = await refusal(stub)
    assert str(found) == f"{stub.url}/v1 answers 400: temperature: -1 is not ␛[2Ja number"
    assert isinstance(found, StatusError)
    assert (found.code, found.exit_code) == ("invalid_value", Exit.FAILED)


async def test_a_wrong_key_says_where_to_give_one(stub: StubServer) -> None:
    stub.key = "right"
    assert "--api-key or NANOCHAT_API_KEY" in str(await refusal(stub))
    async with ChatClient(stub.url, "right") as client:
        assert (await client.model()).id == "stub/small"


@pytest.mark.parametrize("key", ["two\nlines", "schlüssel", "\x00"])
def test_a_key_that_no_header_holds_is_one_line(key: str) -> None:
    with pytest.raises(UserError, match="API key"):
        ChatClient("http://127.0.0.1:1", key)


async def test_a_server_that_is_not_there_has_an_exit_code_of_its_own() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with ChatClient(f"http://127.0.0.1:{port}") as client:
        with pytest.raises(UserError, match=r"cannot reach .*is the server running") as caught:
            await client.models()
    assert caught.value.exit_code == Exit.UNREACHABLE


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://h:8000", "http://h:8000/v1"),
        ("http://h:8000/", "http://h:8000/v1"),
        (" https://h/api/v2/ ", "https://h/api/v2"),
        ("https://h/v1/chat/completions", "https://h/v1"),
    ],
)
async def test_an_address_may_have_its_path(url: str, base: str) -> None:
    async with ChatClient(url) as client:
        assert client.name == base


async def test_a_password_in_the_address_is_never_shown() -> None:
    async with ChatClient("http://me:secret@127.0.0.1:1") as client:
        with pytest.raises(UserError) as caught:
            await client.models()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "h:8000", "ftp://h", "http://", "http://h:port", "http://\x00"])
def test_what_is_no_address_is_one_line(url: str) -> None:
    with pytest.raises(UserError, match="--url"):
        ChatClient(url)


async def test_a_redirect_is_told_and_not_followed(stub: StubServer) -> None:
    stub.answer = lambda body: RedirectResponse("https://elsewhere.example/")
    assert "answers 307" in str(await refusal(stub))
    assert "elsewhere" in str(await refusal(stub))


async def test_a_busy_server_is_asked_again_when_it_says(stub: StubServer) -> None:
    answers = [error(429, "full", headers={"Retry-After": "0.1"}), [text("now"), END, DONE]]
    stub.answer = lambda body: answers.pop(0)
    assert (await answer(stub))[0] == [Part("text", "now")]


async def test_a_server_that_stays_busy_is_told(stub: StubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "BUSY_SECONDS", 0.3)
    stub.answer = lambda body: error(429, "full", headers={"Retry-After": "0.2"})
    found = await refusal(stub)
    assert isinstance(found, BusyError)
    assert len(stub.requests) == 2


async def test_a_server_that_says_no_time_is_not_asked_again(stub: StubServer) -> None:
    stub.answer = lambda body: error(429, "you have no quota")
    assert "you have no quota" in str(await refusal(stub))
    assert len(stub.requests) == 1


# -- models and tokens -----------------------------------------------------------------------------


async def test_the_models_are_those_of_the_server(stub: StubServer) -> None:
    stub.models = [
        {"id": "a", "owned_by": "x"},
        {"id": "b", "owned_by": "x", "max_model_len": 5},
        {"no": "id"},
        7,
    ]  # type: ignore[list-item]
    async with ChatClient(stub.url) as client:
        assert await client.models() == [ServedModel("a", "x"), ServedModel("b", "x", 5)]
        assert (await client.model("b")).context == 5
        with pytest.raises(UserError, match="has no model 'c'"):
            await client.model("c")
        stub.models = []
        with pytest.raises(UserError, match="offers no model"):
            await client.model()


async def test_tokens_are_counted_by_the_server_or_not_at_all(stub: StubServer) -> None:
    async with ChatClient(stub.url) as client:
        assert await client.count_tokens("stub/small", ASKED) == (2, 1000)
    async with ChatClient(f"{stub.url}/other/v1") as client:
        assert await client.count_tokens("stub/small", ASKED) is None


# -- what breaks -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pieces",
    [
        [text("half")],
        [text("half"), DONE],
        [text("half"), b'data: {"choices": [{"delta": {}, "finish_'],
        [text("half"), b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}'],  # no end of the event
        [text("half"), usage(1, 1), b": a comment\n\n"],
    ],
)
async def test_a_stream_without_an_end_is_cut(stub: StubServer, pieces: list[bytes]) -> None:
    stub.answer = lambda body: pieces
    parts: list[Part] = []
    async with ChatClient(stub.url) as client:
        with pytest.raises(CutError, match="broke off"):
            async for event in client.stream("stub/small", ASKED, AnswerSettings()):
                assert isinstance(event, Part)
                parts.append(event)
    assert parts == [Part("text", "half")]


async def test_a_connection_that_breaks_is_cut() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        piece = text("half")
        writer.write(head + f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, ChatClient(f"http://127.0.0.1:{port}") as client:
        events = client.stream("m", ASKED, AnswerSettings())
        assert await anext(events) == Part("text", "half")
        with pytest.raises(CutError, match="broke off"):
            await anext(events)


async def test_an_error_in_the_middle_of_a_stream_is_told(stub: StubServer) -> None:
    stub.answer = lambda body: [text("half"), b'data: {"error": {"message": "the model failed"}}\n\n']
    assert "the server failed: the model failed" in str(await refusal(stub))


@pytest.mark.parametrize(
    "body",
    [
        b"data: nonsense\n\n",
        b"data: [1, 2]\n\n",
        b"data: " + b"[" * 100_000 + b"\n\n",
        b"data: " + b"x" * (MAX_EVENT_BYTES + 1),
    ],
)
async def test_an_event_that_is_none_is_one_line(stub: StubServer, body: bytes) -> None:
    stub.answer = lambda _: [body]
    await refusal(stub)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"choices": None},
        {"choices": []},
        {"choices": [None]},
        {"choices": [{"delta": "text"}]},
        {"choices": [{"delta": {"content": ["text"]}}]},
        {"choices": [{"delta": {"content": None, "executed_tools": "6*7"}}]},
        {
            "choices": [
                {"delta": {"executed_tools": [None, {"arguments": 1}, {"arguments": "1", "offset": "x"}]}}
            ]
        },
        {"choices": [{"delta": {}, "finish_reason": 1}], "usage": [1]},
    ],
)
async def test_fields_of_a_wrong_type_are_passed_over(stub: StubServer, document: object) -> None:
    stub.answer = lambda _: [b"data: " + json.dumps(document).encode() + b"\n\n", text("ok"), END, DONE]
    parts, finish = await answer(stub)
    assert parts[-1] == Part("text", "ok")
    assert finish is not None and finish.reason == "stop"


async def test_an_answer_without_end_is_bounded(stub: StubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanochat.serve.answer_stream.MAX_ANSWER", 1_000)
    stub.answer = lambda _: [text("x" * 100)] * 1_000
    assert "more than 1,000 characters" in str(await refusal(stub))


async def test_a_page_that_is_no_server_of_models_is_one_line(stub: StubServer) -> None:
    stub.answer = lambda _: PlainTextResponse("<html>welcome</html>")
    assert "is it an OpenAI-compatible server?" in str(await refusal(stub))
    async with ChatClient(f"{stub.url}/nowhere") as client:
        with pytest.raises(UserError, match=r"answers 404.*does the address need a path"):
            await client.models()


# -- server-sent events ----------------------------------------------------------------------------


def events_of(raw: bytes, cuts: list[int]) -> list[str]:
    reader, found, last = EventReader(), [], 0
    for cut in [*sorted(cut % (len(raw) + 1) for cut in cuts), len(raw)]:
        found += reader.feed(raw[last:cut])
        last = max(last, cut)
    return found


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n")), max_size=5),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.lists(st.integers(0, 10_000), max_size=8),
)
def test_events_are_the_same_however_they_are_cut(said: list[str], end: str, cuts: list[int]) -> None:
    raw = "".join(f": comment{end}event: message{end}data: {line}{end}{end}" for line in said).encode()
    assert events_of(raw, cuts) == said


def test_lines_of_one_event_are_joined_and_only_line_ends_end_them() -> None:
    raw = "\ufeffdata: a\u2028b\u0085c\x0bd\ndata:e\nid: 1\n\n\n\ndata\n\ndata: lost".encode()
    assert events_of(raw, []) == ["a\u2028b\u0085c\x0bd\ne", ""]


def test_the_client_loads_nothing_heavy() -> None:
    code = (
        "import sys, nanochat.serve.client, nanochat.serve.chat, nanochat.serve.chat_log\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"torch", "numpy", "starlette", "tiktoken", "prompt_toolkit"}
