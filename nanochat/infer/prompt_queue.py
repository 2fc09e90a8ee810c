"""Requests whose samples wait for a row, and how their prompts are read: in order, those that fit in one pass
together, each from where the prefix cache ends."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from nanochat.infer.cache_pool import CachePool
from nanochat.infer.decoder import Decoder
from nanochat.infer.kvcache import KVCache
from nanochat.infer.logprobs import PromptLogprobs
from nanochat.infer.prefix_cache import MIN_REUSED, PrefixCache
from nanochat.infer.prompt_reader import PromptPart
from nanochat.infer.requests import Request, Started


@dataclass(eq=False)
class QueuedRequest:
    """A request some of whose samples have no row yet."""

    number: int
    request: Request
    pending: list[int]
    """The samples that have none, in order."""
    cache: KVCache | None = None
    """What has been read of the prompt."""
    cached_tokens: int = 0
    """Leading tokens that were not read but came from the prefix cache."""
    weights_key: object = None
    """The weights that it is read with."""
    prompt_logprobs: PromptLogprobs | None = None
    logits: Tensor | None = None
    """(1, V) of the token after the prompt, once that is read; kept for the samples to come."""
    joining: int = 0
    """Rows that will be copied from the cache before the next step."""

    @property
    def rows(self) -> int:
        """How many rows it still needs; none where only the prompt's log-probabilities are wanted."""
        return len(self.pending) if self.request.max_tokens else 0


class PromptQueue:
    """Requests in the order they came."""

    def __init__(self, decoder: Decoder, prefix_cache: PrefixCache | None) -> None:
        self._decoder, self._prefix_cache = decoder, prefix_cache
        self._queue: deque[QueuedRequest] = deque()
        self._pool = CachePool(decoder)
        self._unkept: list[QueuedRequest] = []
        """Whose prompts the prefix cache has not been given yet."""

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def samples(self) -> int:
        """Samples that have no row yet."""
        return sum(len(queued.pending) for queued in self._queue)

    @property
    def reading(self) -> bool:
        """Whether the first prompt has been begun, by the weights as they were then."""
        return bool(self._queue) and self._queue[0].cache is not None

    def add(self, number: int, request: Request) -> None:
        """Queues a request behind the others."""
        self._queue.append(QueuedRequest(number, request, list(range(request.samples))))

    def cancel(self, number: int, sample: int | None = None) -> None:
        """Removes a request, or one sample of it that has no row yet."""
        for queued in self._queue:
            if queued.number == number:
                queued.pending = [one for one in queued.pending if sample is not None and one != sample]
        self._queue = deque(queued for queued in self._queue if queued.pending)

    def read(self, most: int, rows: int, *, alone: bool) -> tuple[int, list[Started]]:
        """Reads up to `most` tokens in one pass, of prompts that find one of `rows` free rows when they are
        whole; returns how many it read, and the prompts that now are whole.

        `alone`: nobody waits for the pass to end, and the first prompt is read whole however long it is.
        """
        self.keep()
        chosen = self._choose(most, rows, alone)
        if not chosen:
            return 0, []
        logits = self._decoder.read([part for _, part in chosen])  # (prompts, V)
        started = []
        for number, (queued, part) in enumerate(chosen):
            if part.cache.length == len(queued.request.prompt):
                queued.logits = logits[number : number + 1]
                self._unkept.append(queued)
                scores = queued.prompt_logprobs
                found = None if scores is None else scores.found
                started.append(Started(queued.number, queued.cached_tokens, found))
        return sum(len(part.tokens) for _, part in chosen), started

    def ready(self, rows: int) -> Iterator[tuple[QueuedRequest, list[int]]]:
        """Takes out the samples that get one of `rows` free rows: those of prompts that have been read, in
        order. Of a request that wants none it takes all."""
        while self._queue and self._queue[0].logits is not None:
            head = self._queue[0]
            count = min(rows, len(head.pending)) if head.rows else len(head.pending)
            if not count:
                return
            samples, head.pending = head.pending[:count], head.pending[count:]
            if not head.pending:
                self._queue.popleft()
            if head.request.max_tokens:
                rows -= count
                yield head, samples

    def keep(self) -> None:
        """Gives the prefix cache the prompts that have been read since the last time."""
        unkept, self._unkept = self._unkept, []
        for queued in unkept:
            # Weights may have changed since.
            if self._prefix_cache is not None and queued.weights_key == self._decoder.weights_key:
                assert queued.cache is not None
                prompt, cached = queued.request.prompt, queued.cached_tokens
                self._prefix_cache.keep_prompt(self._decoder, prompt, cached, queued.cache)
            self.release(queued)

    def release(self, queued: QueuedRequest) -> None:
        """Gives back the cache of a request that has been kept, and all of whose samples have rows."""
        needed = queued.pending or queued.joining or queued in self._unkept
        if queued.cache is not None and not needed:
            self._pool.give(queued.cache)
            queued.cache = None

    def _choose(self, most: int, rows: int, alone: bool) -> list[tuple[QueuedRequest, PromptPart]]:
        """What the next pass reads."""
        chosen: list[tuple[QueuedRequest, PromptPart]] = []
        for queued in self._queue:
            if most <= 0 or rows <= 0:
                break
            rows -= queued.rows
            if queued.logits is not None:
                continue
            if any(self._would_reuse(queued, other) for other, _ in chosen):
                break
            cache = self._begin(queued)
            rest = queued.request.prompt[cache.length :]
            tokens = rest if alone and not chosen else rest[:most]
            scores = queued.prompt_logprobs
            chosen.append((queued, PromptPart(cache, tokens, None if scores is None else scores.add)))
            most -= len(tokens)
        return chosen

    def _would_reuse(self, queued: QueuedRequest, other: QueuedRequest) -> bool:
        """Whether a prompt not begun finds more in the prefix cache once another one has been read."""
        request = queued.request
        if self._prefix_cache is None or queued.cache is not None or request.prompt_logprobs is not None:
            return False
        same = other.cached_tokens + MIN_REUSED
        return len(request.prompt) > same and list(request.prompt[:same]) == list(other.request.prompt[:same])

    def _begin(self, queued: QueuedRequest) -> KVCache:
        """The cache of a prompt, from the prefix cache where these weights have read nothing of it."""
        request, decoder = queued.request, self._decoder
        if queued.cache is None or queued.weights_key != decoder.weights_key:
            queued.cache = self._pool.take(len(request.prompt))
            queued.weights_key = decoder.weights_key
            if request.prompt_logprobs is not None:
                queued.prompt_logprobs = PromptLogprobs(
                    decoder.model, request.prompt, request.prompt_logprobs
                )
            elif self._prefix_cache is not None:
                queued.cached_tokens = self._prefix_cache.load(decoder, request.prompt, queued.cache)
        return queued.cache
