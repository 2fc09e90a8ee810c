"""The API over small models of random weights, and over one that says what a test wrote for it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from types import TracebackType
from typing import Any, Self, TypeAlias

import httpx
import torch
from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from nanochat.common.errors import nearest
from nanochat.infer.engine import Engine
from nanochat.infer.lens import lens
from nanochat.infer.logprobs import TokenLogprobs
from nanochat.infer.prefix_cache import PrefixCache
from nanochat.infer.sampling import Sampling
from nanochat.infer.scheduler import FinishReason, NewToken, Request, Scheduler, Started
from nanochat.model.architecture import CLASSIC, MODERN, ModelConfig
from nanochat.model.gpt import GPT, build_model
from nanochat.serve.api.routes import http_error, routes
from nanochat.serve.models import ModelCard, UnknownModel
from nanochat.serve.worker import ModelWorker
from nanochat.tokenizer.tokenizer import Tokenizer

CONTEXT = 64
PLACES = 6
"""Requests that a model takes at a time, running and waiting."""
_EMOJI = "🙂".encode()
_MERGES = [b"he", b"ll", b"hell", b" w", "é".encode(), _EMOJI[:2], _EMOJI[2:], b"ab", b"ST", b". "]
TOKENIZER = Tokenizer(
    {bytes([byte]): byte for byte in range(256)} | {m: 256 + i for i, m in enumerate(_MERGES)}
)


@cache
def small_model(name: str) -> GPT:
    """A model of random weights; `name` says the era and seeds them."""
    config = ModelConfig(
        sequence_len=CONTEXT,
        vocab_size=TOKENIZER.vocab_size,
        n_layer=3,
        n_head=2,
        n_kv_head=1,
        n_embd=32,
        window_pattern="SL",
        parts=CLASSIC if "classic" in name else MODERN,
    )
    model = build_model(config, "cpu")
    generator = torch.Generator().manual_seed(len(name))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
        # Special tokens are seldom the likeliest: answers are mostly text.
        model.lm_head.weight[len(TOKENIZER.ranks) :].zero_()
    return model


@dataclass
class Script:
    """What the scripted model says: token ids, all in one step or one a step, and what happens after them."""

    ids: list[int]
    one_a_step: bool = False
    fault: Exception | None = None
    blocks: bool = False
    """Whether it waits to be released before each step."""

    @classmethod
    def text(cls, text: str, *, call: tuple[str, str] | None = None, after: str = "", **rest: Any) -> Self:
        """A text, a call of the calculator with its result, more text, and the end."""
        ids = TOKENIZER.encode(text)
        if call is not None:
            special = TOKENIZER.special_id
            ids += [special("python_start"), *TOKENIZER.encode(call[0]), special("python_end")]
            ids += [special("output_start"), *TOKENIZER.encode(call[1]), special("output_end")]
        return cls([*ids, *TOKENIZER.encode(after), TOKENIZER.special_id("assistant_end")], **rest)


@dataclass
class ScriptedScheduler:
    """A scheduler whose model has its tokens from a script."""

    script: Script
    released: threading.Semaphore
    prefix_cache: None = None
    max_rows: int = 2
    _said: dict[int, int] = field(default_factory=dict)
    """By request how many tokens it was given."""
    _started: list[Started] = field(default_factory=list)
    taken: int = 0

    @property
    def busy(self) -> bool:
        return bool(self._said)

    @property
    def running(self) -> int:
        return len(self._said)

    @property
    def waiting(self) -> int:
        return 0

    def submit(self, _request: Request) -> int:
        self.taken += 1
        self._said[self.taken] = 0
        self._started.append(Started(self.taken, 0))
        return self.taken

    def cancel(self, number: int, sample: int | None = None) -> None:
        self._said.pop(number, None)  # its requests have one sample

    def take_started(self) -> list[Started]:
        started, self._started = self._started, []
        return started

    def step(self) -> list[NewToken]:
        script = self.script
        if script.blocks and not self.released.acquire(timeout=0.01):
            return []
        tokens = []
        for number, said in list(self._said.items()):
            count = 1 if script.one_a_step else len(script.ids)
            part = script.ids[said : said + count]
            done = said + count >= len(script.ids)
            if script.fault is not None and done:
                raise script.fault
            for at, token in enumerate(part):
                reason = FinishReason.STOP if done and at == len(part) - 1 else None
                tokens.append(NewToken(number, 0, token, False, reason, TokenLogprobs(token, -1.0)))
            self._said[number] = said + count
            if done:
                del self._said[number]
        return tokens


Batch: TypeAlias = str | list[int] | tuple[int, str]
"""Text or ids, or a sample and its text."""


class Batches:
    """A worker whose one generation comes in these batches, of sample 0 where they name none."""

    replica = 0
    queue_seconds = 0.0

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches: list[tuple[int, list[int]]] = []
        for batch in batches:
            sample, said = batch if isinstance(batch, tuple) else (0, batch)
            self._batches.append((sample, TOKENIZER.encode(said) if isinstance(said, str) else said))
        self.started = Started(1, 0)
        self.cancelled = False
        self.cancelled_samples: list[int] = []

    def submit(self, _request: Request) -> Self:
        return self

    async def __aiter__(self) -> AsyncIterator[list[NewToken]]:
        for sample, tokens in self._batches:
            yield [NewToken(1, sample, token, False) for token in tokens]
        end = TOKENIZER.special_id("assistant_end")
        samples = sorted({0, *(sample for sample, _ in self._batches)} - set(self.cancelled_samples))
        yield [NewToken(1, sample, end, False, FinishReason.STOP) for sample in samples]

    def cancel(self) -> None:
        self.cancelled = True

    def cancel_sample(self, sample: int) -> None:
        self.cancelled_samples.append(sample)

    def close(self) -> None:
        """Has nothing to close."""


class Loaded:
    """A loaded model as the registry lends it."""

    tokenizer = TOKENIZER

    def __init__(self, card: ModelCard, worker: Any, model: GPT) -> None:
        self.card, self._worker, self._model = card, worker, model
        self.layers = model.config.n_layer

    def worker(self) -> Any:
        return self._worker

    async def lens(self, ids: Sequence[int], top_k: int, places: Sequence[int]) -> Any:
        return lens(self._model, ids, top_k, places)


class Registry:
    """The models of a test by their names."""

    def __init__(self, default: str) -> None:
        self.default = default
        self.loaded: dict[str, Loaded] = {}

    def add(self, name: str, worker: Any) -> None:
        kind = "base" if name.startswith("base") else "chat"
        card = ModelCard(id=name, name=f"{name}@5", kind=kind, context=CONTEXT)  # type: ignore[arg-type]
        self.loaded[name] = Loaded(card, worker, small_model(name))

    def cards(self) -> list[ModelCard]:
        return [loaded.card for loaded in self.loaded.values()]

    def card(self, name: str) -> ModelCard:
        if (name or self.default) not in self.loaded:
            raise UnknownModel(f"no model '{name}'", nearest(name, self.loaded))
        return self.loaded[name or self.default].card

    @asynccontextmanager
    async def use(self, name: str) -> AsyncIterator[Loaded]:
        yield self.loaded[self.card(name).id]


class ServedApi:
    """The API, a client of it in this process, and the models behind it."""

    places = PLACES
    tokenizer = TOKENIZER

    def __init__(self) -> None:
        self.registry = Registry("chat")
        names = ("chat", "chat-classic", "base", "base-classic", "sft/d2")
        self.models = {name: small_model(name) for name in names}
        self._released = threading.Semaphore(0)
        self._workers: list[Any] = []
        for name in names:
            self._add(name, _worker(self._scheduler(name)))
        self.app = Starlette(
            routes=routes(self.registry),  # type: ignore[arg-type]
            exception_handlers={HTTPException: http_error},
        )
        transport = httpx.ASGITransport(app=self.app)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=60)
        self._scripted: list[ScriptedScheduler] = []

    def _add(self, name: str, worker: Any) -> None:
        self._workers.append(worker)
        self.registry.add(name, worker)

    def _scheduler(self, name: str) -> Callable[[], Scheduler]:
        def make() -> Scheduler:
            engine = Engine(self.models[name], TOKENIZER)
            return engine.scheduler(max_rows=2, max_length=CONTEXT, prefix_cache=PrefixCache(1 << 20))

        return make

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release(1_000)
        await self.client.aclose()
        for worker in self._workers:
            worker.close()

    # -- what tests compare with ---------------------------------------------------------------------

    def generate(
        self, model: str, prompt: list[int], *, samples: int = 1, max_tokens: int, sampling: Sampling
    ) -> list[list[int]]:
        """The engine's own tokens, without the one that ends a sample."""
        engine = Engine(self.models[model], None if model.startswith("base") else TOKENIZER)
        return engine.generate_batch(
            prompt, samples=samples, max_tokens=max_tokens, sampling=sampling, stop=TOKENIZER.answer_ends
        )[0]

    def bytes_of(self, token: int) -> bytes:
        """The bytes that a token adds to a text; none for a special token."""
        return b"" if token in TOKENIZER.special_ids.values() else TOKENIZER.decode_bytes([token])

    def text(self, tokens: Sequence[int]) -> str:
        """What clients see of tokens without a tool call."""
        raw = b"".join(self.bytes_of(token) for token in tokens)
        for end in range(len(raw), max(-1, len(raw) - 4), -1):
            try:
                raw[end:].decode()
            except UnicodeDecodeError as error:
                if error.reason == "unexpected end of data":
                    return raw[:end].decode("utf-8", "replace")
        return raw.decode("utf-8", "replace")

    # -- the scripted model --------------------------------------------------------------------------

    def script(self, script: Script) -> None:
        """Makes the model `scripted` say this from now on."""

        def make() -> ScriptedScheduler:
            self._scripted.append(ScriptedScheduler(script, self._released))
            return self._scripted[-1]

        self._add("scripted", _worker(make))

    def batches(self, *batches: Batch) -> Batches:
        """Makes the model `scripted`, and the default one, say these texts or ids, each at once."""
        worker = Batches(batches)
        self._add("scripted", worker)
        self.registry.default = "scripted"
        return worker

    @property
    def busy(self) -> int:
        """Requests that the scripted model has at work."""
        return sum(scheduler.running for scheduler in self._scripted)

    @property
    def taken(self) -> int:
        """Requests that the scripted model has taken so far."""
        return sum(scheduler.taken for scheduler in self._scripted)

    def release(self, steps: int) -> None:
        """Lets scripted models that block take so many steps."""
        self._released.release(steps)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Waits for something that must come."""
        async with asyncio.timeout(20):
            while not holds():
                await asyncio.sleep(0.005)


def _worker(scheduler: Callable[[], Any]) -> ModelWorker:
    return ModelWorker(scheduler, max_rows=2, queue_limit=PLACES - 2)
