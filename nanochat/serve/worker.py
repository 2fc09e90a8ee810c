"""The thread that owns a model's running batch, and what an event loop sees of it.

    worker = ModelWorker(lambda: engine.scheduler(max_rows=32), max_rows=32, queue_limit=64)
    generation = worker.submit(Request(prompt, max_tokens=256))
    async for batch in generation:
        ...

A step of the model blocks for as long as it takes, and a coroutine that blocks is never cancelled when its
client leaves. So steps are taken here, and tokens handed to the loop: the first at once, later ones together
when many rows run, for a chunk costs the loop about as much as a small model's step costs a core.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from nanochat.common.errors import UserError, one_line
from nanochat.infer.scheduler import NewToken, Request, Started
from nanochat.serve.figures import WorkerFigures
from nanochat.serve.generation import Busy, Generation, ModelFailure
from nanochat.serve.hand_over import HandOver

__all__ = ["Busy", "Generation", "ModelFailure", "ModelWorker"]

CHUNKS_A_SECOND = 160
"""Chunks that the loop is given at most, over all rows: one in 6 ms at one row, 20 a second for each of 8."""
LONGEST_WAIT = 0.1
"""Seconds that a token waits for others at most, however many rows run."""
RETRY_SECONDS = 1, 10
"""The least and the most that a refused client is told to wait: OpenAI's waits up to two minutes, twice."""

LOG = logging.getLogger("nanochat.serve")
T = TypeVar("T")


class RunningBatch(Protocol):
    """What a worker needs of a `Scheduler`."""

    @property
    def busy(self) -> bool: ...
    @property
    def running(self) -> int: ...
    def submit(self, request: Request) -> int: ...
    def cancel(self, number: int, sample: int | None = None) -> None: ...
    def step(self) -> list[NewToken]: ...
    def take_started(self) -> list[Started]: ...


