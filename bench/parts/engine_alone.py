"""The engine without a server: the same prompts in the same closed loop, in a process of its own."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parts import served_model

_loaded: dict[str, Any] = {}


@dataclass
class Alone:
    """What the engine did by itself."""

    seconds: float
    """From the first request to the last token."""
    tokens: int
    first: list[float]
    """For each request the seconds to its first token."""
    texts: list[list[str]]
    """The answers by client."""
    backend: str
    """The decode kernel and the instructions it uses."""


def prepare(base: str, threads: int) -> str:
    """Loads the model and warms it up; returns what decodes."""
    import nanochat  # noqa: F401 - sets how OpenMP waits, before torch is loaded

    import torch  # isort: skip

    from nanochat.infer.engine import Engine
    from nanochat.infer.sampling import Sampling

    torch.set_num_threads(threads)
    model, tokenizer = served_model.load(Path(base))
    engine = Engine(model)
    for rows in (1, 8, 32):
        engine.generate_batch([1] * 64, samples=rows, max_tokens=8, sampling=Sampling(temperature=0))
    _loaded.update(engine=engine, tokenizer=tokenizer)
    return engine.decoder.backend


def alone(prompts: Sequence[Sequence[str]], max_tokens: int, start: float) -> Alone:
    """Every client's prompts one after the other, all clients together, from `start` on."""
    from nanochat.infer.sampling import Sampling
    from nanochat.infer.scheduler import Request

    engine, tokenizer = _loaded["engine"], _loaded["tokenizer"]
    greedy = Sampling(temperature=0)
    queued = [
        [Request(tokenizer.encode(text, bos=True), max_tokens, sampling=greedy) for text in texts]
        for texts in prompts
    ]
    scheduler = engine.scheduler(max_rows=max(32, len(prompts)))
    time.sleep(max(0.0, start - time.monotonic()))
    began = time.monotonic()
    client_of: dict[int, int] = {}
    sent: dict[int, float] = {}
    first: list[float] = []
    tokens: list[list[list[int]]] = [[] for _ in prompts]

    def submit(client: int) -> None:
        number = scheduler.submit(queued[client][len(tokens[client])])
        client_of[number], sent[number] = client, time.monotonic()
        tokens[client].append([])

    for client in range(len(prompts)):
        submit(client)
    count = 0
    while scheduler.busy:
        for new in scheduler.step():
            client = client_of[new.request]
            if not tokens[client][-1]:
                first.append(time.monotonic() - sent[new.request])
            tokens[client][-1].append(new.token)
            count += 1
            if new.finish_reason is not None and len(tokens[client]) < len(queued[client]):
                submit(client)
    seconds = time.monotonic() - began
    texts = [[tokenizer.decode(ids) for ids in answers] for answers in tokens]
    return Alone(seconds, count, first, texts, engine.decoder.backend)
