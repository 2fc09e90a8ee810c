"""The prefix cache: a conversation reads only what is new, and every token is still the full pass's."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_models import VOCAB, WAYS, by_kernel, random_model

from nanochat.checkpoint.files import find_checkpoint
from nanochat.checkpoint.weights import load_model
from nanochat.common.errors import UserError
from nanochat.infer.decoder import Decoder
from nanochat.infer.engine import Engine
from nanochat.infer.prefix_cache import PrefixCache
from nanochat.infer.sampling import Sampling
from nanochat.infer.scheduler import NewToken, Request, Scheduler
from nanochat.model.architecture import CLASSIC, MODERN, ArchitectureFlags
from nanochat.model.gpt import GPT
from nanochat.tools.calculator import ToolCallState

GREEDY = Sampling(temperature=0)
EXAMPLES = 1000 if os.environ.get("NANOCHAT_ENGINE") == "long" else 12
"""Schedules a way of decoding; the long form is a part of `make nightly`."""


class Echo:
    """A calculator whose result is the expression's last tokens backwards."""

    python_start, python_end = 1, 2

    def output(self, expression: Sequence[int]) -> list[int]:
        return [3, *reversed(expression[-3:]), 4] if expression else []


CALLS = {Echo.python_start: 5.0, Echo.python_end: 5.0}
"""A bias that makes a random model call the calculator often."""


@dataclass
class Row:
    """A sample as it came, and its request."""

    request: Request
    tokens: list[NewToken] = field(default_factory=list)

    @property
    def sequence(self) -> list[int]:
        return [*self.request.prompt, *(new.token for new in self.tokens)]

    def check(self, model: GPT) -> None:
        """Each token has the full pass's log-probability; a greedy one is its choice, or as likely but for
        rounding; the tool wrote what it had to."""
        with torch.no_grad():
            logits = model(torch.tensor([self.sequence[:-1]]))[0, len(self.request.prompt) - 1 :]
        logprobs = logits.log_softmax(-1)
        for token, bias in self.request.sampling.logit_bias.items():
            logits[:, token] += bias
        tool = ToolCallState(Echo())  # type: ignore[arg-type]
        due: list[int] = []
        for place, new in enumerate(self.tokens):
            assert new.logprobs is not None
            assert new.logprobs.logprob == pytest.approx(float(logprobs[place, new.token]), abs=5e-4)
            assert new.forced == bool(due)
            if due:
                assert new.token == due.pop(0)
            elif self.request.sampling.temperature == 0:
                assert logits[place].max() - logits[place, new.token] < 2e-4
            if self.request.calculator is not None:
                due += tool.feed(new.token)


