"""A server's application called in this process, without a socket: what `chat_cli` asks a checkpoint through.

So a question asked here takes the way of every client's: one rendering, one check, one sampling. httpx's own
`ASGITransport` gives the answer only when it is whole; this one gives it as it comes, and tells the
application when its client leaves.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

import httpx

Event = MutableMapping[str, Any]
Application = Callable[
    [Event, Callable[[], Awaitable[Event]], Callable[[Event], Awaitable[None]]], Awaitable[None]
]
"""An ASGI application (asgi.readthedocs.io, HTTP)."""
WAITING_CHUNKS = 64
"""Pieces of an answer that may wait for their reader before the application does."""


class InProcessTransport(httpx.AsyncBaseTransport):
    """Sends every request to `application`."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        call = _Call(await request.aread())
        task = asyncio.create_task(self._serve(request, call))
        call.task = task
        try:
            start = await call.events.get()
        except asyncio.CancelledError:
            await call.aclose()
            raise
        if isinstance(start, BaseException):
            raise start
        return httpx.Response(start["status"], headers=start.get("headers", ()), stream=call, request=request)

    async def _serve(self, request: httpx.Request, call: "_Call") -> None:
        url = request.url
        scope: Event = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": url.scheme,
            "path": url.path,
            "raw_path": url.raw_path.partition(b"?")[0],
            "query_string": url.query,
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "client": ("127.0.0.1", 0),
            "server": (url.host, url.port),
        }
        try:
            await self._application(scope, call.receive, call.send)
            if not call.left.is_set():
                await call.events.put({"type": "end"})
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            if not call.left.is_set():
                await call.events.put(error)


class _Call(httpx.AsyncByteStream):
    """One request: its body for the application, the application's answer for the client."""

    def __init__(self, body: bytes) -> None:
        self.events: asyncio.Queue[Event | BaseException] = asyncio.Queue(WAITING_CHUNKS)
        self.task: asyncio.Task[None] | None = None
        self._body: bytes | None = body
        self.left = asyncio.Event()

    # -- the application's side

    async def receive(self) -> Event:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, event: Event) -> None:
        if self.left.is_set():
            await asyncio.sleep(0)  # dropped, as uvicorn does: the application is told by `receive`
        else:
            await self.events.put(event)

    # -- the client's side

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            event = await self.events.get()
            if isinstance(event, BaseException):
                raise event
            if event["type"] == "http.response.body" and event.get("body"):
                yield event["body"]
            if event["type"] == "end":
                return

    async def aclose(self) -> None:
        """The client leaves; waits until the application has noticed and ended."""
        self.left.set()
        while not self.events.empty():  # whoever waits to put something must not wait for ever
            self.events.get_nowait()
        if self.task is not None:
            with contextlib.suppress(Exception):
                await self.task