class ModelWorker:
    """A thread with one running batch of at most `max_rows`; `queue_limit` samples may wait for a row.

    `scheduler_factory` is called in the thread, again after a step that failed, for what is left in the
    batch then is not known. `replica` is the number of this copy of the model.
    """

    def __init__(
        self,
        scheduler_factory: Callable[[], RunningBatch],
        max_rows: int,
        queue_limit: int,
        replica: int = 0,
    ) -> None:
        self.replica = replica
        self.max_rows = max_rows
        self.figures = WorkerFigures()
        self._make = scheduler_factory
        self._places = max_rows + queue_limit
        self._lock = threading.Condition()
        # Guarded by the lock:
        self._taken = 0
        self._submitted: list[Generation] = []
        self._cancelled: list[tuple[Generation, int | None]] = []
        self._calls: list[Callable[[], None]] = []
        self._closing: Exception | None = None
        # The thread's own:
        self.hand_over = HandOver()
        self._at_work: dict[int, Generation] = {}
        self._opening: set[int] = set()
        """Those whose prompts are read and whose first tokens are not out."""
        self._unsorted: list[list[NewToken]] = []
        """Tokens of the last steps: sorted to their generations when some are handed over."""
        self._give_at = 0.0
        """The first time that any is given what it has, on the monotonic clock."""
        self._sample_seconds = 1.0
        """How long a sample takes, smoothed."""
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"model-{replica}", daemon=True)
        self._thread.start()

    @property
    def load(self) -> int:
        """Samples that run or wait."""
        return self._taken

    @property
    def running(self) -> int:
        """Samples that have a row."""
        return min(self._taken, self.figures.rows)

    @property
    def waiting(self) -> int:
        """Samples that have none yet."""
        return self._taken - self.running

    @property
    def closed(self) -> bool:
        """Whether it takes no more requests: closed, or its model cannot be used any more."""
        return self._closing is not None

    def submit(self, request: Request) -> Generation:
        """Queues a request of the running loop's; raises `Busy` when there is no place for its samples.

        One of more samples than there are places is taken only where nothing else is at work.
        """
        with self._lock:
            if self._closing is not None:
                raise ModelFailure(str(self._closing))
            if self._taken and self._taken + request.samples > self._places:
                self.figures.refused += 1
                raise Busy(self._seconds_to_wait())
            generation = Generation(self, request)
            self._taken += request.samples
            self._submitted.append(generation)
            self._lock.notify()
        return generation

    def _seconds_to_wait(self) -> float:
        """How long until a row is likely to be free: rows that wait, in turns of the batch."""
        least, most = RETRY_SECONDS
        turns = max(1.0, (self._taken - self.max_rows) / self.max_rows)
        return min(most, max(least, self._sample_seconds * turns))

    def cancel(self, generation: Generation, sample: int | None = None) -> None:
        """Removes a generation, or one sample of it, before the next step. Callable from any thread."""
        with self._lock:
            self._cancelled.append((generation, sample))
            self._lock.notify()

    def wait_until_ready(self) -> None:
        """Returns when the first batch is made. Raises `UserError` when it cannot be."""
        self._ready.wait()
        if self._closing is not None:
            raise UserError(str(self._closing))

    async def call(self, function: Callable[[], T]) -> T:
        """What `function` returns or raises, called in the model's thread between two steps."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def settle(value: T | None, error: Exception | None) -> None:
            if future.cancelled():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(value)  # type: ignore[arg-type]

        def work() -> None:
            if future.cancelled():
                return
            value, error = None, None
            try:
                if self._closing is not None:
                    raise ModelFailure(str(self._closing))
                value = function()
            except Exception as fault:
                error = fault if isinstance(fault, UserError | ModelFailure) else as_failure(fault)
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, value, error)

        with self._lock:
            if self._closing is not None:
                raise ModelFailure(str(self._closing))
            if len(self._calls) >= self._places:
                raise Busy(self._seconds_to_wait())
            self._calls.append(work)
            self._lock.notify()
        return await future

    def close(self, why: str = "the model was unloaded", seconds: float = 10.0) -> bool:
        """Ends the thread: what still waits or runs fails with `why`. Returns whether the thread has ended
        within `seconds`: one in the middle of a long step cannot be stopped."""
        with self._lock:
            self._closing = self._closing or ModelFailure(why)
            self._lock.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    # -- the thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._serve()
        except Exception as fault:  # no batch can be made any more
            LOG.exception("a model's batch cannot be made")
            with self._lock:
                self._closing = as_failure(fault)
        self._ready.set()
        assert self._closing is not None
        self._fail_all(self._closing)
        with self._lock:
            calls, self._calls = self._calls, []
        for call in calls:
            call()
        del self._make  # the model's memory

    def _serve(self) -> None:
        """Takes steps for as long as the worker is open. Raises when the batch cannot be made."""
        scheduler = self._make()
        self._ready.set()
        while self._take(scheduler):
            if not scheduler.busy:
                self.figures.rows = 0
                continue
            failure = None
            try:
                tokens = scheduler.step()
                started = scheduler.take_started()
            except Exception as fault:
                LOG.exception("a step of the model failed")
                self.figures.failures += 1
                failure = as_failure(fault)
            if failure is not None:
                del scheduler  # its memory first: the one that is made anew needs as much
                self._fail_all(failure)
                scheduler = self._make()
                continue
            self.figures.rows = scheduler.running
            self._hand_out(tokens, started)

    def _take(self, scheduler: RunningBatch) -> bool:
        """Takes in what came since the last step, and waits for something where there is nothing to do.

        False: the worker closes.
        """
        with self._lock:
            while not (self._submitted or self._cancelled or self._calls or self._closing or scheduler.busy):
                self._lock.wait()
            if self._closing is not None:
                return False
            submitted, self._submitted = self._submitted, []
            cancelled, self._cancelled = self._cancelled, []
            calls, self._calls = self._calls, []
        # Those that were submitted and left at once never get to the batch.
        gone = {id(generation) for generation, sample in cancelled if sample is None}
        for generation in submitted:
            if id(generation) in gone:
                self._release(generation)
            else:
                self._admit(scheduler, generation)
        for generation, sample in cancelled:
            self._drop(scheduler, generation, sample)
        for call in calls:
            call()
        self.hand_over.flush()
        return True

    def _admit(self, scheduler: RunningBatch, generation: Generation) -> None:
        try:
            generation.number = scheduler.submit(generation.request)
        except Exception as fault:
            self._release(generation)
            generation.finish(fault if isinstance(fault, UserError) else as_failure(fault))
        else:
            self._at_work[generation.number] = generation
            self.figures.requests += 1

    def _drop(self, scheduler: RunningBatch, generation: Generation, sample: int | None) -> None:
        """Takes a generation, or one sample of it, out of the batch."""
        # After a failure numbers begin anew: the number alone might be another's.
        if self._at_work.get(generation.number) is not generation:
            return
        if sample is None:
            self._leave(generation)
            scheduler.cancel(generation.number)
            self._release(generation)
        elif sample in generation.open_samples:
            scheduler.cancel(generation.number, sample)
            self._release(generation, sample)
            if not generation.open_samples:
                self._finish(generation)

    def _release(self, generation: Generation, sample: int | None = None) -> None:
        """Gives back the place of a sample, or of all that have not ended."""
        ended = generation.open_samples if sample is None else {sample}
        with self._lock:
            self._taken -= len(ended)
        generation.open_samples = generation.open_samples - ended

    def _hand_out(self, tokens: list[NewToken], started: list[Started]) -> None:
        """Takes a step's tokens, and hands over those that are due: the first of an answer and its end at
        once, others when their time has come."""
        now = time.monotonic()
        for start in started:
            self._start(start, now)
        self.figures.generated(len(tokens), now)
        self._unsorted.append(tokens)
        ended = [token for token in tokens if token.finish_reason is not None]
        is_time = now >= self._give_at
        if ended or is_time or self._opening:
            self._sort()
            for token in ended:
                self._end_sample(token, now)
            for generation in self._due(now):
                self._give(generation, now)
        self.hand_over.flush()

    def _due(self, now: float) -> list[Generation]:
        """Those that are given what they have now. Each has its own time: all at one would keep a core from
        the decoding team for long."""
        due = [one for one in self._at_work.values() if one.held and now >= one.give_at]
        wait = min(LONGEST_WAIT, self.figures.rows / CHUNKS_A_SECOND)
        for generation in due:
            generation.give_at = now + wait
        self._give_at = min((one.give_at for one in self._at_work.values() if one.give_at), default=now)
        return due

    def _start(self, start: Started, now: float) -> None:
        """Says that a prompt has been read."""
        generation = self._at_work.get(start.request)
        if generation is None:
            return
        generation.start(start, now)
        self.figures.read(len(generation.request.prompt), start.cached_tokens)
        if generation.request.max_tokens == 0:
            self._finish(generation)
        else:
            self._opening.add(generation.number)

    def _sort(self) -> None:
        """Sorts tokens to their generations; those of generations that have left are dropped."""
        steps, self._unsorted = self._unsorted, []
        for tokens in steps:
            for token in tokens:
                if (generation := self._at_work.get(token.request)) is not None:
                    generation.held.append(token)

    def _give(self, generation: Generation, now: float) -> None:
        """Hands over what a generation has, if anything."""
        if not generation.held:
            return
        if not generation.has_given:
            self._count_first(generation, now)
        generation.give()

    def _count_first(self, generation: Generation, now: float) -> None:
        self.figures.first_token(now - generation.submitted_at)
        self._opening.discard(generation.number)

    def _end_sample(self, token: NewToken, now: float) -> None:
        """Gives back the place of a sample whose last token this is; ends its generation after the last."""
        generation = self._at_work[token.request]
        self._release(generation, token.sample)
        self._sample_seconds += 0.1 * (now - generation.submitted_at - self._sample_seconds)
        if not generation.open_samples:
            if not generation.has_given:
                self._count_first(generation, now)
            self._finish(generation)

    def _finish(self, generation: Generation) -> None:
        self._sort()
        self._leave(generation)
        self._release(generation)
        generation.finish()

    def _leave(self, generation: Generation) -> None:
        self._at_work.pop(generation.number, None)
        self._opening.discard(generation.number)

    def _fail_all(self, failure: Exception) -> None:
        """Ends everything that is at work or was submitted with `failure`."""
        self._sort()
        with self._lock:
            submitted, self._submitted = self._submitted, []
        for generation in [*self._at_work.values(), *submitted]:
            self._release(generation)
            generation.finish(failure)
        self._at_work.clear()
        self._opening.clear()
        self.figures.rows = 0
        self.hand_over.flush()


def as_failure(fault: Exception) -> ModelFailure:
    """A fault of the model's thread as one line."""
    what = one_line(str(fault))[:300] or type(fault).__name__
    return ModelFailure(f"the model failed: {what}")
