"""The bounded form of `fuzz_requests.py`, and that it finds what it looks for."""

import json

import httpx
import pytest
from fuzz_requests import SEEDS, complaint, fuzz_requests, request_of

pytestmark = pytest.mark.slow

REQUESTS = 600
JSON = httpx.Headers({"content-type": "application/json"})
EVENTS = httpx.Headers({"content-type": "text/event-stream"})
CHAT = "/v1/chat/completions"


async def test_no_broken_request_is_a_fault_of_the_server() -> None:
    outcome = await fuzz_requests(REQUESTS, seed=1)
    assert not outcome.found
    assert outcome.requests == REQUESTS
    for path, counter in outcome.statuses.items():
        assert counter[200] and counter[400], path


def chunk(finish_reason: str | None) -> str:
    return f"data: {json.dumps({'choices': [{'index': 0, 'finish_reason': finish_reason}]})}\n\n"


@pytest.mark.parametrize(
    ("path", "status", "headers", "body"),
    [
        (CHAT, 500, JSON, '{"error": {"message": "x"}}'),
        (CHAT, 400, JSON, '{"error": {"message": ""}}'),
        (CHAT, 400, JSON, '{"error": {"message": "a\\nb"}}'),
        (CHAT, 200, JSON, "[]"),
        (CHAT, 200, EVENTS, chunk("stop")),
        (CHAT, 200, EVENTS, chunk("stop") + "data: [DONE]"),
        (CHAT, 200, EVENTS, chunk(None) + "data: [DONE]\n\n"),
        (CHAT, 200, EVENTS, chunk("stop") + chunk("stop") + "data: [DONE]\n\n"),
        (CHAT, 200, EVENTS, 'data: {"error": {}}\n\ndata: [DONE]\n\n'),
        ("/chat/completions", 200, EVENTS, 'data: {"token": "x"}\n\n'),
    ],
)
def test_a_wrong_answer_is_found(path: str, status: int, headers: httpx.Headers, body: str) -> None:
    assert complaint(path, status, headers, body.encode())


@pytest.mark.parametrize(
    ("path", "status", "headers", "body"),
    [
        (CHAT, 400, JSON, '{"error": {"message": "x"}}'),
        ("/chat/completions", 400, JSON, '{"detail": "x"}'),
        (CHAT, 200, JSON, "{}"),
        (CHAT, 200, EVENTS, chunk(None) + chunk("stop") + "data: [DONE]\n\n"),
        ("/chat/completions", 200, EVENTS, 'data: {"token": "x"}\n\ndata: {"done": true}\n\n'),
    ],
)
def test_a_right_answer_is_none(path: str, status: int, headers: httpx.Headers, body: str) -> None:
    assert not complaint(path, status, headers, body.encode())


def test_the_same_seed_sends_the_same_requests_to_every_endpoint() -> None:
    import random

    def sent(seed: int) -> list[tuple[str, bytes]]:
        choose = random.Random(seed)
        return [request_of(choose) for _ in range(100)]

    assert sent(3) == sent(3) != sent(4)
    assert {path for path, _ in sent(3)} == SEEDS.keys()
