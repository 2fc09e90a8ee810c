"""Broken requests to every endpoint of the API: an answer or a refusal that names the fault, never a 500.

    python tests/fuzz/fuzz_requests.py [--requests N] [--seed N]

A model of random weights answers what is still a request. Prints the answers by endpoint. Exit code 1 when
one was wrong: the request is printed as Python bytes, so that it becomes a test.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent), str(ROOT / "tests/nanochat/serve")]

import httpx  # noqa: E402 - found through the line above
from api_server import ServedApi  # noqa: E402
from fuzz import GROWTH, LIMIT, TOKENS, broken, resident  # noqa: E402

ASK = [{"role": "user", "content": "Hi é🙂"}]
CALLS = [{"index": 0, "type": "calculator", "arguments": "6*6", "output": "36", "offset": 1}]
HISTORY = [
    {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
    *ASK,
    {"role": "assistant", "content": "abc", "executed_tools": CALLS},
    {"role": "user", "content": [{"type": "text", "text": "b"}]},
]
SAMPLING = {"temperature": 0.7, "top_p": 0.9, "top_k": 5, "min_p": 0.05, "seed": 3, "n": 2, "stop": ["ab"]}
SEEDS: dict[str, tuple[dict[str, Any], ...]] = {
    "/v1/chat/completions": (
        {"model": "chat", "messages": ASK, "max_tokens": 2},
        {"messages": HISTORY, "max_completion_tokens": 3, **SAMPLING, "logit_bias": {"5": -100, "7": 2.5}},
        {"messages": ASK, "max_tokens": 3, "logprobs": True, "top_logprobs": 2, "stream": True},
        {"messages": ASK, "max_tokens": 2, "stream": True, "stream_options": {"include_usage": True}},
        {"messages": HISTORY[:3], "max_tokens": 2, "continue_final_message": True, "tool_choice": "auto"},
        {"model": "base", "messages": ASK},
    ),
    "/v1/completions": (
        {"model": "base", "prompt": "Hello", "max_tokens": 3},
        {"prompt": ["a", "bé"], "max_tokens": 2, "echo": True, "logprobs": 2, **SAMPLING},
        {"prompt": [1, 2, 3], "max_tokens": 0, "echo": True, "logprobs": 1, "add_special_tokens": False},
        {"prompt": [[1, 2], [3]], "max_tokens": 2, "stream": True, "ignore_eos": True, "stop_token_ids": [4]},
    ),
    "/v1/lens": ({"tokens": [1, 2, 3], "top_k": 2}, {"prompt": "ab", "positions": [0, 1], "model": "base"}),
    "/tokenize": ({"prompt": "Hi", "return_token_strs": True}, {"messages": HISTORY}),
    "/detokenize": ({"tokens": [72, 105]},),
    "/chat/completions": ({"messages": ASK, "temperature": 0.8, "max_tokens": 3, "top_k": 5},),
}
FAULTS = frozenset({400, 404, 413, 429})


@dataclass
class Outcome:
    """What the requests came to."""

    statuses: dict[str, Counter[int]] = field(default_factory=lambda: {path: Counter() for path in SEEDS})
    slowest: float = 0.0
    grown: int = 0
    found: list[str] = field(default_factory=list)

    @property
    def requests(self) -> int:
        return sum(sum(counter.values()) for counter in self.statuses.values())


def request_of(choose: random.Random) -> tuple[str, bytes]:
    """An endpoint and a request to it: one of its seeds with some values or bytes exchanged."""
    path = choose.choice(tuple(SEEDS))
    seeds = SEEDS[path]
    if choose.random() < 0.5:
        return path, broken(choose, tuple(json.dumps(seed).encode() for seed in seeds))
    body = dict(choose.choice(seeds))
    for _ in range(choose.choice((1, 1, 2, 3))):
        if choose.random() < 0.6:  # what another request says
            body |= dict([choose.choice(list(choose.choice(seeds).items()))])
        else:
            name = choose.choice((*body, "stop", "logit_bias", "stream_options"))
            body[name] = choose.choice(_values(choose))
    raw = json.dumps(body).encode()
    return path, raw if choose.random() < 0.9 else raw.replace(b"0", choose.choice(TOKENS), 1)


def _values(choose: random.Random) -> tuple[Any, ...]:
    whole = choose.choice((-1, 0, 1, 2, 64, 129, 1 << 31, 1 << 63, -(1 << 63), 10**30))
    text = choose.choice(("", "a", "\ud83d", "\x00", "a" * 5_000, "é" * 70, "<|bos|>", "\u2028\x1b[2J"))
    nested: Any = choose.choice(({}, {"a": whole}, {"1": text}, {"role": "user", "content": text}))
    plain = (None, True, False, whole, float(whole) / 3, 1e308, text)
    return (*plain, [], [whole], [text], [nested], nested, [[]])


def complaint(path: str, status: int, headers: httpx.Headers, body: bytes) -> str:
    """What is wrong with an answer; empty when nothing is."""
    if status not in FAULTS | {200}:
        return f"status {status}: {body[:300]!r}"
    if status != 200:
        document = json.loads(body)
        message = document["detail"] if path == "/chat/completions" else document["error"]["message"]
        return "" if message and "\n" not in message else f"no message of one line: {body[:300]!r}"
    if headers["content-type"].startswith("application/json"):
        return "" if isinstance(json.loads(body), dict) else "no object"
    events = body.decode("ascii").split("\n\n")
    if events.pop() != "":
        return "the stream ends within an event"
    if path == "/chat/completions":
        done = json.loads(events[-1].removeprefix("data: ")) == {"done": True}
        return "" if done else "the stream has no end"
    if events[-1] != "data: [DONE]":
        return "the stream has no end"
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-1]]
    if any("error" in chunk for chunk in chunks):
        return f"an error in the stream: {body[-400:]!r}"
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    finished = [choice["index"] for choice in choices if choice["finish_reason"] is not None]
    if sorted(finished) != sorted({choice["index"] for choice in choices}):
        return "not every choice says once why it ended"
    return ""


async def fuzz_requests(requests: int, seed: int) -> Outcome:
    """Sends `requests` broken requests, one after the other."""
    choose = random.Random(f"{seed}/requests")
    outcome = Outcome()
    settled = 0
    async with ServedApi() as api:
        for number in range(requests):
            path, raw = request_of(choose)
            began = time.perf_counter()
            try:
                headers = {"content-type": "application/json"}
                answer = await asyncio.wait_for(api.client.post(path, content=raw, headers=headers), LIMIT)
                wrong = complaint(path, answer.status_code, answer.headers, answer.content)
            except Exception as error:
                wrong = f"{type(error).__name__}: {str(error)[:300]}"
            else:
                outcome.statuses[path][answer.status_code] += 1
            outcome.slowest = max(outcome.slowest, time.perf_counter() - began)
            if wrong:
                outcome.found.append(f"{path}: {wrong}\n  {raw!r}")
            if number == requests // 4:
                settled = resident()
        outcome.grown = max(0, resident() - settled)
    if outcome.grown > GROWTH:
        outcome.found.append(f"the process grew by {outcome.grown >> 20} MiB over {requests} requests")
    return outcome


def main() -> int:
    """Prints the counts; 1 when anything was found."""
    parser = argparse.ArgumentParser(description="Broken requests to every endpoint of the API.")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    began = time.monotonic()
    outcome = asyncio.run(fuzz_requests(given.requests, given.seed))
    print("| endpoint | requests | answered | refused |\n|---|---|---|---|")
    for path, counter in outcome.statuses.items():
        total = sum(counter.values())
        print(f"| {path} | {total:,} | {counter[200]:,} | {total - counter[200]:,} |")
    took, grown = time.monotonic() - began, outcome.grown / (1 << 20)
    print(
        f"\n{outcome.requests:,} requests in {took:.0f} s, seed {given.seed}; the slowest took "
        f"{1000 * outcome.slowest:.0f} ms, the process grew by {grown:.1f} MiB"
    )
    for what in outcome.found[:20]:
        print(what, file=sys.stderr)
    return 1 if outcome.found else 0


if __name__ == "__main__":
    raise SystemExit(main())
