"""The thread that steps a model: what it hands out, whom it refuses and frees, and that nothing hangs."""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from chat_models import CLASSIC_CONFIG, MODERN_CONFIG
from training_data import byte_tokenizer
from upstream_files import random_model

from nanochat.common.errors import UserError
from nanochat.infer.engine import Engine, generate_batch
from nanochat.infer.sampling import Sampling
from nanochat.infer.scheduler import FinishReason, NewToken, Request, Started
from nanochat.serve.worker import Busy, Generation, ModelFailure, ModelWorker

GREEDY = Sampling(temperature=0)


class CountingBatch:
    """A batch whose tokens are 0, 1, 2 …; each step waits to be allowed, and may be told to fail."""

    def __init__(self, max_rows: int) -> None:
        self.max_rows = max_rows
        self.allowed = threading.Semaphore(0)
        self.fault: Exception | None = None
        self.steps = 0
        self._next = 0
        self._queue: deque[tuple[int, Request]] = deque()
        self._rows: dict[tuple[int, int], tuple[Request, int]] = {}
        """By request and sample, with the tokens so far."""
        self._started: list[Started] = []

    @property
    def busy(self) -> bool:
        return bool(self._queue or self._rows)

    @property
    def running(self) -> int:
        return len(self._rows)

    def submit(self, request: Request) -> int:
        if not request.prompt:
            raise UserError("the prompt holds no token")
        self._next += 1
        self._queue.append((self._next, request))
        return self._next

    def cancel(self, number: int, sample: int | None = None) -> None:
        if sample is None:
            self._queue = deque(queued for queued in self._queue if queued[0] != number)
        for row in [row for row in self._rows if row[0] == number and sample in (None, row[1])]:
            del self._rows[row]

    def step(self) -> list[NewToken]:
        self.allowed.acquire()
        self.steps += 1
        if self.fault is not None:
            raise self.fault
        while self._queue and len(self._rows) < self.max_rows:
            number, request = self._queue.popleft()
            self._rows |= {(number, sample): (request, 0) for sample in range(request.samples)}
            self._started.append(Started(number, 0))
        tokens = []
        for row, (request, count) in list(self._rows.items()):
            ended = count + 1 == request.max_tokens
            tokens.append(NewToken(*row, count, False, FinishReason.LENGTH if ended else None))
            self._rows[row] = request, count + 1
            if ended:
                del self._rows[row]
        return tokens

    def take_started(self) -> list[Started]:
        started, self._started = self._started, []
        return started


@asynccontextmanager
async def counting(rows: int = 2, queue: int = 1) -> AsyncIterator[tuple[ModelWorker, CountingBatch]]:
    """A worker whose batch the test steps."""
    batch = CountingBatch(rows)
    worker = ModelWorker(lambda: batch, rows, queue)
    try:
        yield worker, batch
    finally:
        batch.allowed.release(1_000_000)
        assert await asyncio.to_thread(worker.close)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.002)


async def tokens_of(generation: Generation) -> list[int]:
    return [new.token async for batch in generation for new in batch]


@pytest.mark.parametrize("config", [MODERN_CONFIG, CLASSIC_CONFIG], ids=["modern", "classic"])
async def test_requests_at_once_get_the_tokens_they_get_alone(config: object) -> None:
    model = random_model(config)  # type: ignore[arg-type]
    engine = Engine(model)
    worker = ModelWorker(lambda: engine.scheduler(max_rows=3), 3, 8)
    prompts = [
        byte_tokenizer().encode(text, bos=True) for text in ("one", "two words", "and three", "x", "y")
    ]
    try:
        generations = [worker.submit(Request(prompt, 20, sampling=GREEDY)) for prompt in prompts]
        found = await asyncio.gather(*map(tokens_of, generations))
    finally:
        assert worker.close()
    assert found == [generate_batch(model, p, max_tokens=20, temperature=0)[0] for p in prompts]
    for generation in generations:
        assert generation.started is not None and generation.queue_seconds is not None
    assert worker.figures.generated_tokens == 100
    assert sum(worker.figures.first_token_counts) == 5


