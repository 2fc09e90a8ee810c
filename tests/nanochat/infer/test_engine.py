"""The engine: greedy decoding against the full pass, batches that change, sampling, tools, memory."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_models import (
    VOCAB,
    WAYS,
    Bytes,
    Recording,
    by_kernel,
    by_replay,
    chain_model,
    check_greedy,
    random_model,
)

from nanochat.common.errors import UserError
from nanochat.infer.cuda_graphs import row_bucket
from nanochat.infer.decoder import Decoder
from nanochat.infer.engine import Engine, generate, generate_batch
from nanochat.infer.sampling import Sampling
from nanochat.infer.scheduler import FinishReason, NewToken, Request, Scheduler
from nanochat.model.architecture import CLASSIC, MODERN, ArchitectureFlags
from nanochat.model.gpt import GPT, build_model

Arrival = tuple[int, list[int], int, int, int | None, int | None]
arrivals: st.SearchStrategy[list[Arrival]] = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 5, 5, 6, 20, 30]),  # the step at which it comes
        st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=40),
        st.integers(1, 30),  # max_tokens
        st.integers(1, 3),  # samples
        st.none() | st.integers(1, 12),  # steps after which it is cancelled
        st.none() | st.integers(1, 2),  # only this sample of it
    ),
    min_size=1,
    max_size=6,
)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.sampled_from([MODERN, CLASSIC, replace(MODERN, smear=False, backout=False)]),
    pattern=st.sampled_from(["L", "S", "SSSL"]),
    context=st.sampled_from([4, 8, 200]),
    kv_heads=st.sampled_from([1, 2, 4]),
    max_rows=st.integers(1, 5),
    prefill_tokens=st.sampled_from([3, 30, 2048]),
    requests=arrivals,
    seed=st.integers(0, 99),
)
def test_greedy_rows_of_a_changing_batch_equal_the_full_pass(
    way: Callable[[GPT], Decoder],
    parts: ArchitectureFlags,
    pattern: str,
    context: int,
    kv_heads: int,
    max_rows: int,
    prefill_tokens: int,
    requests: list[Arrival],
    seed: int,
) -> None:
    """Whatever joins, leaves or is cancelled, read alone, together or in pieces; short contexts make every
    window forget."""
    model = random_model(seed, parts, window_pattern=pattern, sequence_len=context, n_kv_head=kv_heads)
    scheduler = Scheduler(way(model), max_rows, prefill_tokens=prefill_tokens)
    got: dict[tuple[int, int], list[NewToken]] = {}
    numbers: dict[int, Arrival] = {}
    cancel_at: dict[tuple[int, int], int] = {}
    clock = 0
    while scheduler.busy or clock <= 30:
        for request in requests:
            come, prompt, max_tokens, samples, life, only = request
            if come == clock:
                number = scheduler.submit(Request(prompt, max_tokens, Sampling(temperature=0), samples))
                numbers[number] = request
                if life is not None:
                    gone = range(samples) if only is None else {only} & set(range(samples))
                    cancel_at |= {(number, sample): clock + life for sample in gone}
        for (number, sample), at in cancel_at.items():
            if at == clock:
                scheduler.cancel(number, None if numbers[number][5] is None else sample)
        for new in scheduler.step():
            assert cancel_at.get((new.request, new.sample), 10**9) > clock
            got.setdefault((new.request, new.sample), []).append(new)
        assert scheduler.running <= max_rows
        clock += 1
    for (number, sample), row in got.items():
        _, prompt, max_tokens, *_ = numbers[number]
        tokens = [new.token for new in row]
        check_greedy(model, prompt, tokens)
        if (number, sample) not in cancel_at:
            assert len(tokens) == max_tokens
            assert [new.finish_reason for new in row] == [None] * (max_tokens - 1) + [FinishReason.LENGTH]
    for number, request in numbers.items():
        for sample in range(request[3]):
            assert (number, sample) in got or (number, sample) in cancel_at


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("parts", [MODERN, CLASSIC])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_decoding_gives_the_logits_of_the_full_pass(
    way: Callable[[GPT], Decoder], parts: ArchitectureFlags, kv_heads: int
) -> None:
    """Rows of different lengths side by side, one leaving in the middle."""
    model = random_model(11, parts, n_kv_head=kv_heads, sequence_len=8)
    decoder = way(model)
    g = torch.Generator().manual_seed(0)
    rows = [torch.randint(0, VOCAB, (n,), generator=g).tolist() for n in (2, 31, 7)]
    for row in rows:
        decoder.admit(decoder.prefill(row)[0], 1, 10)
    for step in range(90):
        if step == 40:
            decoder.remove(0)
            rows = [rows[2], rows[1]]
        for row in rows:
            row.append(int(torch.randint(0, VOCAB, (1,), generator=g)))
        logits = decoder.step([row[-1] for row in rows])
        with torch.no_grad():
            whole = [model(torch.tensor([row]))[0, -1] for row in rows]
        torch.testing.assert_close(logits, torch.stack(whole), atol=2e-4, rtol=0)
    assert way is not by_replay or (decoder.graphs is not None and decoder.graphs.captured > 5)


def test_rows_are_rounded_up_to_a_bucket() -> None:
    assert [row_bucket(n) for n in (1, 2, 3, 5, 9, 12, 13, 17, 24, 25, 33, 49)] == [
        1, 2, 4, 8, 12, 12, 16, 24, 24, 32, 48, 64,
    ]  # fmt: skip


def test_captured_steps_serve_the_next_call_and_see_new_weights() -> None:
    model = random_model(3)
    captures: list[Recording] = []

    def capture(compute: Callable[[], torch.Tensor]) -> Recording:
        captures.append(Recording(compute))
        return captures[-1]

    engine = Engine(model, capture=capture)
    request = Request([1, 2, 3], 6, Sampling(temperature=0), samples=2)
    first = engine.complete([request])
    assert len(captures) == 1
    assert engine.complete([request]) == first == Engine(model).complete([request])
    assert len(captures) == 1
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    assert engine.complete([request]) == Engine(model).complete([request]) != first
    assert len(captures) == 2


@pytest.mark.parametrize("parts", [MODERN, CLASSIC])
@pytest.mark.parametrize("context", [130, 300])
def test_short_windows_are_kept_apart_from_long_ones(parts: ArchitectureFlags, context: int) -> None:
    """S at a context of 300 is 128: two tracks of different reach, and prompts longer than both."""
    model = random_model(1, parts, sequence_len=context, window_pattern="SL")
    prompts = [torch.arange(n).remainder(VOCAB).tolist() for n in (3, 150, 500)]
    requests = [Request(p, 60, Sampling(temperature=0)) for p in prompts]
    for prompt, [answer] in zip(prompts, Engine(model).complete(requests), strict=True):
        assert len(answer.tokens) == 60
        check_greedy(model, prompt, answer.tokens)


@pytest.mark.parametrize("parts", [MODERN, CLASSIC])
def test_a_prompt_far_beyond_the_context_is_read_in_chunks(
    parts: ArchitectureFlags, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nanochat.infer.decoder.PREFILL_CHUNK", 7)
    monkeypatch.setattr("nanochat.infer.decoder.READ_TOKENS", 7)
    model = random_model(2, parts)
    prompt = torch.randint(0, VOCAB, (300,), generator=torch.Generator().manual_seed(0)).tolist()
    for way in WAYS:
        scheduler = Scheduler(way(model))
        scheduler.submit(Request(prompt, 40, Sampling(temperature=0)))
        tokens = []
        while scheduler.busy:
            tokens += [new.token for new in scheduler.step()]
        check_greedy(model, prompt, tokens)


def test_the_same_seed_draws_the_same_text_in_any_company() -> None:
    model = random_model(3)
    mine = Request([1, 2, 3], 25, Sampling(temperature=0.9, top_k=20, top_p=0.95, seed=11), samples=2)
    others = [
        Request([5], 40, Sampling(temperature=1.2, seed=1), samples=3),
        Request([9] * 20, 9, Sampling(temperature=0)),
        Request([7, 8], 30, Sampling(top_p=0.5, seed=11)),
    ]
    engine = Engine(model)
    alone = engine.complete([mine])[0]
    assert alone[0] != alone[1]
    assert engine.complete([*others, mine], max_rows=4)[3] == alone
    assert engine.complete([mine, *others])[0] == alone
    assert engine.complete([replace(mine, sampling=replace(mine.sampling, seed=12))])[0] != alone


def test_one_prefill_serves_samples_that_must_wait_for_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model(4)
    decoder = Decoder(model)
    reads = []
    read = decoder.read
    monkeypatch.setattr(
        decoder, "read", lambda parts: reads.append([part.tokens for part in parts]) or read(parts)
    )
    scheduler = Scheduler(decoder, max_rows=2)
    scheduler.submit(Request([1, 2], 5, Sampling(seed=3), samples=7))
    rows: dict[int, list[int]] = {}
    assert scheduler.waiting == 7
    while scheduler.busy:
        for new in scheduler.step():
            rows.setdefault(new.sample, []).append(new.token)
    together = generate_batch(model, [1, 2], samples=7, max_tokens=5, seed=3)
    assert [rows[i] for i in range(7)] == together
    assert reads == [[[1, 2]]]


def test_a_call_of_the_calculator_is_answered_by_forced_tokens() -> None:
    t = Bytes()
    start, end, opened, closed = (
        t.special_id(n) for n in ("python_start", "python_end", "output_start", "output_end")
    )
    stop = t.special_id("assistant_end")
    call = [ord("a"), start, *b"7*6", end]
    model = chain_model([*call, ord("x")])
    with torch.no_grad():
        model.lm_head.weight[ord("!")] += model.wte.weight[closed]
        model.lm_head.weight[stop] += model.wte.weight[ord("!")]
    engine = Engine(model, t)
    greedy, stops = Sampling(temperature=0), frozenset({stop})
    tokens, masks = engine.generate_batch([ord("a")], samples=2, max_tokens=30, sampling=greedy, stop=stops)
    assert tokens == [[*call[1:], opened, *b"42", closed, ord("!")]] * 2
    assert masks == [[1] * 5 + [0] * 4 + [1]] * 2
    columns = list(engine.generate([ord("a")], max_tokens=30, sampling=greedy, stop=stops))
    assert columns[-1] == ([stop], [1])
    cut, masks = engine.generate_batch([ord("a")], max_tokens=7, sampling=greedy, stop=stops)
    assert cut == [[*call[1:], opened, ord("4")]]  # forced tokens count
    plain = Engine(model).generate_batch([ord("a")], max_tokens=6, sampling=greedy, stop=stops)[0]
    assert plain == [[*call[1:], ord("x")]]


def test_training_between_two_samplings_is_seen_and_not_disturbed() -> None:
    model = random_model(6)
    engine = Engine(model)
    greedy = Sampling(temperature=0)
    [before], _ = engine.generate_batch([3, 4], max_tokens=40, sampling=greedy)
    model(torch.tensor([[1, 2, 3] * 20]), torch.tensor([[2, 3, 1] * 20])).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            assert parameter.grad is not None
            parameter -= 0.5 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    [after], _ = engine.generate_batch([3, 4], max_tokens=40, sampling=greedy)
    assert after != before
    check_greedy(model, [3, 4], after)


def test_memory_is_bounded_by_rows_and_windows_however_long_a_batch_runs() -> None:
    model = random_model(7, sequence_len=16, window_pattern="L")
    scheduler = Scheduler(Decoder(model), max_rows=3)
    for i in range(12):
        scheduler.submit(Request([i] * (1 + 9 * i), 150, Sampling(seed=i)))
    most = 0
    while scheduler.busy:
        scheduler.step()
        for track in scheduler.decoder.cache.windows:
            most = max(most, track.keys.size(1) * track.keys.size(2))
    assert most <= 4 * 2 * (16 + 2 * 256)


def test_a_row_ends_at_max_length() -> None:
    scheduler = Scheduler(Decoder(random_model(8)), max_rows=2, max_length=10)
    scheduler.submit(Request([1, 2, 3], 100, Sampling(temperature=0)))
    rows = []
    while scheduler.busy:
        rows += scheduler.step()
    assert len(rows) == 7
    assert rows[-1].finish_reason is FinishReason.LENGTH


def test_stop_tokens_are_reported_to_a_scheduler_and_left_out_by_generate() -> None:
    model = random_model(9)
    [free] = generate_batch(model, [1], max_tokens=20, seed=5)
    stop = frozenset({free[6]})
    first = free.index(free[6])
    [answer] = Engine(model).complete([Request([1], 20, Sampling(seed=5), stop=stop)])[0]
    assert (answer.tokens, answer.finish_reason) == (free[: first + 1], FinishReason.STOP)
    assert answer.sampled == [True] * (first + 1)
    assert [column[0] for column in generate(model, [1], max_tokens=20, seed=5, stop=stop)] == free[:first]


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (Request([], 5), "no token"),
        (Request([1, VOCAB], 5), "outside the model's vocabulary of 50"),
        (Request([-1], 5), "outside"),
        (Request([1] * 20, 5), "has 20 tokens, at most 11 fit"),
        (Request([1], 0), "at least one token"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused_in_one_line(request_: Request, says: str) -> None:
    scheduler = Scheduler(Decoder(random_model()), max_rows=2, max_length=12)
    with pytest.raises(UserError, match=says):
        scheduler.submit(request_)
    assert not scheduler.busy


@pytest.mark.parametrize("way", WAYS)
def test_bfloat16_decoding_stays_near_float32(way: Callable[[GPT], Decoder]) -> None:
    model = random_model(10)
    rough = build_model(model.config, "cpu", torch.bfloat16)
    rough.load_state_dict(model.state_dict())
    decoder = way(rough)
    cache, logits = decoder.prefill([1, 2, 3, 4])
    decoder.admit(cache, 2, 10)
    exact = model(torch.tensor([[1, 2, 3, 4, 5]]))[0, -1]
    logits = decoder.step([5, 5])
    assert (logits[0] - exact).abs().mean() < 0.6
    torch.testing.assert_close(logits[0], logits[1])


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_threads_of_the_kernel_change_nothing(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wide enough that each has some columns, and rows and heads do not part evenly."""
    monkeypatch.setattr("nanochat.infer.cpu_step.FLOPS_PER_THREAD", 1)
    model = random_model(12, n_embd=224, n_head=7, n_kv_head=7, window_pattern="SL")
    given, expected = [3, 1, 4, 1, 5], []
    for count in (1, threads):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=count: count)
        decoder = by_kernel(model)
        decoder.admit(decoder.prefill([1, 2, 3])[0], 5, 20)
        steps = [decoder.step([(token + i) % VOCAB for token in given]).clone() for i in range(8)]
        expected = expected or steps
        assert all(torch.equal(a, b) for a, b in zip(steps, expected, strict=True))
