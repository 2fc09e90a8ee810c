"""Continuous batching (Orca, OSDI 2022): requests join a running batch as rows become free, and leave it one
by one.

    scheduler = Scheduler(Decoder(model), max_rows=32)
    number = scheduler.submit(Request(prompt, max_tokens=256, stop=frozenset({bos})))
    while scheduler.busy:
        for token in scheduler.step():
            ...

A row's tokens do not depend on the other rows: each has its own random numbers, and logits differ by no more
than the rounding of a matmul of another height.
"""

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from torch import Tensor

from nanochat.common.errors import UserError
from nanochat.infer.decoder import Decoder
from nanochat.infer.kvcache import KVCache
from nanochat.infer.sampling import Sampling, sample_tokens
from nanochat.tools.calculator import Calculator, ToolCallState


class FinishReason(StrEnum):
    """Why a row ended: a token of its `stop`, its `max_tokens`, or the scheduler's `max_length`."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True)
class Request:
    """A prompt to continue, `samples` times.

    A sample ends with a token of `stop`, which is returned too, or after `max_tokens`, forced tokens
    included. With a `calculator`, the results of the model's calls are forced into the sample.
    """

    prompt: Sequence[int]
    max_tokens: int
    sampling: Sampling = field(default_factory=Sampling)
    samples: int = 1
    stop: frozenset[int] = frozenset()
    calculator: Calculator | None = None


@dataclass(frozen=True)
class NewToken:
    """The next token of a sample of a request."""

    request: int
    sample: int
    token: int
    forced: bool
    """Written by a tool, not sampled: mask 0."""
    finish_reason: FinishReason | None = None
    """Set on the sample's last token."""


@dataclass
class _QueuedRequest:
    """A request some of whose samples have no row yet."""

    number: int
    request: Request
    started: int = 0
    """Samples that have a row."""
    prefilled: tuple[KVCache, Tensor] | None = None
    """The cache of the prompt and the logits (1, V) of the next token, kept for the samples to come."""


class _Row:
    """A running sample."""

    def __init__(self, number: int, request: Request, sample: int) -> None:
        self.number, self.request, self.sample = number, request, sample
        self.length = len(request.prompt)
        self.token = 0
        """The last token, which the model has not read yet."""
        self._count = 0
        self._rng: random.Random = request.sampling.rng(sample)
        self._forced: deque[int] = deque()
        self._tool = ToolCallState(request.calculator) if request.calculator else None

    def uniform(self) -> float:
        """The next random number in [0, 1): forced tokens consume one too, as in upstream nanochat."""
        return self._rng.random()

    def append(self, sampled: int, max_length: int | None) -> NewToken:
        """Adds the row's next token: the forced one that is due, else the sampled one."""
        forced = bool(self._forced)
        token = self._forced.popleft() if forced else sampled
        if self._tool is not None:
            self._forced.extend(self._tool.feed(token))
        self.token = token
        self._count += 1
        self.length += 1
        reason = None
        if token in self.request.stop:
            reason = FinishReason.STOP
        elif self._count >= self.request.max_tokens or self.length == max_length:
            reason = FinishReason.LENGTH
        return NewToken(self.number, self.sample, token, forced, reason)