async def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    async with counting(rows=2, queue=1) as (worker, batch):
        taken = [worker.submit(Request([1], 2)) for _ in range(3)]
        with pytest.raises(Busy) as refused:
            worker.submit(Request([1], 2))
        assert 1 <= refused.value.retry_after_seconds <= 10
        batch.allowed.release(4)
        assert [await tokens_of(one) for one in taken] == [[0, 1]] * 3
        again = worker.submit(Request([1], 1))
        batch.allowed.release(1)
        assert await tokens_of(again) == [0]
        assert worker.figures.refused == 1
        assert worker.load == 0


async def test_whoever_leaves_frees_the_row_within_one_step() -> None:
    async with counting(rows=1, queue=2) as (worker, batch):
        first, second = worker.submit(Request([1], 1000)), worker.submit(Request([1], 1))
        batch.allowed.release(1)
        assert [new.token for new in await anext(first)] == [0]
        await until(lambda: batch.steps == 1 and batch.running == 1)
        first.cancel()
        first.cancel()
        assert await tokens_of(first) == []
        # The thread may already wait in a step that began before: the next one is without the row.
        batch.allowed.release(2)
        assert await tokens_of(second) == [0]
        assert batch.steps <= 3
        assert worker.load == 0


async def test_a_sample_that_ends_early_frees_its_row_within_one_step_and_the_others_go_on() -> None:
    async with counting(rows=3, queue=0) as (worker, batch):
        generation = worker.submit(Request([1], 5, samples=3))
        batch.allowed.release(1)
        assert [new.sample for new in await anext(generation)] == [0, 1, 2]
        await until(lambda: batch.steps == 1 and batch.running == 3)
        generation.cancel_sample(1)
        generation.cancel_sample(1)
        # The thread may already wait in a step that began before: the next one is without the row.
        batch.allowed.release(2)
        await until(lambda: batch.steps == 3 and batch.running == 2)
        assert worker.load == 2
        other = worker.submit(Request([1], 1))  # there is a place again
        batch.allowed.release(10)
        rest = [new async for news in generation for new in news]
        assert [new.token for new in rest if new.sample == 0] == [1, 2, 3, 4]
        assert sum(new.sample == 1 for new in rest) <= 1
        assert await tokens_of(other) == [0]
        assert worker.load == 0


async def test_a_generation_ends_with_the_last_sample_that_is_cancelled() -> None:
    async with counting(rows=2, queue=0) as (worker, batch):
        generation = worker.submit(Request([1], 1000, samples=2))
        batch.allowed.release(1)
        await anext(generation)
        generation.cancel_sample(0)
        generation.cancel_sample(1)
        batch.allowed.release(1)
        async with asyncio.timeout(20):
            await tokens_of(generation)
        await until(lambda: worker.load == 0 and batch.running == 0)


async def test_one_that_leaves_before_its_turn_is_never_read() -> None:
    async with counting(rows=1, queue=2) as (worker, batch):
        first = worker.submit(Request([1], 2))
        await until(lambda: batch.busy)
        second = worker.submit(Request([2], 1))
        second.cancel()
        batch.allowed.release(2)
        assert await tokens_of(first) == [0, 1]
        await until(lambda: worker.load == 0)
        assert second.started is None


async def test_a_task_that_is_cancelled_leaves_nothing_behind() -> None:
    async with counting() as (worker, batch):
        generation = worker.submit(Request([1], 1000))
        waiting = asyncio.create_task(tokens_of(generation))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await generation.aclose()
        batch.allowed.release(1)
        await until(lambda: worker.load == 0)


async def test_a_fault_of_the_model_reaches_everyone_and_the_next_request_is_answered() -> None:
    batches = [CountingBatch(1), CountingBatch(1)]
    made = iter(batches)
    worker = ModelWorker(lambda: next(made), 1, 4)
    try:
        taken = [worker.submit(Request([1], 5)) for _ in range(3)]
        batches[0].allowed.release(1)
        assert [new.token for new in await anext(taken[0])] == [0]
        batches[0].fault = RuntimeError("CUDA out of memory.\nTried to allocate 2.00 GiB")
        batches[0].allowed.release(1)
        for one in taken:
            with pytest.raises(ModelFailure, match=r"out of memory\. Tried to allocate"):
                await tokens_of(one)
        fresh = worker.submit(Request([1], 2))
        taken[0].cancel()  # it has the number that the fresh one now has
        batches[1].allowed.release(2)
        assert await tokens_of(fresh) == [0, 1]
        assert worker.figures.failures == 1
    finally:
        assert worker.close()


