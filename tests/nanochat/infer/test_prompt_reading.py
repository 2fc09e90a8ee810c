"""Prompts that are read together, in pieces, or by the kernel: each as if it were read whole and alone."""

from collections.abc import Callable, Sequence

import pytest
import torch
from small_models import VOCAB, WAYS, by_kernel, by_torch, check_greedy, random_model

from nanochat.infer.decode_weights import deinterleave
from nanochat.infer.decoder import Decoder
from nanochat.infer.prefix_cache import MIN_REUSED, PrefixCache
from nanochat.infer.prompt_reader import PromptPart, passes
from nanochat.infer.sampling import Sampling
from nanochat.infer.scheduler import Request, Scheduler
from nanochat.model.architecture import CLASSIC, MODERN, ArchitectureFlags
from nanochat.model.attention import Kernel
from nanochat.model.gpt import GPT

GREEDY = Sampling(temperature=0)


def some_tokens(count: int, seed: int = 0) -> list[int]:
    return torch.randint(0, VOCAB, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def watch_reads(decoder: Decoder) -> list[list[int]]:
    """Of each read from now on, how many tokens of each prompt."""
    reads: list[list[int]] = []
    read = decoder.read

    def watched(parts: Sequence[PromptPart]) -> torch.Tensor:
        reads.append([len(part.tokens) for part in parts])
        return read(parts)

    decoder.read = watched  # type: ignore[method-assign]
    return reads


def run(scheduler: Scheduler) -> dict[int, list[int]]:
    """Every request's tokens, to the end."""
    tokens: dict[int, list[int]] = {}
    while scheduler.busy:
        for new in scheduler.step():
            tokens.setdefault(new.request, []).append(new.token)
    return tokens


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("parts", [MODERN, CLASSIC])
def test_prompts_in_pieces_together_give_the_logits_of_each_whole(
    way: Callable[[GPT], Decoder], parts: ArchitectureFlags
) -> None:
    """Each goes on from its own position, with its own window and its own last embedding."""
    model = random_model(1, parts, sequence_len=16, window_pattern="SSL")
    decoder = way(model)
    prompts = [some_tokens(count, count) for count in (1, 70, 33, 9)]
    caches = [decoder.prompt_cache(len(prompt)) for prompt in prompts]
    for cut in (0, 1, 32, 40, 70):
        group = [
            PromptPart(cache, prompt[cache.length : max(cut, cache.length)])
            for prompt, cache in zip(prompts, caches, strict=True)
        ]
        group = [part for part in group if part.tokens]
        if not group:
            continue
        logits = decoder.read(group)
        for part, row in zip(group, logits, strict=True):
            prompt = prompts[caches.index(part.cache)][: part.cache.length]
            with torch.no_grad():
                torch.testing.assert_close(row, model(torch.tensor([prompt]))[0, -1], atol=2e-4, rtol=0)
    assert [cache.length for cache in caches] == [len(prompt) for prompt in prompts]


@pytest.mark.parametrize("parts", [MODERN, CLASSIC])
@pytest.mark.parametrize(("heads", "kv_heads", "width"), [(2, 1, 80), (2, 2, 64), (3, 3, 24), (4, 2, 256)])
def test_the_kernel_reads_what_torch_reads(
    parts: ArchitectureFlags, heads: int, kv_heads: int, width: int
) -> None:
    """Logits, hidden states, keys, values; heads wider and narrower than a panel, more tokens than a pass."""
    model = random_model(
        2, parts, n_head=heads, n_kv_head=kv_heads, n_embd=width, sequence_len=200, window_pattern="SL"
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_((32 / width) ** 0.5)  # as loud as in a narrow model
    prompts = [some_tokens(count, count) for count in (300, 1, 64)]
    found = []
    for way in (by_kernel, by_torch):
        decoder = way(model)
        caches = [decoder.prompt_cache(len(prompt)) for prompt in prompts]
        hidden: list[torch.Tensor] = []
        wanted = [PromptPart(c, p, hidden.append) for c, p in zip(caches, prompts, strict=True)]
        logits = decoder.read(wanted)
        keys = [torch.cat([k[0] for k in cache.keys]) for cache in caches]
        if decoder.reads_interleaved:
            keys = [deinterleave(k) for k in keys]
        values = [torch.cat([v[0] for v in cache.values]) for cache in caches]
        found.append((logits, torch.cat(hidden), *keys, *values))
    assert by_kernel(model).reads_interleaved and not by_torch(model).reads_interleaved
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-4)


def test_nothing_is_compiled_for_the_length_of_a_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    def compiled(*_: object) -> torch.Tensor:
        raise AssertionError("FlexAttention")

    monkeypatch.setattr("nanochat.model.attention_flex.flex_window", compiled)
    model = random_model(8, sequence_len=8, window_pattern="S")
    model.use_attention(Kernel("flex"))
    with pytest.raises(AssertionError, match="FlexAttention"), torch.no_grad():
        model(torch.tensor([some_tokens(20)]))
    decoder = by_torch(model)
    _, logits = decoder.prefill(some_tokens(20))
    model.use_attention(Kernel())
    with torch.no_grad():
        torch.testing.assert_close(
            logits[0], model(torch.tensor([some_tokens(20)]))[0, -1], atol=2e-4, rtol=0
        )


def test_parts_fill_passes_in_order() -> None:
    decoder = by_torch(random_model())
    parts = [PromptPart(decoder.prompt_cache(9), list(range(count))) for count in (3, 9, 1)]
    cut = [
        [(parts.index(next(p for p in parts if p.cache is one.cache)), one.tokens) for one in group]
        for group in passes(parts, 5)
    ]
    assert cut == [[(0, [0, 1, 2]), (1, [0, 1])], [(1, [2, 3, 4, 5, 6])], [(1, [7, 8]), (2, [0])]]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("parts", [MODERN, CLASSIC])
def test_prompts_that_come_together_are_read_together(
    way: Callable[[GPT], Decoder], parts: ArchitectureFlags
) -> None:
    model = random_model(3, parts)
    decoder = way(model)
    reads = watch_reads(decoder)
    scheduler = Scheduler(decoder, max_rows=8, prefill_tokens=25, prefix_cache=PrefixCache(1 << 20))
    prompts = [some_tokens(count, count) for count in (10, 12, 9, 3)]
    for prompt in prompts:
        scheduler.submit(Request(prompt, 12, GREEDY))
    first = scheduler.step()
    assert reads == [[10, 12, 3]]  # a piece of the third
    assert [new.request for new in first] == [0, 1]
    tokens = run(scheduler)
    assert reads == [[10, 12, 3], [6, 3]]
    for number, prompt in enumerate(prompts):
        check_greedy(model, prompt, [new.token for new in first if new.request == number] + tokens[number])


def test_as_many_prompts_are_read_as_find_a_row() -> None:
    decoder = by_kernel(random_model(4))
    reads = watch_reads(decoder)
    scheduler = Scheduler(decoder, max_rows=3)
    for samples in (1, 4, 1):
        scheduler.submit(Request([1, 2, 3], 2, GREEDY, samples))
    scheduler.step()
    assert (reads, scheduler.running, scheduler.waiting) == ([[3, 3]], 3, 3)
    run(scheduler)
    assert reads == [[3, 3], [3]]


def test_a_prompt_waits_for_the_one_that_it_begins_like() -> None:
    """And finds its keys and values in the prefix cache, in the same step."""
    decoder = by_kernel(random_model(5))
    reads = watch_reads(decoder)
    scheduler = Scheduler(decoder, max_rows=8, prefix_cache=PrefixCache(1 << 20))
    system = some_tokens(2 * MIN_REUSED)
    for tail in ([1, 1], [2], [3, 3, 3]):
        scheduler.submit(Request([*system, *tail], 4, GREEDY))
    scheduler.submit(Request([*system[:2], 7, 7], 4, GREEDY))
    scheduler.step()
    assert reads == [[len(system) + 2], [1, 3, 4]]
    assert [started.cached_tokens for started in scheduler.take_started()] == [0, *2 * [len(system)], 0]


@pytest.mark.parametrize("way", WAYS)
def test_a_prompt_half_read_begins_anew_with_new_weights(way: Callable[[GPT], Decoder]) -> None:
    model = random_model(6)
    decoder = way(model)
    scheduler = Scheduler(decoder, max_rows=4, prefill_tokens=8, prefix_cache=PrefixCache(1 << 20))
    running = scheduler.submit(Request([1, 2], 40, GREEDY))
    scheduler.step()
    prompts = {scheduler.submit(Request(some_tokens(count, count), 6, GREEDY)): count for count in (20, 5)}
    scheduler.step()
    scheduler.step()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    decoder.refresh()  # as another batch of this engine does
    tokens = run(scheduler)
    assert len(tokens[running]) == 40 - 3
    for number, count in prompts.items():
        check_greedy(model, some_tokens(count, count), tokens[number])


def test_one_sample_can_leave_at_any_time() -> None:
    """Running, waiting for a row, or before the prompt is read; the others go on."""
    model = random_model(7)
    scheduler = Scheduler(by_kernel(model), max_rows=2)
    first = scheduler.submit(Request([1, 2], 5, GREEDY, samples=4))
    second = scheduler.submit(Request([3], 5, GREEDY, samples=2))
    scheduler.cancel(second, 0)
    scheduler.step()
    scheduler.cancel(first, 1)
    scheduler.cancel(first, 3)
    scheduler.cancel(first, 9)
    assert (scheduler.running, scheduler.waiting) == (1, 2)
    ended = []
    while scheduler.busy:
        ended += [(new.request, new.sample) for new in scheduler.step() if new.finish_reason is not None]
    assert sorted(ended) == [(first, 0), (first, 2), (second, 1)]
    scheduler.cancel(first, 0)
    third = scheduler.submit(Request([3], 5, GREEDY, samples=2))
    scheduler.cancel(third, 0)
    scheduler.cancel(third, 1)
    assert not scheduler.busy