class Scheduler:
    """Rows of many requests in one batch of at most `max_rows`, each of at most `max_length` tokens.

    Both bound the memory of the caches; with `max_length` None only `max_tokens` bounds a row. A step reads
    at most `prefill_tokens` of waiting prompts (but always one prompt), so that running rows do not stall.
    """

    def __init__(
        self, decoder: Decoder, max_rows: int = 32, max_length: int | None = None, prefill_tokens: int = 2048
    ) -> None:
        if max_rows < 1 or (max_length is not None and max_length < 2):
            raise UserError("a batch needs at least one row, and a row two tokens")
        self.decoder = decoder
        self.max_rows = max_rows
        self.max_length = max_length
        self.prefill_tokens = prefill_tokens
        self._queue: deque[_QueuedRequest] = deque()
        self._rows: list[_Row] = []
        self._next_number = 0

    @property
    def busy(self) -> bool:
        """Whether any request is queued or running."""
        return bool(self._queue or self._rows)

    @property
    def running(self) -> int:
        """Rows in the batch."""
        return len(self._rows)

    @property
    def waiting(self) -> int:
        """Samples that have no row yet."""
        return sum(queued.request.samples - queued.started for queued in self._queue)

    def submit(self, request: Request) -> int:
        """Queues a request; returns its number, which its tokens will carry.

        Raises `UserError` when the prompt is empty, too long, or holds an id outside the vocabulary.
        """
        prompt, vocab = request.prompt, self.decoder.config.vocab_size
        if not prompt:
            raise UserError("the prompt holds no token", "begin with bos")
        if min(prompt) < 0 or max(prompt) >= vocab:
            raise UserError(f"the prompt holds ids outside the model's vocabulary of {vocab:,}")
        if self.max_length is not None and len(prompt) >= self.max_length:
            raise UserError(f"the prompt has {len(prompt):,} tokens, at most {self.max_length - 1:,} fit")
        if request.max_tokens < 1 or request.samples < 1:
            raise UserError("a request is for at least one token of one sample")
        number = self._next_number
        self._next_number += 1
        self._queue.append(_QueuedRequest(number, request))
        return number

    def cancel(self, number: int) -> None:
        """Removes a request, queued or running; does nothing when it has finished."""
        self._queue = deque(queued for queued in self._queue if queued.number != number)
        for index in reversed(range(len(self._rows))):
            if self._rows[index].number == number:
                self._remove(index)

    def step(self) -> list[NewToken]:
        """Decodes one token for every running row, then admits queued requests while there are free rows."""
        if not self._rows:
            self.decoder.refresh()
        tokens = []
        if self._rows:
            logits = self.decoder.step([row.token for row in self._rows])  # (B, V)
            tokens = self._sample(logits, self._rows)
            # From the last on, as a row that leaves is replaced by the last one.
            for index in reversed(range(len(tokens))):
                if tokens[index].finish_reason is not None:
                    self._remove(index)
        budget = self.prefill_tokens
        while self._queue and len(self._rows) < self.max_rows and budget > 0:
            head = self._queue[0]
            budget -= len(head.request.prompt) if head.prefilled is None else 0
            tokens += self._admit(head)
            if head.started == head.request.samples:
                self._queue.popleft()
        return tokens

    def _admit(self, queued: _QueuedRequest) -> list[NewToken]:
        """Starts as many of its samples as there are free rows, all from one prefill."""
        request = queued.request
        if queued.prefilled is None:
            queued.prefilled = self.decoder.prefill(list(request.prompt))
        cache, logits = queued.prefilled
        count = min(request.samples - queued.started, self.max_rows - len(self._rows))
        samples = range(queued.started, queued.started + count)
        rows = [_Row(queued.number, request, sample) for sample in samples]
        queued.started += count
        tokens = self._sample(logits.expand(count, -1), rows)  # (1, V) → (count, V)
        unfinished = [row for row, token in zip(rows, tokens, strict=True) if token.finish_reason is None]
        if unfinished:
            self.decoder.admit(cache, len(unfinished), request.max_tokens)
            self._rows += unfinished
        return tokens

    def _sample(self, logits: Tensor, rows: Sequence[_Row]) -> list[NewToken]:
        """The next token of each row from logits (rows, V)."""
        settings = [row.request.sampling for row in rows]
        sampled = sample_tokens(logits, settings, [row.uniform() for row in rows])
        return [row.append(token, self.max_length) for row, token in zip(rows, sampled, strict=True)]

    def _remove(self, index: int) -> None:
        """Removes a row; the last one takes its index, as it does in the decoder."""
        self.decoder.remove(index)
        last = self._rows.pop()
        if index < len(self._rows):
            self._rows[index] = last