@dataclass(frozen=True)
class Arrival:
    """A request that comes in at a step, and perhaps leaves before it is finished."""

    step: int
    parent: int
    """The row whose sequence it begins with, counted from the latest."""
    cut: int
    """How much of that sequence, in per cent."""
    tail: list[int]
    max_tokens: int
    samples: int
    temperature: float
    calls: bool
    scored: bool
    life: int | None

    def request(self, rows: list[Row]) -> Request:
        earlier = rows[-1 - self.parent % len(rows)].sequence if rows else []
        return Request(
            [*earlier[: len(earlier) * self.cut // 100], *self.tail],
            self.max_tokens,
            Sampling(self.temperature, seed=self.step, logit_bias=CALLS if self.calls else {}),
            self.samples,
            stop=frozenset({0}),
            calculator=Echo() if self.calls else None,  # type: ignore[arg-type]
            logprobs=0,
            prompt_logprobs=0 if self.scored else None,
        )


arrivals = st.lists(
    st.builds(
        Arrival,
        step=st.integers(0, 60),
        parent=st.integers(0, 5),
        cut=st.sampled_from([0, 30, 80, 100, 100]),
        tail=st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=25),
        max_tokens=st.integers(1, 30),
        samples=st.integers(1, 3),
        temperature=st.sampled_from([0.0, 0.0, 1.0]),
        calls=st.booleans(),
        scored=st.sampled_from([False, False, False, True]),
        life=st.none() | st.integers(1, 20),
    ),
    min_size=2,
    max_size=10,
)


@pytest.fixture
def every_token_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beginnings of any length are reused."""
    monkeypatch.setattr("nanochat.infer.prefix_cache.MIN_REUSED", 1)


@pytest.mark.slow
@pytest.mark.usefixtures("every_token_counts")
@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.sampled_from([MODERN, CLASSIC, replace(MODERN, smear=False, backout=False)]),
    pattern=st.sampled_from(["L", "S", "SSSL"]),
    context=st.sampled_from([4, 8, 200]),
    kv_heads=st.sampled_from([1, 4]),
    max_rows=st.integers(1, 5),
    prefill_tokens=st.sampled_from([1, 7, 2048]),
    capacity=st.sampled_from([30, 150, 5000]),
    schedule=arrivals,
    seed=st.integers(0, 99),
)
def test_rows_equal_the_full_pass_whatever_is_kept_evicted_or_cancelled(
    way: Callable[[GPT], Decoder],
    parts: ArchitectureFlags,
    pattern: str,
    context: int,
    kv_heads: int,
    max_rows: int,
    prefill_tokens: int,
    capacity: int,
    schedule: list[Arrival],
    seed: int,
) -> None:
    model = random_model(seed, parts, window_pattern=pattern, sequence_len=context, n_kv_head=kv_heads)
    token_bytes = 2 * 4 * model.config.n_layer * model.config.kv_dim
    cache = PrefixCache(capacity * token_bytes)
    scheduler = Scheduler(way(model), max_rows, prefill_tokens=prefill_tokens, prefix_cache=cache)
    rows: dict[tuple[int, int], Row] = {}
    cancel_at: dict[int, int] = {}
    waiting: set[int] = set()
    for step in range(10**6):
        if step > 60 and not scheduler.busy:
            break
        for arrival in schedule:
            if arrival.step == step:
                request = arrival.request(list(rows.values()))
                number = scheduler.submit(request)
                waiting.add(number)
                rows |= {(number, sample): Row(request) for sample in range(request.samples)}
                if arrival.life is not None:
                    cancel_at[number] = step + arrival.life
        for number, at in cancel_at.items():
            if at == step:
                scheduler.cancel(number)
                waiting.discard(number)
        tokens = scheduler.step()
        for started in scheduler.take_started():
            waiting.remove(started.request)
            request = rows[started.request, 0].request
            assert started.cached_tokens < len(request.prompt)
            assert (started.prompt_logprobs is None) == (request.prompt_logprobs is None)
        for new in tokens:
            assert new.request not in waiting
            assert cancel_at.get(new.request, 10**9) > step
            rows[new.request, new.sample].tokens.append(new)
        assert cache.bytes <= cache.max_bytes
    assert not waiting
    for (number, _), row in rows.items():
        if row.tokens:
            row.check(model)
        if number not in cancel_at:
            assert row.tokens[-1].finish_reason is not None


def converse(
    scheduler: Scheduler, turns: int, said: int, answered: int, sampling: Sampling = GREEDY
) -> tuple[list[Row], list[int]]:
    """A conversation: `said` new tokens a turn, answers of `answered`; rows, and tokens cached a turn."""
    g = torch.Generator().manual_seed(4)
    vocab = scheduler.decoder.config.vocab_size
    rows: list[Row] = []
    cached: list[int] = []
    for _ in range(turns):
        history = rows[-1].sequence if rows else []
        new = torch.randint(0, vocab, (said,), generator=g).tolist()
        row = Row(Request([*history, *new], answered, sampling, logprobs=0))
        scheduler.submit(row.request)
        while scheduler.busy:
            row.tokens += scheduler.step()
            cached += [started.cached_tokens for started in scheduler.take_started()]
        rows.append(row)
    return rows, cached


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("parts", [MODERN, CLASSIC])
@pytest.mark.parametrize("pattern", ["SSSL", "L"])
def test_a_turn_reads_only_what_is_new(
    way: Callable[[GPT], Decoder], parts: ArchitectureFlags, pattern: str
) -> None:
    """All but the last token of the answer before, which the model has not read; also far beyond windows."""
    model = random_model(1, parts, sequence_len=200, window_pattern=pattern)
    cache = PrefixCache(1 << 24)
    scheduler = Scheduler(way(model), prefix_cache=cache)
    rows, cached = converse(scheduler, turns=5, said=21, answered=140)
    assert cached == [0, *(len(row.sequence) - 1 for row in rows[:-1])]
    assert (cache.hits, cache.misses, cache.tokens_reused) == (4, 1, sum(cached))
    assert cache.tokens == len(rows[-1].sequence) - 1
    for row in rows:
        row.check(model)


@pytest.mark.parametrize("era", ["modern", "classic"])
def test_a_long_conversation_with_upstreams_checkpoint(shared_reference: Path, era: str) -> None:
    model = load_model(find_checkpoint(shared_reference / "checkpoints" / era / "base_checkpoints"))
    scheduler = Engine(model).scheduler(prefix_cache=PrefixCache(1 << 26))
    rows, cached = converse(scheduler, turns=6, said=60, answered=50, sampling=replace(GREEDY, temperature=1))
    assert cached == [0, *(len(row.sequence) - 1 for row in rows[:-1])]
    again, _ = converse(Engine(model).scheduler(), turns=6, said=60, answered=50)
    shared, _ = converse(scheduler, turns=6, said=60, answered=50)
    assert [row.sequence for row in shared] == [row.sequence for row in again]
    for row in (*rows, *shared):
        row.check(model)


def test_conversations_share_their_beginning_and_branches_keep_theirs() -> None:
    model = random_model(2, sequence_len=200)
    scheduler = Scheduler(by_kernel(model), prefix_cache=PrefixCache(1 << 24))
    system = [i % VOCAB for i in range(40)]
    rows, cached = [], []
    for tail in ([1], [1, 2, 3], [5, 5], [1]):
        row = Row(Request([*system, *tail], 6, GREEDY, logprobs=0))
        scheduler.submit(row.request)
        while scheduler.busy:
            row.tokens += scheduler.step()
            cached += [started.cached_tokens for started in scheduler.take_started()]
        rows.append(row)
    assert cached[0] == 0
    assert cached[1] >= 41
    assert cached[2:] == [40, 40]  # at least one token is read, for its logits
    assert rows[3].sequence == rows[0].sequence
    for row in rows:
        row.check(model)


def test_a_prompt_whose_log_probabilities_are_wanted_is_read_whole_and_kept() -> None:
    scheduler = Scheduler(by_kernel(random_model(3)), prefix_cache=PrefixCache(1 << 24))
    prompt = [i % VOCAB for i in range(50)]
    scheduler.submit(Request(prompt, 0, prompt_logprobs=0))
    scheduler.submit(Request(prompt, 0, prompt_logprobs=0))
    scheduler.submit(Request([*prompt, 1], 1))
    cached = []
    while scheduler.busy:
        scheduler.step()
        cached += [started.cached_tokens for started in scheduler.take_started()]
    assert cached == [0, 0, 50]


def test_new_weights_forget_what_the_old_ones_wrote() -> None:
    model = random_model(4)
    engine = Engine(model)
    cache = PrefixCache(1 << 24)
    scheduler = engine.scheduler(prefix_cache=cache)
    converse(scheduler, turns=2, said=20, answered=10)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    rows, cached = converse(scheduler, turns=2, said=20, answered=10)
    assert cached[0] == 0 < cached[1]
    other = Engine(random_model(5)).scheduler(prefix_cache=cache)
    _, cached = converse(other, turns=1, said=20, answered=10)
    assert cached == [0]
    for row in rows:
        row.check(model)


def test_a_row_that_ran_while_the_weights_changed_is_not_kept() -> None:
    model = random_model(8)
    engine = Engine(model)
    cache = PrefixCache(1 << 24)
    scheduler = engine.scheduler(prefix_cache=cache)
    scheduler.submit(Request([1] * 20, 30, GREEDY))
    scheduler.step()
    with torch.no_grad():
        model.lm_head.weight.add_(1.0)
    engine.decoder.refresh()  # as another batch of this engine does
    row = Row(Request([1] * 20, 3, GREEDY, logprobs=0))  # the same beginning, by the new weights alone
    number = scheduler.submit(row.request)
    while scheduler.busy:
        row.tokens += [new for new in scheduler.step() if new.request == number]
    assert cache.tokens == 20 + 2
    row.check(model)


def test_bytes_are_those_of_the_tensors_and_bounded() -> None:
    model = random_model(6)
    token_bytes = 2 * 4 * model.config.n_layer * model.config.kv_dim
    cache = PrefixCache(60 * token_bytes + 1)
    scheduler = Scheduler(by_kernel(model), prefix_cache=cache)
    converse(scheduler, turns=1, said=30, answered=11)
    assert cache.bytes == 40 * token_bytes
    converse(scheduler, turns=6, said=30, answered=11)
    assert (cache.bytes, cache.tokens_evicted) == (60 * token_bytes, 0)  # no place for the last turns
    scheduler.submit(Request([0] * 17, 1, GREEDY))
    scheduler.step()
    assert (cache.bytes, cache.tokens_evicted) == (60 * token_bytes, 17)
    nothing = PrefixCache(0)
    rows, cached = converse(Scheduler(by_kernel(model), prefix_cache=nothing), turns=2, said=30, answered=11)
    assert (cached, nothing.bytes) == ([0, 0], 0)
    for row in rows:
        row.check(model)


def test_more_than_the_memory_is_refused_in_one_line_when_the_scheduler_is_made() -> None:
    with pytest.raises(
        UserError, match=r"prefix cache of .* does not fit in the memory: cpu \(give it less\)"
    ):
        Scheduler(by_kernel(random_model()), prefix_cache=PrefixCache(1 << 50))


@pytest.mark.parametrize("parts", [MODERN, CLASSIC])
def test_running_rows_wait_for_no_more_than_a_piece_of_a_prompt(parts: ArchitectureFlags) -> None:
    model = random_model(7, parts)
    decoder = by_kernel(model)
    lengths: list[int] = []
    read = decoder.read
    decoder.read = lambda parts: lengths.extend(len(part.tokens) for part in parts) or read(parts)  # type: ignore[method-assign,func-returns-value]
    scheduler = Scheduler(decoder, max_rows=4, prefill_tokens=8)
    rows = [Row(Request([1] * 20, 30, GREEDY, logprobs=0)), Row(Request([2] * 29, 5, GREEDY, logprobs=0))]
    scheduler.submit(rows[0].request)
    rows[0].tokens += scheduler.step()
    assert lengths == [20]  # nobody waits
    scheduler.submit(rows[1].request)
    while scheduler.busy:
        tokens = scheduler.step()
        assert len(rows[0].tokens) == 30 or any(new.request == 0 for new in tokens)
        for new in tokens:
            rows[new.request].tokens.append(new)
    assert lengths == [20, 8, 8, 8, 5]  # while a row runs
    for row in rows:
        row.check(model)
