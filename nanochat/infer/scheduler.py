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
from dataclasses import replace

import torch
from torch import Tensor

from nanochat.common.errors import UserError
from nanochat.infer.decoder import Decoder
from nanochat.infer.logprobs import token_logprobs
from nanochat.infer.prefix_cache import PrefixCache
from nanochat.infer.prompt_queue import PromptQueue, QueuedRequest
from nanochat.infer.requests import FinishReason, NewToken, Request, Started
from nanochat.infer.sampling import sample_tokens
from nanochat.tools.calculator import ToolCallState

__all__ = ["FinishReason", "NewToken", "Request", "Scheduler", "Started"]


class _Row:
    """A running sample."""

    def __init__(self, queued: QueuedRequest, sample: int, keeps_tokens: bool) -> None:
        request = queued.request
        self.number, self.request, self.sample = queued.number, request, sample
        self.length = len(request.prompt)
        self.tokens = list(request.prompt) if keeps_tokens else None
        """All of its tokens, for the prefix cache; None where there is none."""
        self.weights_key = queued.weights_key
        self.kept = self.length
        """How many of its tokens the prefix cache was given."""
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
        if self.tokens is not None:
            self.tokens.append(token)
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
    `prefill_tokens` of prompts, in their order, several in one pass and a long one in pieces, so that rows do
    not stall; where none runs, the first prompt is read whole. With a `prefix_cache` only what is not kept
    there is read.
    """

    def __init__(
        self,
        decoder: Decoder,
        max_rows: int = 32,
        max_length: int | None = None,
        prefill_tokens: int = 2048,
        prefix_cache: PrefixCache | None = None,
    ) -> None:
        if max_rows < 1 or (max_length is not None and max_length < 2):
            raise UserError("a batch needs at least one row, and a row two tokens")
        if prefill_tokens < 1:
            raise UserError(f"prompts cannot be read in pieces of {prefill_tokens} tokens")
        self.decoder = decoder
        self.max_rows = max_rows
        self.max_length = max_length
        self.prefill_tokens = prefill_tokens
        self.prefix_cache = prefix_cache
        if prefix_cache is not None:
            prefix_cache.bind(decoder)
        windows = [window for window in decoder.config.windows if window is not None]
        self._shortest_window = min(windows, default=None)
        self._started: list[Started] = []
        self._queue = PromptQueue(decoder, prefix_cache)
        self._joining: list[tuple[QueuedRequest, int]] = []
        """Requests with how many of the last rows are theirs that the decoder has not been given yet."""
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
        return self._queue.samples

    def submit(self, request: Request) -> int:
        """Queues a request; returns its number, which its tokens will carry.

        Raises `UserError` when the prompt is empty, too long, or holds an id outside the vocabulary.
        """
        prompt, vocab = request.prompt, self.decoder.config.vocab_size
        scores_only = request.max_tokens == 0 and request.prompt_logprobs is not None
        if not prompt:
            raise UserError("the prompt holds no token", "begin with bos")
        if min(prompt) < 0 or max(prompt) >= vocab:
            raise UserError(f"the prompt holds ids outside the model's vocabulary of {vocab:,}")
        most = None if self.max_length is None else self.max_length - (0 if scores_only else 1)
        if most is not None and len(prompt) > most:
            raise UserError(f"the prompt has {len(prompt):,} tokens, at most {most:,} fit")
        if (request.max_tokens < 1 and not scores_only) or request.samples < 1:
            raise UserError("a request is for at least one token of one sample")
        if min(request.logprobs or 0, request.prompt_logprobs or 0) < 0:
            raise UserError("log-probabilities of a negative number of tokens were asked for")
        for token in request.sampling.logit_bias:
            if not 0 <= token < vocab:
                raise UserError(f"the bias for token {token} is outside the model's vocabulary of {vocab:,}")
        number = self._next_number
        self._next_number += 1
        self._queue.add(number, request)
        return number

    def cancel(self, number: int, sample: int | None = None) -> None:
        """Removes a request, queued or running, or one sample of it; does nothing when that has finished."""
        self._settle()
        self._queue.cancel(number, sample)
        for index in reversed(range(len(self._rows))):
            row = self._rows[index]
            if row.number == number and sample in (None, row.sample):
                self._remove(index)
        if sample is None:
            self._started = [started for started in self._started if started.request != number]

    def step(self) -> list[NewToken]:
        """Decodes one token for every running row, then admits queued requests while there are free rows."""
        self._settle()
        if not self._rows and not self._queue.reading:
            self.decoder.refresh()
        self._started.clear()
        tokens = self._decode() if self._rows else []
        budget = self.prefill_tokens
        while self._queue and len(self._rows) < self.max_rows:
            free = self.max_rows - len(self._rows)
            read, started = self._queue.read(budget, free, alone=not self._rows)
            budget -= read
            self._started += started
            first = self._start(free)
            tokens += first
            if not (read or first):
                break
        if not self.busy:
            self._settle()
        return tokens

    def _settle(self) -> None:
        """Does what the first tokens of the last step have not waited for: their rows join the decoder's, and
        the prefix cache gets the prompts."""
        joining, self._joining = self._joining, []
        for queued, rows in joining:
            assert queued.cache is not None
            self.decoder.admit(queued.cache, rows, queued.request.max_tokens)
            queued.joining -= rows
            self._queue.release(queued)
        self._queue.keep()

    def _decode(self) -> list[NewToken]:
        """The next token of every row; those that have finished leave."""
        logits = self.decoder.step([row.token for row in self._rows])  # (B, V)
        tokens = self._sample(logits, self._rows)
        # From the last on, as a row that leaves is replaced by the last one.
        for index in reversed(range(len(tokens))):
            if tokens[index].finish_reason is not None:
                self._remove(index)
        if self.prefix_cache is not None and self._shortest_window is not None:
            for index, row in enumerate(self._rows):
                if row.length - row.kept > self._shortest_window:
                    self._keep(index)
        return tokens

    def take_started(self) -> list[Started]:
        """The requests whose prompts the last step finished reading; each is returned once."""
        started, self._started = self._started, []
        return started

    def _start(self, free: int) -> list[NewToken]:
        """The first token of as many samples as there are `free` rows, of prompts that have been read; all
        samples of a prompt begin from one reading of it."""
        keeps_tokens = self.prefix_cache is not None
        starting = [
            (queued, [_Row(queued, sample, keeps_tokens) for sample in samples])
            for queued, samples in self._queue.ready(free)
        ]
        if not starting:
            return []
        # (1, V) a prompt → (samples, V)
        logits = [_logits(queued).expand(len(rows), -1) for queued, rows in starting]
        together = logits[0] if len(logits) == 1 else torch.cat(logits)
        tokens = self._sample(together, [row for _, rows in starting for row in rows])
        running = {(token.request, token.sample) for token in tokens if token.finish_reason is None}
        for queued, rows in starting:
            unfinished = [row for row in rows if (row.number, row.sample) in running]
            if unfinished:
                queued.joining += len(unfinished)
                self._joining.append((queued, len(unfinished)))
                self._rows += unfinished
        return tokens

    def _sample(self, logits: Tensor, rows: Sequence[_Row]) -> list[NewToken]:
        """The next token of each row from logits (rows, V)."""
        settings = [row.request.sampling for row in rows]
        sampled = sample_tokens(logits, settings, [row.uniform() for row in rows])
        tokens = [row.append(token, self.max_length) for row, token in zip(rows, sampled, strict=True)]
        if any(row.request.logprobs is not None for row in rows):
            _add_logprobs(tokens, logits, rows)
        return tokens

    def _keep(self, index: int) -> None:
        """Gives the prefix cache what a row has read since the last time: all but its last token."""
        row = self._rows[index]
        if self.prefix_cache is None or row.tokens is None or row.length - 1 == row.kept:
            return
        if row.weights_key != self.decoder.weights_key:
            row.tokens = None  # what it has read comes from old and new weights
            return
        self.prefix_cache.keep_row(self.decoder, row.tokens[:-1], row.kept, index)
        row.kept = row.length - 1

    def _remove(self, index: int) -> None:
        """Removes a row; the last one takes its index, as it does in the decoder."""
        self._keep(index)
        self.decoder.remove(index)
        last = self._rows.pop()
        if index < len(self._rows):
            self._rows[index] = last


def _logits(queued: QueuedRequest) -> Tensor:
    """(1, V) of the token after a prompt that has been read."""
    assert queued.logits is not None
    return queued.logits


def _add_logprobs(tokens: list[NewToken], logits: Tensor, rows: Sequence[_Row]) -> None:
    """Adds to the tokens of rows that asked for them their log-probabilities, from logits (rows, V)."""
    asked = [(i, n) for i, row in enumerate(rows) if (n := row.request.logprobs) is not None]
    indices = [i for i, _ in asked]
    found = token_logprobs(logits[indices], [tokens[i].token for i in indices], max(n for _, n in asked))
    for (i, n), logprobs in zip(asked, found, strict=True):
        tokens[i] = tokens[i]._replace(logprobs=replace(logprobs, top=logprobs.top[:n]))
