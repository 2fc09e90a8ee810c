"""A request at a worker, as the event loop that submitted it sees it; and why one is refused or fails."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol, Self

from nanochat.infer.scheduler import NewToken, Request, Started
from nanochat.serve.hand_over import HandOver


class Busy(Exception):  # noqa: N818 - no fault
    """As many requests wait as may."""

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__(f"the queue is full: try again in {retry_after_seconds:.0f} s")
        self.retry_after_seconds = retry_after_seconds


class ModelFailure(Exception):  # noqa: N818 - "failure" is what it says to people
    """The model's thread could not finish a request: memory ran out, it was unloaded, the server ends."""


class Worker(Protocol):
    """What a generation needs of a `ModelWorker`."""

    replica: int
    hand_over: HandOver

    def cancel(self, generation: "Generation", sample: int | None = None) -> None: ...


class Generation:
    """A request at a worker: iterate, in the loop that submitted it, for lists of all tokens since the last.

    It ends by itself after the last sample's end; raises `ModelFailure`, or `UserError` for a request that
    the scheduler refuses. Whoever stops reading before the end calls `cancel`.
    """

    def __init__(self, worker: Worker, request: Request) -> None:
        self.request = request
        self.replica = worker.replica
        """Which of the model's copies answers."""
        self.started: Started | None = None
        """Set before the first batch."""
        self.queue_seconds: float | None = None
        """From `submit` until the prompt was read."""
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._arrived: list[NewToken] = []
        self._ended = False
        self._error: Exception | None = None
        # The rest is the model thread's.
        self.submitted_at = time.monotonic()
        self.number = -1
        self.open_samples = set(range(request.samples))
        """Those that have not ended."""
        self.held: list[NewToken] = []
        """Tokens that the loop has not been given."""
        self.has_given = False
        """Whether its first token is out."""
        self.give_at = 0.0
        """When it is given what is held, on the monotonic clock; 0 until its first token."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[NewToken]:
        while not self._arrived and not self._ended:
            self._news.clear()
            await self._news.wait()
        if self._arrived:
            batch, self._arrived = self._arrived, []
            return batch
        if self._error is not None:
            raise self._error
        raise StopAsyncIteration

    def cancel(self) -> None:
        """Frees its rows within one step; after its end, or a second time, does nothing."""
        if not self._ended:
            self._worker.cancel(self)
            self._arrived.clear()
            self._end(None)

    def cancel_sample(self, sample: int) -> None:
        """Frees the row of one sample within one step, as `cancel` does for all; the others go on. Tokens of
        the sample may still come. Does nothing when it has ended."""
        if not self._ended:
            self._worker.cancel(self, sample)

    async def aclose(self) -> None:
        """As `cancel`."""
        self.cancel()

    # -- called by the model thread, whose next `hand_over.flush` tells the loop ------------------------

    def give(self) -> None:
        """Hands the held tokens to the loop."""
        batch, self.held = self.held, []
        self.has_given = True
        self._call(lambda: self._receive(batch))

    def finish(self, error: Exception | None = None) -> None:
        """Hands over what is held, and the end."""
        if self.held:
            self.give()
        self._call(lambda: self._end(error))

    def start(self, started: Started, now: float) -> None:
        """Says that the prompt has been read."""
        seconds = now - self.submitted_at
        self._call(lambda: self._start(started, seconds))

    def _call(self, call: Callable[[], None]) -> None:
        self._worker.hand_over.add(self._loop, call, lambda: self._worker.cancel(self))

    # -- called in the loop ----------------------------------------------------------------------------

    def _start(self, started: Started, seconds: float) -> None:
        self.started, self.queue_seconds = started, seconds

    def _receive(self, batch: list[NewToken]) -> None:
        if not self._ended:
            self._arrived += batch
            self._news.set()

    def _end(self, error: Exception | None) -> None:
        if not self._ended:
            self._ended, self._error = True, error
            self._news.set()
