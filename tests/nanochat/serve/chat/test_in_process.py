"""An application called in this process: answers come as they are made, and it knows when a client leaves."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Send

from nanochat.serve.in_process import WAITING_CHUNKS, InProcessTransport


def client(*routes: Route) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=InProcessTransport(Starlette(routes=list(routes))), base_url="http://model"
    )


async def test_a_request_arrives_as_it_was_sent() -> None:
    async def echo(request: Request) -> Response:
        return PlainTextResponse(
            f"{request.method} {request.url.path} {request.query_params['q']} {request.headers['x']} "
            f"{(await request.body()).decode()}",
            status_code=201,
            headers={"y": "1"},
        )

    async with client(Route("/a b", echo, methods=["POST"])) as http:
        response = await http.post("/a%20b?q=%C3%A9", content="body é", headers={"X": "2"})
    assert (response.status_code, response.headers["y"], response.text) == (201, "1", "POST /a b é 2 body é")


async def test_pieces_come_before_the_answer_is_whole() -> None:
    go_on = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"first"
        await go_on.wait()
        yield b"second"

    async def stream(_: Request) -> Response:
        return StreamingResponse(pieces())

    async with client(Route("/", stream)) as http, http.stream("GET", "/") as response:
        came = response.aiter_raw()
        assert await anext(came) == b"first"
        go_on.set()
        assert [piece async for piece in came] == [b"second"]


@pytest.mark.parametrize("pieces", [1, WAITING_CHUNKS * 3])
async def test_an_application_is_told_when_its_client_leaves(pieces: int) -> None:
    told: list[str] = []

    async def application(scope: object, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        for _ in range(pieces):  # more than wait for their reader
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        told.extend([(await receive())["type"], (await receive())["type"]])

    http = httpx.AsyncClient(transport=InProcessTransport(application))
    async with http, http.stream("GET", "http://model/") as response:
        assert await anext(response.aiter_raw()) == b"x"
    assert told == ["http.request", "http.disconnect"]


async def test_a_client_that_gives_up_waiting_ends_the_request() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def slow(scope: object, receive: Receive, send: Send) -> None:
        begun.set()
        assert (await receive())["type"] == "http.request"
        assert (await receive())["type"] == "http.disconnect"
        ended.set()

    async with httpx.AsyncClient(transport=InProcessTransport(slow)) as http:
        task = asyncio.create_task(http.get("http://model/"))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert ended.is_set()


async def test_a_fault_of_the_application_is_the_callers() -> None:
    async def broken(_: Request) -> Response:
        raise ZeroDivisionError

    async with client(Route("/", broken)) as http:
        with pytest.raises(ZeroDivisionError):
            await http.get("/")
