"""Clients that come and go: each connects, asks, reads to the end or leaves before it, waits, and comes
again."""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from parts import served_model
from parts.stream_clients import TEXT, Answer, request

MARGIN = 1e-3
"""Prompts on whose greedy path the first and the second token are nearer than this are left out: sums of
another order may choose either."""
LENGTHS = (8, 24, 64, 160)
SHARED = 5
"""Prompts that begin with the same text, one after the other."""


@dataclass(frozen=True)
class Job:
    """A prompt, how many tokens are asked for, and the text that must come."""

    prompt: str
    tokens: int
    text: str


@dataclass
class Seen:
    """What some clients met."""

    finished: int = 0
    left: int = 0
    """Answers that the client did not wait for."""
    refused: int = 0
    """Requests that met a full queue."""
    wrong: list[str] = field(default_factory=list)
    """Answers that were another text, cut, or an error; the first few, in words."""
    wrongs: int = 0
    gaps: list[float] = field(default_factory=list)
    """Seconds between two pieces of text of one answer."""


def jobs(base: str, count: int) -> list[Job]:
    """`count` prompts, a fifth of them beginnings that others continue, and their greedy texts by the full
    pass."""
    import nanochat  # noqa: F401 - sets how OpenMP waits, before torch is loaded

    import torch  # isort: skip

    from nanochat.infer.engine import Engine
    from nanochat.infer.sampling import Sampling

    model, tokenizer = served_model.load(Path(base))
    engine, greedy = Engine(model), Sampling(temperature=0)
    rng = random.Random(3)
    found: list[Job] = []
    parts = iter(served_model.prompts(tokenizer, 6 * count, 40, seed=4))
    while len(found) < count:
        beginning = next(parts)
        for number in range(SHARED):
            text = beginning if number == 0 else beginning + next(parts)[: 20 * number]
            ids = tokenizer.encode(text, bos=True)
            [answer], _ = engine.generate_batch(ids, max_tokens=max(LENGTHS), sampling=greedy)
            with torch.no_grad():
                logits = model(torch.tensor([[*ids, *answer[:-1]]]))[0, len(ids) - 1 :]
            first, second = logits.topk(2).values.T
            if (first - second).min() < MARGIN:
                continue
            assert logits.argmax(-1).tolist() == answer  # the engine alone is right
            tokens = rng.choice(LENGTHS)
            found.append(Job(text, tokens, shown(tokenizer.decode_bytes(answer[:tokens]))))
    return found[:count]


def shown(raw: bytes) -> str:
    """The text of tokens' bytes without the beginning of a character at their end."""
    for end in range(len(raw), max(-1, len(raw) - 4), -1):
        try:
            raw[end:].decode()
        except UnicodeDecodeError as error:
            if error.reason == "unexpected end of data":
                return raw[:end].decode("utf-8", "replace")
    return raw.decode("utf-8", "replace")


def run(port: int, model: str, work: Sequence[Job], clients: int, until: float, seed: int) -> Seen:
    """`clients` of them until that `time.monotonic`; those at work then finish."""
    return asyncio.run(_run(port, model, work, clients, until, seed))


async def _run(port: int, model: str, work: Sequence[Job], clients: int, until: float, seed: int) -> Seen:
    seen = Seen()
    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(_client(port, model, work, until, random.Random(f"{seed}/{number}"), seen))
    return seen


async def _client(
    port: int, model: str, work: Sequence[Job], until: float, rng: random.Random, seen: Seen
) -> None:
    while time.monotonic() < until:
        await asyncio.sleep(rng.expovariate(4.0))
        job = rng.choice(work)
        pieces = rng.randrange(1, 12) if rng.random() < 0.2 else None
        try:
            answer = await _ask(port, model, job, pieces)
        except OSError as error:
            _wrong(seen, f"{type(error).__name__}: {error}")
            continue
        if answer.reads and b" 429 " in answer.reads[0][1][:20]:
            seen.refused += 1
            await asyncio.sleep(0.5)
            continue
        times = [at for at, part in answer.reads if TEXT.search(part)]
        seen.gaps += [after - before for before, after in pairwise(times)]
        if pieces is not None and not answer.whole:
            seen.left += 1
            continue
        try:
            if (text := answer.text()) != job.text:
                _wrong(seen, f"{text!r} for {job.text!r}")
            elif answer.tokens() != job.tokens:
                _wrong(seen, f"{answer.tokens()} tokens for {job.tokens}")
            else:
                seen.finished += 1
        except ValueError as error:
            _wrong(seen, str(error))


async def _ask(port: int, model: str, job: Job, pieces: int | None) -> Answer:
    """The answer, or its first so many reads."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    document = {
        "model": model, "prompt": job.prompt, "max_tokens": job.tokens, "temperature": 0, "stream": True,
        "stream_options": {"include_usage": True},
    }  # fmt: skip
    try:
        answer = Answer(time.monotonic())
        writer.write(request("/v1/completions", document))
        while not answer.whole and len(answer.reads) != pieces:
            part = await reader.read(1 << 16)
            if not part:
                break
            answer.reads.append((time.monotonic(), part))
            if b" 200 " not in answer.reads[0][1][:20]:
                break
        return answer
    finally:
        writer.close()


def _wrong(seen: Seen, what: str) -> None:
    seen.wrongs += 1
    if len(seen.wrong) < 5:
        seen.wrong.append(what[:400])
