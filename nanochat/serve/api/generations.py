"""The generations of one HTTP request: one a prompt, each of some samples, as one stream of deltas."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from nanochat.infer.scheduler import FinishReason, NewToken, Request, Started
from nanochat.infer.text_stream import Delta, TextStream
from nanochat.serve.api.endpoint import Reply
from nanochat.serve.models import LoadedModel
from nanochat.serve.worker import Busy, Generation

PROMPTS_AT_ONCE = 32
"""Prompts of one request that may be queued or running together: the rest of its list waits outside."""


@dataclass(frozen=True)
class Piece:
    """News of one sample of one prompt."""

    prompt: int
    sample: int
    delta: Delta


class Generations:
    """Runs requests on a model; iterate for lists of pieces, each all that came since the last.

    `cancel` it in any case, as `send` does.
    """

    def __init__(
        self, loaded: LoadedModel, requests: Sequence[Request], streams: Sequence[Sequence[TextStream]]
    ) -> None:
        self._loaded, self._requests, self._streams = loaded, requests, streams
        self._generations: list[Generation | None] = [None] * len(requests)
        self._tasks: set[asyncio.Task[None]] = set()

    def started(self, prompt: int) -> Started | None:
        """What is known since a prompt was read."""
        generation = self._generations[prompt]
        return None if generation is None else generation.started

    def prompt(self, number: int) -> Sequence[int]:
        """The ids of a prompt."""
        return self._requests[number].prompt

    @property
    def headers(self) -> dict[str, str]:
        """Time in the queue, the longest of the prompts, and tokens that the prefix cache spared, as known
        now."""
        running = [generation for generation in self._generations if generation is not None]
        waited = max((generation.queue_seconds or 0.0 for generation in running), default=0.0)
        return {
            "X-Queue-Time-Ms": f"{1000 * waited:.1f}",
            "X-Prefix-Cached-Tokens": str(self.cached_tokens),
        }

    @property
    def cached_tokens(self) -> int:
        """Tokens of the prompts that came from the prefix cache."""
        return sum(started.cached_tokens for i in range(len(self._requests)) if (started := self.started(i)))

    @property
    def replica(self) -> int:
        """Which copy of the model answers the first prompt."""
        generation = self._generations[0]
        return 0 if generation is None else generation.replica

    def usage(self) -> dict[str, Any]:
        """The tokens read and made so far, in OpenAI's form."""
        read = sum(len(request.prompt) for request in self._requests)
        made = sum(stream.count for streams in self._streams for stream in streams)
        return usage(read, made, self.cached_tokens)

    def cancel(self) -> None:
        """Ends what still runs."""
        for task in self._tasks:
            task.cancel()
        for generation in self._generations:
            if generation is not None:
                generation.cancel()

    async def __aiter__(self) -> AsyncIterator[list[Piece]]:
        if len(self._requests) == 1:
            self._submit(0)
            async for pieces in self._pieces(0):
                yield pieces
            return
        news: asyncio.Queue[list[Piece] | Exception | None] = asyncio.Queue()
        feeder = asyncio.create_task(self._feed(news))
        self._tasks.add(feeder)
        while (item := await news.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item

    def _submit(self, prompt: int) -> None:
        request = self._requests[prompt]
        if request.max_tokens > 0 or request.prompt_logprobs is not None:
            self._generations[prompt] = self._loaded.worker().submit(request)

    async def _pieces(self, prompt: int) -> AsyncIterator[list[Piece]]:
        generation, streams = self._generations[prompt], self._streams[prompt]
        if generation is not None:
            async for batch in generation:
                pieces = []
                for sample, news in _by_sample(batch, len(streams)):
                    stream = streams[sample]
                    running = not stream.ended
                    stream.add_all(news)
                    if running and stream.ended and news[-1].finish_reason is None:
                        # By a stop string, of which its row knows nothing.
                        generation.cancel_sample(sample)
                    pieces.append(Piece(prompt, sample, stream.take()))
                yield pieces
                if all(stream.ended for stream in streams):
                    generation.cancel()
                    return
        if self._requests[prompt].max_tokens == 0:  # the prompt was all that was wanted
            for stream in streams:
                stream.end(FinishReason.LENGTH)
            yield [Piece(prompt, sample, stream.take()) for sample, stream in enumerate(streams)]

    async def _feed(self, news: "asyncio.Queue[list[Piece] | Exception | None]") -> None:
        """Submits every prompt, some at a time, and passes on what they give; None at the end."""
        running: set[asyncio.Task[None]] = set()
        try:
            for prompt in range(len(self._requests)):
                while not self._fits(prompt, len(running)):
                    _, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                task = asyncio.create_task(self._pump(prompt, news))
                running.add(task)
                self._tasks.add(task)
            if running:
                await asyncio.wait(running)
            news.put_nowait(None)
        except Exception as fault:
            news.put_nowait(fault)

    def _fits(self, prompt: int, running: int) -> bool:
        """Submits a prompt if there is room. A full queue is an error only to a request that has nothing in
        it."""
        if running >= PROMPTS_AT_ONCE:
            return False
        try:
            self._submit(prompt)
        except Busy:
            if running:
                return False
            raise
        return True

    async def _pump(self, prompt: int, news: "asyncio.Queue[list[Piece] | Exception | None]") -> None:
        try:
            async for pieces in self._pieces(prompt):
                news.put_nowait(pieces)
        except Exception as fault:
            news.put_nowait(fault)


def _by_sample(batch: list[NewToken], samples: int) -> list[tuple[int, list[NewToken]]]:
    """The tokens of each sample, in the samples' order."""
    if samples == 1:
        return [(0, batch)]
    found: dict[int, list[NewToken]] = {}
    for new in batch:
        found.setdefault(new.sample, []).append(new)
    return sorted(found.items())


class Answer(Protocol):
    """What is made of generations."""

    async def send_whole(self, generations: Generations, reply: Reply) -> None: ...
    async def send_stream(self, generations: Generations, reply: Reply) -> None: ...


async def send(answer: Answer, generations: Generations, reply: Reply, *, stream: bool) -> None:
    """Sends an answer, as it comes or when it is whole, and frees the rows of what has not finished then."""
    try:
        await (answer.send_stream if stream else answer.send_whole)(generations, reply)
    finally:
        generations.cancel()


def usage(read: int, made: int, cached: int) -> dict[str, Any]:
    """Tokens of prompt and answer in OpenAI's form."""
    return {
        "prompt_tokens": read,
        "completion_tokens": made,
        "total_tokens": read + made,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
