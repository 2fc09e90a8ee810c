"""Continuous batching: requests join a running batch as rows come free, and leave it one by one.

    scheduler = Scheduler(Decoder(model), max_rows=32)
    number = scheduler.submit(Request(prompt, max_tokens=256, stop=frozenset({bos})))
    while scheduler.busy:
        for token in scheduler.step():
            ...

A row's tokens do not depend on who shares the batch: each has its own random stream, and logits differ by
no more than the rounding of a matmul of another height.
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
from nanochat.infer.sampling import Sampling, choose
from nanochat.tools.calculator import Calculator, ToolRow


class Finish(StrEnum):
    """Why a row ended: a token of its `stop`, its `max_tokens`, or the scheduler's `max_length`."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True)
class Request:
    """A prompt to continue, `samples` times.

    A sample ends with a token of `stop`, which is reported too, or with `max_tokens`, forced ones
    included. With a `calculator`, calls the model makes are answered by forced tokens.
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
    """Put there by a tool, not drawn: mask 0."""
    finish: Finish | None = None
    """Set with the sample's last token."""


@dataclass
class _Waiting:
    number: int
    request: Request
    started: int = 0
    prefilled: tuple[KVCache, Tensor] | None = None


class _Row:
    """A sample under way."""

    def __init__(self, number: int, request: Request, sample: int) -> None:
        self.number, self.request, self.sample = number, request, sample
        self.length = len(request.prompt)
        self.token = 0
        """The last token, which the model has not read yet."""
        self._count = 0
        self._draws: random.Random = request.sampling.stream(sample)
        self._forced: deque[int] = deque()
        self._tool = ToolRow(request.calculator) if request.calculator else None

    def draw(self) -> float:
        return self._draws.random()

    def take(self, sampled: int, max_length: int | None) -> NewToken:
        """The row's next token: the forced one that is due, else the sampled one."""
        forced = bool(self._forced)
        token = self._forced.popleft() if forced else sampled
        if self._tool is not None:
            self._forced.extend(self._tool.feed(token))
        self.token = token
        self._count += 1
        self.length += 1
        finish = None
        if token in self.request.stop:
            finish = Finish.STOP
        elif self._count >= self.request.max_tokens or self.length == max_length:
            finish = Finish.LENGTH
        return NewToken(self.number, self.sample, token, forced, finish)


class Scheduler:
    """Rows of many requests in one batch of at most `max_rows`, each of at most `max_length` tokens.

    Both bound the memory of the caches; `max_length` None leaves a row to its `max_tokens`. In one step at
    most `prefill_tokens` of waiting prompts are read (but one prompt always), so that running rows are not
    held up for long.
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
        self._waiting: deque[_Waiting] = deque()
        self._rows: list[_Row] = []
        self._next_number = 0

    @property
    def busy(self) -> bool:
        """Whether a request waits or runs."""
        return bool(self._waiting or self._rows)

    @property
    def running(self) -> int:
        """Rows in the batch."""
        return len(self._rows)

    @property
    def waiting(self) -> int:
        """Samples that have no row yet."""
        return sum(w.request.samples - w.started for w in self._waiting)

    def submit(self, request: Request) -> int:
        """Queues a request; returns the number its tokens will carry.

        Raises `UserError` when the prompt is empty, too long, or holds what is no token of the model.
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
        self._waiting.append(_Waiting(number, request))
        return number

    def cancel(self, number: int) -> None:
        """Takes a request out, waiting or running; nothing happens when it has ended."""
        self._waiting = deque(w for w in self._waiting if w.number != number)
        for index in reversed(range(len(self._rows))):
            if self._rows[index].number == number:
                self._remove(index)

    def step(self) -> list[NewToken]:
        """One token more for every running row; then waiting requests join as far as there are rows."""
        if not self._rows:
            self.decoder.refresh()
        tokens = []
        if self._rows:
            logits = self.decoder.step([row.token for row in self._rows])
            tokens = self._take(logits, self._rows)
            for index in reversed(range(len(tokens))):
                if tokens[index].finish is not None:
                    self._remove(index)
        budget = self.prefill_tokens
        while self._waiting and len(self._rows) < self.max_rows and budget > 0:
            head = self._waiting[0]
            budget -= len(head.request.prompt) if head.prefilled is None else 0
            tokens += self._start(head)
            if head.started == head.request.samples:
                self._waiting.popleft()
        return tokens

    def _start(self, waiting: _Waiting) -> list[NewToken]:
        """Starts as many samples as there are rows, from one prefill."""
        request = waiting.request
        if waiting.prefilled is None:
            waiting.prefilled = self.decoder.prefill(list(request.prompt))
        cache, logits = waiting.prefilled
        count = min(request.samples - waiting.started, self.max_rows - len(self._rows))
        samples = range(waiting.started, waiting.started + count)
        rows = [_Row(waiting.number, request, sample) for sample in samples]
        waiting.started += count
        tokens = self._take(logits.expand(count, -1), rows)
        going = [row for row, token in zip(rows, tokens, strict=True) if token.finish is None]
        if going:
            self.decoder.admit(cache, len(going), request.max_tokens)
            self._rows += going
        return tokens

    def _take(self, logits: Tensor, rows: Sequence[_Row]) -> list[NewToken]:
        settings = [row.request.sampling for row in rows]
        sampled = choose(logits, settings, [row.draw() for row in rows])
        return [row.take(token, self.max_length) for row, token in zip(rows, sampled, strict=True)]

    def _remove(self, index: int) -> None:
        """The last row takes the number of the one that leaves, as it does in the decoder."""
        self.decoder.remove(index)
        last = self._rows.pop()
        if index < len(self._rows):
            self._rows[index] = last
