"""Property: whatever else joins, leaves or is forgotten meanwhile, a greedy answer is the full pass's."""

import asyncio
import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import psutil
import pytest
import torch
from chat_models import CLASSIC_CONFIG, CONTEXT, MODERN_CONFIG, save_model
from hypothesis import given, settings
from hypothesis import strategies as st
from training_data import byte_tokenizer
from upstream_files import random_model

from nanochat.common.paths import Layout
from nanochat.infer.sampling import Sampling
from nanochat.infer.scheduler import Request
from nanochat.model.gpt import GPT
from nanochat.serve.loading import Capacity, CheckpointLoader
from nanochat.serve.models import ModelRegistry, ServedName

CONFIGS = {"base/modern": MODERN_CONFIG, "base/classic": CLASSIC_CONFIG}
SEED = 9
BEGINNINGS = [[(7 * i * i + 11 * i + k) % 256 for i in range(200)] for k in range(3)]
"""Prompts share their beginnings with others, as turns of conversations do."""


@dataclass(frozen=True)
class Ask:
    """One client: what it asks, when it comes, and after how many batches it leaves (0: it stays)."""

    model: str
    prompt: tuple[int, ...]
    tokens: int
    arrives_after: int
    leaves_after: int


@st.composite
def asks(draw: st.DrawFn) -> Ask:
    beginning = draw(st.sampled_from(BEGINNINGS))[: draw(st.integers(1, 200))]
    own = draw(st.lists(st.integers(0, 255), max_size=3))
    return Ask(
        draw(st.sampled_from(sorted(CONFIGS))),
        (*beginning, *own),
        draw(st.integers(1, 12)),
        draw(st.integers(0, 6)),
        draw(st.sampled_from([0, 0, 0, 1, 3])),
    )


@cache
def full_pass(model: str, prompt: tuple[int, ...], tokens: int) -> list[int]:
    """The likeliest token after the whole text read anew, again and again."""
    net, ids = _model(model), list(prompt)
    with torch.inference_mode():
        for _ in range(tokens):
            ids.append(int(net.logits(net.hidden(torch.tensor([ids]))[0, -1]).argmax()))
    return ids[len(prompt) :]


@cache
def _model(name: str) -> GPT:
    return random_model(CONFIGS[name], SEED).eval()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[asyncio.Runner, ModelRegistry]]:
    """Both eras in 2 rows each, with a prefix cache of some 60 tokens, less than one prompt may have."""
    base = tmp_path_factory.mktemp("served")
    byte_tokenizer().save(base / "tokenizer")
    for name, config in CONFIGS.items():
        save_model(base, "base", name.split("/")[1], config=config, seed=SEED)
    kept = 60 * 2 * MODERN_CONFIG.n_layer * MODERN_CONFIG.kv_dim * 4
    registry = registry_of(Layout(base), Capacity(2, 100, kept), list(CONFIGS), 1 << 34)
    with asyncio.Runner() as runner:
        yield runner, registry
        assert runner.run(registry.close())


def registry_of(layout: Layout, capacity: Capacity, names: Sequence[str], room: int) -> ModelRegistry:
    loader = CheckpointLoader(layout, [torch.device("cpu")], torch.float32, capacity)
    return ModelRegistry(layout, [ServedName.parse(name) for name in names], loader, room)


async def ask(registry: ModelRegistry, one: Ask) -> list[int]:
    for _ in range(one.arrives_after):
        await asyncio.sleep(0.001)
    request = Request(one.prompt, one.tokens, sampling=Sampling(temperature=0))
    got: list[int] = []
    async with registry.use(one.model) as loaded:
        generation = loaded.worker().submit(request)
        batches = 0
        async for batch in generation:
            got += [new.token for new in batch]
            batches += 1
            if batches == one.leaves_after:
                generation.cancel()
    return got


@pytest.mark.slow
@settings(max_examples=60)
@given(clients=st.lists(asks(), min_size=1, max_size=10))
def test_a_greedy_answer_is_the_full_passs(
    served: tuple[asyncio.Runner, ModelRegistry], clients: list[Ask]
) -> None:
    runner, registry = served

    async def all_at_once() -> list[list[int]]:
        return await asyncio.gather(*(ask(registry, one) for one in clients))

    for one, got in zip(clients, runner.run(all_at_once()), strict=True):
        wanted = full_pass(one.model, one.prompt, one.tokens)
        assert got == (wanted[: len(got)] if one.leaves_after else wanted)
    runner.run(all_rows_free(registry))


async def all_rows_free(registry: ModelRegistry) -> None:
    """Waits until the rows of clients that left are free, which they are within one step."""
    async with asyncio.timeout(10):
        while any(worker.load for model in registry.loaded() for worker in model.workers):
            await asyncio.sleep(0.001)


def test_the_prefix_cache_was_hit_and_overflowed(served: tuple[asyncio.Runner, ModelRegistry]) -> None:
    runner, registry = served
    clients = [
        Ask(model, tuple(BEGINNINGS[k][:50]), 2, 0, 0) for model in CONFIGS for k in (0, 0, 1, 2, 0, 0)
    ]

    async def one_by_one() -> None:
        for one in clients:
            assert await ask(registry, one) == full_pass(one.model, one.prompt, one.tokens)

    runner.run(one_by_one())
    for model in registry.loaded():
        [cache_of_model] = model.prefix_caches
        assert cache_of_model.hits > 0 and cache_of_model.misses > 0
        assert cache_of_model.bytes <= cache_of_model.max_bytes


@pytest.mark.slow
async def test_unloading_gives_the_memory_back(tmp_path: Path) -> None:
    config = replace(MODERN_CONFIG, n_embd=192, n_layer=4, n_head=4, n_kv_head=4)
    byte_tokenizer().save(tmp_path / "tokenizer")
    names = ("base/a", "base/b")
    for seed, name in enumerate(names):
        save_model(tmp_path, "base", name[-1], config=config, seed=seed)
    registry = registry_of(Layout(tmp_path), Capacity(2, 2, 1 << 22), names, 1)
    needed = registry._loader.bytes_needed(registry._find(registry._entry(names[0])))
    registry.max_bytes = int(1.5 * needed)  # room for one
    sizes = []
    for turn in range(6):
        await ask(registry, Ask(names[turn % 2], tuple(range(CONTEXT - 20)), 4, 0, 0))
        gc.collect()
        sizes.append(psutil.Process().memory_info().rss)
        assert [model.card.id for model in registry.loaded()] == [names[turn % 2]]
    await registry.close()
    assert sizes[-1] - sizes[2] < needed
