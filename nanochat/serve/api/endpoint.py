"""An endpoint: a JSON request in, one document or a stream of events out, an error told in OpenAI's shape.

The handler runs in a task of its own. When the client leaves it is cancelled, wherever it waits: for a model,
in the queue, for the next tokens.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from nanochat.common.errors import UserError
from nanochat.serve.api.errors import ApiError, internal_error, refused, too_large
from nanochat.serve.api.fields import Fields, parse_body
from nanochat.serve.api.sse import DONE, MEDIA_TYPE, event
from nanochat.serve.models import ModelUnavailable, UnknownModel
from nanochat.serve.worker import Busy, ModelFailure

MAX_BODY = 16 << 20
"""Bytes of the largest request: a context of token ids fits a hundred times."""
LONGEST_WAIT = 30
"""Seconds after which a client is told to try again: OpenAI's waits in silence for as long as it is told."""
FAILURE_RETRY = 2
"""Seconds until a model that ran out of memory, say, may be asked again: its batch is made anew at once."""
LINGER_SECONDS, LINGER_BYTES = 2.0, 64 << 20
"""How much of a request that is too large is still read after its refusal: a connection that is closed with
bytes unread is reset, and a client that sends all before it listens would not hear why."""
LOG = logging.getLogger("nanochat.serve")


class ClientLeft(Exception):  # noqa: N818 - no error
    """The client closed the connection before its request was whole."""


class Reply:
    """What a handler answers with."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False
        """Whether the status is out."""
        self.lingers = False
        """Whether the connection stays open behind a document until `end`, and is then closed."""

    async def json(self, document: Any, headers: Mapping[str, str] | None = None, status: int = 200) -> None:
        """Answers with one document."""
        body = json.dumps(document, separators=(",", ":"), allow_nan=False).encode("ascii")
        more = {"content-length": str(len(body)), **({"connection": "close"} if self.lingers else {})}
        await self._begin(status, "application/json", {**(headers or {}), **more})
        await self._send({"type": "http.response.body", "body": body, "more_body": self.lingers})

    async def end(self) -> None:
        """Ends an answer that lingers."""
        await self._send({"type": "http.response.body", "body": b""})

    async def begin_events(self, headers: Mapping[str, str] | None = None) -> None:
        """Begins a stream of events; proxies are told not to collect it."""
        unbuffered = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        await self._begin(200, MEDIA_TYPE, {**unbuffered, **(headers or {})})

    async def events(self, data: bytes) -> None:
        """Sends events, together."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end_events(self, last: bytes = DONE) -> None:
        """Ends the stream."""
        await self._send({"type": "http.response.body", "body": last})

    async def error(self, error: ApiError, document: Any = None) -> None:
        """Tells an error: as the answer, `document` where that is given, or as an event where a stream has
        begun."""
        if self.begun:
            await self.end_events(event(error.document) + DONE)
        else:
            await self.json(document or error.document, error.headers, error.status)

    async def _begin(self, status: int, media_type: str, headers: Mapping[str, str]) -> None:
        self.begun = True
        lines = {"content-type": media_type, **headers}
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in lines.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})


Handler = Callable[[Fields, Reply], Awaitable[None]]


class Endpoint:
    """An ASGI application around a handler of parsed requests."""

    def __init__(self, handler: Handler, error_document: Callable[[ApiError], Any] | None = None) -> None:
        self._handler = handler
        self._error_document = error_document

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reply = Reply(send)
        with contextlib.suppress(ClientLeft):
            body = await read_body(scope, receive)
            if body is None:
                await self._refuse_size(receive, reply)
                return
            work = asyncio.ensure_future(self._answer(scope, body, reply))
            gone = asyncio.ensure_future(_client_leaves(receive))
            try:
                await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (gone, work):
                    task.cancel()
                await asyncio.gather(work, gone, return_exceptions=True)

    async def _answer(self, scope: Scope, body: bytes, reply: Reply) -> None:
        try:
            check_media_type(scope)
            await self._handler(parse_body(body), reply)
        except Exception as fault:
            await self._tell(as_api_error(fault), reply)

    async def _tell(self, error: ApiError, reply: Reply) -> None:
        await reply.error(error, None if self._error_document is None else self._error_document(error))

    async def _refuse_size(self, receive: Receive, reply: Reply) -> None:
        """Refuses a request before it is whole, and closes its connection a little later."""
        reply.lingers = True
        await self._tell(too_large(MAX_BODY), reply)
        size, more = 0, True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while more and size < LINGER_BYTES:
                    message = await receive()
                    size += len(message.get("body", b""))
                    more = message.get("more_body", False)  # and none once the client has left
        await reply.end()


def as_api_error(fault: Exception) -> ApiError:
    """What the client is told; a fault of the server is logged with its traceback."""
    if isinstance(fault, ApiError):
        return fault
    if isinstance(fault, Busy):
        wait = min(LONGEST_WAIT, max(1, round(fault.retry_after_seconds)))
        return ApiError(
            429,
            f"the queue is full: try again in {wait} s",
            code="queue_full",
            kind="rate_limit_error",
            headers={"Retry-After": str(wait)},
        )
    if isinstance(fault, UnknownModel):
        return ApiError(404, fault.told, param="model", code="model_not_found")
    if isinstance(fault, ModelUnavailable):
        return ApiError(503, fault.told, param="model", code="model_unavailable", kind="server_error")
    if isinstance(fault, ModelFailure):
        again = {"Retry-After": str(FAILURE_RETRY)}
        return ApiError(503, str(fault), code="model_failed", kind="server_error", headers=again)
    if isinstance(fault, UserError):
        return refused(None, str(fault))
    LOG.error("a request failed", exc_info=fault)
    return internal_error()


def check_media_type(scope: Scope) -> None:
    """Raises `ApiError` for a compressed body, and for one that a web page of another site could send here
    without being asked.

    A browser asks before it sends JSON across sites, and names itself by Origin; curl's default is no JSON.
    """
    headers = dict(scope["headers"])
    coding = headers.get(b"content-encoding", b"identity").decode("latin-1")
    if coding.lower() != "identity":
        raise ApiError(
            415, f"the request's Content-Encoding is {coding[:60]}: send it as it is", code="invalid_encoding"
        )
    if b"origin" in headers and b"json" not in headers.get(b"content-type", b""):
        raise ApiError(415, "the request's Content-Type is not application/json", code="invalid_content_type")


async def read_body(scope: Scope, receive: Receive) -> bytes | None:
    """The request's body; None as soon as its Content-Length or what has come shows that it is larger than
    `MAX_BODY`. Raises `ClientLeft` when it breaks off."""
    length = dict(scope["headers"]).get(b"content-length", b"")
    if length.isdigit() and int(length) > MAX_BODY:
        return None
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY:
            return None
        more = message.get("more_body", False)
    return b"".join(parts)


async def _client_leaves(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