async def test_a_batch_that_cannot_be_made_again_fails_what_waits_and_what_comes() -> None:
    batch = CountingBatch(1)
    made = iter([batch])

    def make() -> CountingBatch:
        for one in made:
            return one
        raise MemoryError("no memory for the batch")

    worker = ModelWorker(make, 1, 4)
    worker.wait_until_ready()
    one = worker.submit(Request([1], 5))
    batch.fault = RuntimeError("broken")
    batch.allowed.release(1)
    with pytest.raises(ModelFailure, match="broken"):
        await tokens_of(one)
    await until(lambda: worker.closed)
    with pytest.raises(ModelFailure, match="no memory for the batch"):
        worker.submit(Request([1], 5))
    assert worker.close()
    with pytest.raises(UserError, match="no memory for the batch"):
        ModelWorker(make, 1, 4).wait_until_ready()


async def test_a_request_that_the_batch_refuses_fails_alone() -> None:
    async with counting() as (worker, batch):
        bad, good = worker.submit(Request([], 1)), worker.submit(Request([1], 1))
        with pytest.raises(UserError, match="holds no token"):
            await tokens_of(bad)
        batch.allowed.release(1)
        assert await tokens_of(good) == [0]


async def test_closing_fails_what_runs_and_takes_nothing_more() -> None:
    async with counting() as (worker, batch):
        running = worker.submit(Request([1], 1000))
        batch.allowed.release(1)
        await anext(running)
        closing = asyncio.create_task(asyncio.to_thread(worker.close, "the server ends"))
        await until(lambda: worker.closed)
        batch.allowed.release(1)
        with pytest.raises(ModelFailure, match="the server ends"):
            await tokens_of(running)
        assert await closing
        with pytest.raises(ModelFailure, match="the server ends"):
            worker.submit(Request([1], 1))
        with pytest.raises(ModelFailure, match="the server ends"):
            await worker.call(lambda: 1)


async def test_tokens_come_together_under_load_and_the_first_and_last_at_once() -> None:
    async with counting(rows=32, queue=0) as (worker, batch):
        taken = [worker.submit(Request([1], 400)) for _ in range(32)]
        batch.allowed.release(400)

        async def chunks(generation: Generation) -> list[int]:
            return [len(chunk) async for chunk in generation]

        sizes = await asyncio.gather(*map(chunks, taken))
        assert all(sum(found) == 400 for found in sizes)
        assert all(found[0] == 1 for found in sizes)
        assert max(len(found) for found in sizes) < 200


async def test_a_step_tells_the_loop_all_that_it_has_in_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, calls = asyncio.get_running_loop(), 0
    wake = loop.call_soon_threadsafe

    def counted(*arguments: Any, **options: Any) -> asyncio.Handle:
        nonlocal calls
        calls += 1
        return wake(*arguments, **options)

    monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
    async with counting(rows=8, queue=0) as (worker, batch):
        taken = [worker.submit(Request([1], 3)) for _ in range(8)]
        batch.allowed.release(20)
        assert await asyncio.gather(*map(tokens_of, taken)) == 8 * [[0, 1, 2]]
        assert 2 <= calls <= batch.steps


async def test_other_work_is_done_between_steps_in_the_models_thread() -> None:
    async with counting() as (worker, batch):
        name = await worker.call(lambda: threading.current_thread().name)
        assert name == "model-0"
        with pytest.raises(ModelFailure, match="division"):
            await worker.call(lambda: 1 / 0)
        with pytest.raises(UserError, match="wrong"):
            await worker.call(lambda: (_ for _ in ()).throw(UserError("wrong")))
        running = worker.submit(Request([1], 2))
        batch.allowed.release(2)
        assert await tokens_of(running) == [0, 1]
