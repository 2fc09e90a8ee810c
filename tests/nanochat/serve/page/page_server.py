"""The server of the page's tests: `chat_web`'s own over two small models, and models that say what a test
wrote for them."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import uvicorn
from chat_models import make_chat_base
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nanochat.common.paths import Layout
from nanochat.serve.loading import Capacity, CheckpointLoader
from nanochat.serve.models import ModelRegistry, ServedName
from nanochat.serve.server import build_app, open_socket, url_of

KEY = "a-key-for-tests"
CHAT, BASE = "sft/d2", "base/d2"


@dataclass
class Script:
    """An answer: its events in order, where an `asyncio.Event` is waited for.

    With `status` it is a refusal instead: its document and headers. Without an end it breaks off.
    """

    events: Sequence[dict[str, Any] | asyncio.Event]
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def said(text: str, **choice: Any) -> dict[str, Any]:
    """The event of a piece of text."""
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None, **choice}]}


def called(expression: str, output: str | None, offset: int) -> dict[str, Any]:
    """The event of a call of the calculator."""
    call = {"type": "calculator", "arguments": expression, "output": output, "offset": offset}
    return {"choices": [{"index": 0, "delta": {"executed_tools": [call]}, "finish_reason": None}]}


def token(text: str, logprob: float, **top: float) -> dict[str, Any]:
    """The event of one token with its log-probability and alternatives."""
    entry = {"token": text, "logprob": logprob, "bytes": list(text.encode())}
    rivals = [{"token": t, "logprob": value, "bytes": list(t.encode())} for t, value in top.items()]
    return said(text, logprobs={"content": [{**entry, "top_logprobs": rivals}], "refusal": None})


def ended(reason: str = "stop", tokens: int = 3) -> dict[str, Any]:
    """The last event."""
    choice = {"index": 0, "delta": {}, "finish_reason": reason}
    return {"choices": [choice], "usage": {"completion_tokens": tokens}}


def answer(*texts: str) -> Script:
    """A whole answer in these pieces."""
    return Script([*map(said, texts), ended()])


class Scripted:
    """The application, and before it the models `stub/NAME`, which say what is in `scripts`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.scripts: dict[str, list[Script]] = {}
        """By model; the last one is said again and again."""
        self.asked: list[dict[str, Any]] = []
        """The bodies of all questions."""

    def script(self, model: str, *scripts: Script) -> None:
        self.scripts[f"stub/{model}"] = list(scripts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/v1/models":
            await self._list(scope, receive, send)
        elif scope["method"] == "POST" and scope["path"].startswith("/v1/"):
            body = await _body(receive)
            question = json.loads(body)
            self.asked.append(question)
            if question["model"] in self.scripts:
                await self._say(self.scripts[question["model"]], send)
            else:
                await self._app(scope, _again(body, receive), send)
        else:
            await self._app(scope, receive, send)

    async def _list(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The models of the application and those of the scripts."""
        parts: list[Message] = []

        async def keep(message: Message) -> None:
            parts.append(message)

        await self._app(scope, receive, keep)
        document = json.loads(b"".join(part.get("body", b"") for part in parts))
        stubs = [{"id": name, "kind": "chat", "max_model_len": 4096} for name in self.scripts]
        await _send(send, 200, json.dumps({"data": [*document["data"], *stubs]}).encode())

    async def _say(self, scripts: list[Script], send: Send) -> None:
        script = scripts.pop(0) if len(scripts) > 1 else scripts[0]
        if script.status != 200:
            await _send(send, script.status, json.dumps(script.events[0]).encode(), script.headers)
            return
        await _begin(send, 200, {"content-type": "text/event-stream"})
        for event in script.events:
            if isinstance(event, asyncio.Event):
                await event.wait()
            else:
                data = f"data: {json.dumps(event)}\n\n".encode()
                await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def _again(body: bytes, receive: Receive) -> Receive:
    """`receive` for an application that has not read the body yet."""
    first = [{"type": "http.request", "body": body}]

    async def read() -> Message:
        return first.pop() if first else await receive()

    return read


async def _begin(send: Send, status: int, headers: dict[str, str]) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})


async def _send(send: Send, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
    await _begin(send, status, {"content-type": "application/json", **(headers or {})})
    await send({"type": "http.response.body", "body": body})


@dataclass
class PageServer:
    """The addresses, and what the scripted models say and were asked."""

    url: str
    locked_url: str
    """The same models behind a key."""
    scripted: Scripted

    def script(self, model: str, *scripts: Script) -> str:
        """Makes a model say this; returns its name."""
        self.scripted.script(model, *scripts)
        return f"stub/{model}"

    @property
    def asked(self) -> list[dict[str, Any]]:
        return self.scripted.asked


@asynccontextmanager
async def page_server(base: Path) -> AsyncIterator[PageServer]:
    """Serves a chat model and a base model of random weights, once without and once with a key."""
    make_chat_base(base)
    loader = CheckpointLoader(Layout(base), [torch.device("cpu")], torch.float32, Capacity(4, 8, 1 << 20))
    names = [ServedName.parse(name) for name in (CHAT, BASE)]
    registry = ModelRegistry(Layout(base), names, loader, 1 << 34)
    scripted = Scripted(build_app(registry, "127.0.0.1", "", ()))
    locked = build_app(registry, "127.0.0.1", KEY, ())
    running = []
    with open_socket("127.0.0.1", 0) as first, open_socket("127.0.0.1", 0) as second:
        for app, opened in ((scripted, first), (locked, second)):
            config = uvicorn.Config(
                app, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=1
            )
            server = uvicorn.Server(config)
            running.append((server, asyncio.create_task(server.serve([opened]))))
        try:
            yield PageServer(url_of(first), url_of(second), scripted)
        finally:
            for server, task in running:
                server.should_exit = True
                await task
            await registry.close()
