"""An OpenAI-compatible server whose answers are scripted: real HTTP over loopback, no model."""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Self

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route


def chunk(**choice: Any) -> bytes:
    """A piece of a streamed answer."""
    document = {"object": "chat.completion.chunk", "choices": [{"index": 0, **choice}]}
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def text(said: str) -> bytes:
    return chunk(delta={"content": said}, finish_reason=None)


def usage(prompt: int, completion: int) -> bytes:
    counted = {"prompt_tokens": prompt, "completion_tokens": completion}
    return b"data: " + json.dumps({"choices": [], "usage": counted}).encode() + b"\n\n"


END = chunk(delta={}, finish_reason="stop")
DONE = b"data: [DONE]\n\n"


def error(status: int, message: str, **fields: Any) -> Response:
    headers = fields.pop("headers", None)
    return JSONResponse({"error": {"message": message, **fields}}, status, headers)


class StubServer:
    """`answer(body)` gives a response, or the pieces of a stream: bytes, or seconds to wait; by default it
    repeats the last message. `requests` are the bodies that came, `left` how many clients went away early."""

    def reset(self) -> None:
        """Forgets all that a test has set and sent."""
        self.answer: Callable[[dict[str, Any]], Response | Sequence[bytes | float]] = echo
        self.models: list[dict[str, Any]] = [
            {"id": "stub/small", "owned_by": "nanochat", "max_model_len": 1000}
        ]
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.left = 0
        self.key = ""

    def __init__(self) -> None:
        self.reset()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        routes = [
            Route("/v1/models", self._models),
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/tokenize", self._tokenize, methods=["POST"]),
        ]
        config = uvicorn.Config(Starlette(routes=routes), log_level="critical", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._server.serve([self._listener])), daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()
        self._listener.close()

    async def _models(self, request: Request) -> Response:
        return self._refused(request) or JSONResponse({"object": "list", "data": self.models})

    def _refused(self, request: Request) -> Response | None:
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            return error(401, "the API key is wrong")
        return None

    async def _tokenize(self, request: Request) -> Response:
        body = await request.json()
        words = sum(len(str(message["content"]).split()) for message in body["messages"])
        return JSONResponse({"count": words, "max_model_len": 1000, "tokens": []})

    async def _chat(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        body = await request.json()
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        answer = self.answer(body)
        if isinstance(answer, Response):
            return answer
        headers = {"X-Queue-Time-Ms": "1.5", "X-Prefix-Cached-Tokens": "7"}
        return StreamingResponse(
            self._pieces(answer, request), headers=headers, media_type="text/event-stream"
        )

    async def _pieces(self, pieces: Sequence[bytes | float], request: Request) -> AsyncIterator[bytes]:
        try:
            for piece in pieces:
                if isinstance(piece, bytes):
                    yield piece
                else:
                    await asyncio.sleep(piece)
        except (asyncio.CancelledError, ClientDisconnect):
            self.left += 1
            raise


def echo(body: dict[str, Any]) -> Sequence[bytes | float]:
    """The last message again, a word at a time."""
    words = str(body["messages"][-1]["content"]).split(" ")
    pieces = [text(word if number == 0 else f" {word}") for number, word in enumerate(words)]
    return [*pieces, END, usage(10, len(words)), DONE]


@pytest.fixture(scope="session")
def running_stub() -> Iterator[StubServer]:
    """One server for all tests: starting and ending one takes longer than most of them."""
    with StubServer() as server:
        yield server


@pytest.fixture
def stub(running_stub: StubServer) -> StubServer:
    """A server of language models that says what the test tells it to."""
    running_stub.reset()
    return running_stub
