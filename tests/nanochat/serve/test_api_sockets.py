"""The API over a real connection: news as it comes, and clients that leave."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import uvicorn
from api_server import Script, ServedApi

from nanochat.serve.api import endpoint

ASK = [{"role": "user", "content": "Hi"}]
CHAT = "/v1/chat/completions"


@asynccontextmanager
async def over_a_socket(api: ServedApi) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API served by uvicorn on a port of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(api.app, log_level="error", lifespan="off"))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
            yield client
        server.should_exit = True
        await serving


async def test_each_token_arrives_before_the_next_is_made(api: ServedApi) -> None:
    api.script(Script.text("xyz", one_a_step=True, blocks=True))
    body = {"model": "scripted", "messages": ASK, "stream": True}
    said: list[str] = []

    async def listen(client: httpx.AsyncClient) -> None:
        async with client.stream("POST", CHAT, json=body) as answer:
            said.extend([line async for line in answer.aiter_lines() if keep(line)])

    def keep(line: str) -> bool:
        if line.startswith("data: {"):
            text = json.loads(line[6:])["choices"][0]["delta"].get("content")
            heard.append(text or "")
        return bool(line)

    heard: list[str] = []
    async with over_a_socket(api) as client:
        listening = asyncio.create_task(listen(client))
        for count in (1, 2, 3):
            assert "".join(heard) == "xyz"[: count - 1]
            await asyncio.sleep(0.02)  # by then the worker no longer keeps it for the next
            api.release(1)
            await api.until(lambda count=count: "".join(heard) == "xyz"[:count])  # type: ignore[misc]
        api.release(1)
        await listening
    assert said[-1] == "data: [DONE]"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_frees_its_place(api: ServedApi, stream: bool) -> None:
    api.script(Script.text("never ends", one_a_step=True, blocks=True))
    body = {"model": "scripted", "messages": ASK, "stream": stream}
    async with over_a_socket(api) as client:
        asking = [asyncio.create_task(client.post(CHAT, json=body)) for _ in range(api.places)]
        await api.until(lambda: api.busy == api.places)
        assert (await client.post(CHAT, json=body)).status_code == 429
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        await api.until(lambda: api.busy == 0)


async def test_a_client_that_leaves_in_the_middle_of_an_answer_frees_its_place(api: ServedApi) -> None:
    endless = Script([65] * 1_000_000, one_a_step=True)
    api.script(endless)
    body = {"model": "scripted", "messages": ASK, "stream": True}
    async with over_a_socket(api) as client:
        async with client.stream("POST", CHAT, json=body) as answer:
            async for line in answer.aiter_lines():
                if '"content":"A' in line:
                    break
            assert api.busy == 1
        await api.until(lambda: api.busy == 0)


async def test_a_client_that_leaves_takes_the_rest_of_its_prompts_along(api: ServedApi) -> None:
    api.script(Script.text("never ends", one_a_step=True, blocks=True))
    body = {"model": "scripted", "prompt": ["x"] * (2 * api.places), "max_tokens": 9}
    async with over_a_socket(api) as client:
        asking = asyncio.create_task(client.post("/v1/completions", json=body))
        await api.until(lambda: api.busy == api.places)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await api.until(lambda: api.busy == 0)
        api.release(1_000)
        one = await client.post("/v1/completions", json=body | {"prompt": "x"})
        assert one.json()["choices"][0]["text"] == "never ends"
        assert api.taken == api.places + 1


async def test_a_request_that_breaks_off_is_nothing(api: ServedApi, caplog: pytest.LogCaptureFixture) -> None:
    async with over_a_socket(api) as client:
        port = client.base_url.port
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
        writer.write(head.encode() + b'{"messages"')
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        ask = {"messages": ASK, "max_tokens": 1}
        assert (await client.post(CHAT, json=ask)).status_code == 200
    assert not caplog.records


async def test_a_connection_is_used_again(api: ServedApi) -> None:
    async with over_a_socket(api) as client:
        for body in (
            {"messages": ASK, "max_tokens": 1},
            {"messages": []},
            {"messages": ASK, "max_tokens": 1},
        ):
            answer = await client.post(CHAT, json=body)
            assert answer.status_code == (200 if body["messages"] else 400)
            assert int(answer.headers["content-length"]) == len(answer.content)


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_request_that_is_too_large_is_refused_before_it_is_whole(
    api: ServedApi, monkeypatch: pytest.MonkeyPatch, chunked: bool
) -> None:
    monkeypatch.setattr(endpoint, "MAX_BODY", 1_000)
    async with over_a_socket(api) as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
        length = "Transfer-Encoding: chunked" if chunked else "Content-Length: 1001"
        writer.write(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n".encode())
        if chunked:
            writer.write(b"258\r\n" + 600 * b" " + b"\r\n" + b"258\r\n" + 600 * b" " + b"\r\n")
        async with asyncio.timeout(20):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            said = json.loads(
                await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
            )
        assert " 413 " in head and "connection: close" in head
        assert "1,000 bytes" in said["error"]["message"]
        writer.close()
        await writer.wait_closed()
        assert api.taken == 0


async def test_who_sends_all_of_it_before_listening_hears_the_refusal(
    api: ServedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "MAX_BODY", 1_000)
    async with over_a_socket(api) as client:
        for content in (b" " * (8 << 20), pieces(8)):
            answer = await client.post(CHAT, content=content)
            assert (answer.status_code, answer.headers["connection"]) == (413, "close")


async def test_a_client_that_never_stops_sending_is_cut_off(
    api: ServedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "MAX_BODY", 1_000)
    monkeypatch.setattr(endpoint, "LINGER_BYTES", 1 << 20)
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1 << 16
            yield b" " * (1 << 16)

    async with over_a_socket(api) as client:
        with contextlib.suppress(
            httpx.TransportError
        ):  # it may hear the refusal, or meet the closed connection
            assert (await client.post(CHAT, content=endless())).status_code == 413
    assert sent < 64 << 20


async def pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b" " * (1 << 20)
