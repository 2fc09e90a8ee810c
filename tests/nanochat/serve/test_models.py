"""Models under their names: loaded when asked for, replaced by what is newer on disk, unloaded for room."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import torch
from chat_models import CONTEXT, save_model

from nanochat.checkpoint.files import META, MODEL, Checkpoint
from nanochat.checkpoint.in_use import users
from nanochat.checkpoint.names import newest_name
from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from nanochat.infer.engine import generate_batch
from nanochat.infer.sampling import Sampling
from nanochat.infer.scheduler import Request
from nanochat.serve import models
from nanochat.serve.loaded import LoadedModel, ModelCard
from nanochat.serve.loading import Capacity, CheckpointLoader
from nanochat.serve.models import ModelRegistry, ModelUnavailable, ServedName, UnknownModel
from nanochat.serve.worker import Busy, ModelFailure

ROOM = 1 << 34
PROMPT = [1, 2, 3, 4]


class WatchedLoader(CheckpointLoader):
    """Counts what it loads; may be held up, and told what a model takes."""

    def __init__(self, layout: Layout, replicas: int = 1, bytes_each: int = 0) -> None:
        devices = [torch.device("cpu")] * replicas
        super().__init__(layout, devices, torch.float32, Capacity(2, 2, 1 << 20))
        self.loads: list[str] = []
        self.bytes_each = bytes_each
        self.gate = threading.Event()
        self.gate.set()

    def bytes_needed(self, checkpoint: Checkpoint) -> int:
        return self.bytes_each or super().bytes_needed(checkpoint)

    def load(self, card: ModelCard, checkpoint: Checkpoint) -> LoadedModel:
        self.loads.append(str(card.name))
        assert self.gate.wait(30)
        return super().load(card, checkpoint)


@asynccontextmanager
async def registry_of(
    layout: Layout,
    *names: str,
    room: int = ROOM,
    bytes_each: int = 0,
    replicas: int = 1,
    serves_all: bool = False,
) -> AsyncIterator[tuple[ModelRegistry, WatchedLoader]]:
    loader = WatchedLoader(layout, replicas, bytes_each)
    served = [ServedName.parse(name) for name in names]
    registry = ModelRegistry(layout, served, loader, room, serves_all)
    try:
        yield registry, loader
    finally:
        assert await registry.close()


async def answer(loaded: LoadedModel, prompt: Sequence[int] = PROMPT) -> list[int]:
    request = Request(prompt, 6, sampling=Sampling(temperature=0))
    return [new.token async for batch in loaded.worker().submit(request) for new in batch]


async def ask(registry: ModelRegistry, model: str) -> tuple[str, list[int]]:
    async with registry.use(model) as loaded:
        return str(loaded.card.name), await answer(loaded)


def ids(registry: ModelRegistry) -> list[str]:
    return [card.id for card in registry.cards()]


@pytest.mark.slow
async def test_a_model_is_loaded_when_it_is_first_asked_for(chat_base: Layout) -> None:
    async with registry_of(chat_base, "sft/d2", "mine=base/d2@3") as (registry, loader):
        assert ids(registry) == ["sft/d2", "mine"] and not loader.loads
        cards = registry.cards()
        assert [card.kind for card in cards] == ["chat", "base"]
        assert cards[0].context == CONTEXT and str(cards[0].name) == "sft/d2@8"
        first, second = await asyncio.gather(ask(registry, ""), ask(registry, "sft/d2"))
        assert first == second and first[0] == "sft/d2@8"
        assert loader.loads == ["sft/d2@8"]
        assert (await ask(registry, "mine"))[0] == "base/d2@3"


async def test_a_step_of_a_tag_that_is_served_may_be_asked_for(chat_base: Layout) -> None:
    async with registry_of(chat_base, "sft/d2") as (registry, _):
        assert (await ask(registry, "sft/d2@5"))[0] == "sft/d2@5"
        assert ids(registry) == ["sft/d2"]
        with pytest.raises(UnknownModel, match="no checkpoint of step 6"):
            await ask(registry, "sft/d2@6")
    async with registry_of(chat_base, "sft/d2@5") as (registry, _):
        with pytest.raises(
            UnknownModel, match=r"no model 'sft/d2@8' is served here \(did you mean 'sft/d2@5'"
        ):
            await ask(registry, "sft/d2@8")


@pytest.mark.slow
async def test_every_checkpoint_of_the_base_directory_may_be_served(chat_base: Layout) -> None:
    async with registry_of(chat_base, serves_all=True) as (registry, loader):
        assert ids(registry) == ["base/d2", "sft/classic", "sft/d2"] and not loader.loads
        assert (await ask(registry, "sft/d2@5"))[0] == "sft/d2@5"
        assert registry.card("").id in ("sft/classic", "sft/d2")
        save_model(chat_base.base, "rl", "new", seed=9)
        assert (await ask(registry, "rl/new"))[0] == "rl/new@5"
        assert ids(registry) == ["base/d2", "sft/classic", "sft/d2", "rl/new"]
        with pytest.raises(UnknownModel, match=r"no checkpoint 'sft/d3'.*did you mean 'sft/d2'"):
            registry.card("sft/d3")


async def test_where_no_checkpoint_is_none_is_served_until_one_is_saved(layout: Layout) -> None:
    async with registry_of(layout, serves_all=True) as (registry, _):
        assert ids(registry) == []
        with pytest.raises(UnknownModel, match="no checkpoints"):
            registry.card("")
        save_model(layout.base, "sft", "d2")
        assert (await ask(registry, ""))[0] == "sft/d2@5" and ids(registry) == ["sft/d2"]


@pytest.mark.slow
async def test_ids_of_one_checkpoint_share_one_model_and_each_tells_its_own_name(chat_base: Layout) -> None:
    async with registry_of(chat_base, "sft/d2", "mine=sft/d2@8") as (registry, loader):
        first = await asyncio.gather(*(ask(registry, model) for model in ("sft/d2", "sft/d2@8", "mine")))
        assert first[0] == first[1] == first[2] and loader.loads == ["sft/d2@8"]
        assert len(registry.loaded()) == 1
        for model in ("sft/d2", "sft/d2@8", "mine"):
            async with registry.use(model) as loaded:
                assert loaded.card.id == registry.card(model).id == model
                await registry.unload_idle(0)
                assert len(registry.loaded()) == 1  # in use, under whichever name
        save_model(chat_base.base, step=9, seed=50)
        assert (await ask(registry, "sft/d2"))[0] == "sft/d2@9"
        assert await ask(registry, "mine") == first[0]
        assert loader.loads == ["sft/d2@8", "sft/d2@9"]
        await registry.unload_idle(0)
        assert registry.loaded() == []


@pytest.mark.parametrize(
    "model", ["gpt-4o", "sft/d3", "../../etc/passwd", "x" * 100_000, "sft/d2@", "\x1b[31m"]
)
async def test_an_unknown_model_is_told_in_one_line(chat_base: Layout, model: str) -> None:
    async with registry_of(chat_base, "sft/d2") as (registry, _):
        with pytest.raises(UnknownModel) as error:
            registry.card(model)
        assert len(str(error.value)) < 500 and "sft/d2" in str(error.value) and "\x1b" not in str(error.value)


@pytest.mark.slow
async def test_a_newer_step_and_a_replaced_checkpoint_are_noticed(chat_base: Layout) -> None:
    async with registry_of(chat_base, "sft/d2", "sft/d2@5") as (registry, loader):
        old, pinned = await ask(registry, "sft/d2"), await ask(registry, "sft/d2@5")
        new = save_model(chat_base.base, step=9, seed=50)
        name, tokens = await ask(registry, "sft/d2")
        assert name == "sft/d2@9" and tokens != old[1]
        assert await ask(registry, "sft/d2@5") == pinned
        assert loader.loads == ["sft/d2@8", "sft/d2@5", "sft/d2@9"]
        save_model(chat_base.base, step=5, seed=60)
        assert registry.card("sft/d2@5").name.step == 5
        assert (await ask(registry, "sft/d2@5"))[1] != pinned[1]
        # Figures that are added to the metadata later are no other weights.
        (chat_base.checkpoints("sft") / "d2" / "step_000009" / META).touch()
        before = len(loader.loads)
        assert (await ask(registry, "sft/d2@9"))[1] == tokens
        assert (await ask(registry, "sft/d2@9"))[1] == tokens
        assert len(loader.loads) == before  # the one that sft/d2 has
        assert new.step == 9


@pytest.mark.slow
async def test_an_answer_that_runs_is_finished_by_the_model_that_began_it(chat_base: Layout) -> None:
    async with registry_of(chat_base, "sft/d2") as (registry, _):
        async with registry.use("sft/d2") as loaded:
            before = await answer(loaded)
            save_model(chat_base.base, step=9, seed=50)
            assert (await ask(registry, "sft/d2"))[0] == "sft/d2@9"
            assert await answer(loaded) == before
            assert len(registry.loaded()) == 2
        assert len(registry.loaded()) == 1
        assert loaded.broken  # its last user has left, so it was unloaded


def model_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("model-")]


@pytest.mark.slow
async def test_the_one_used_longest_ago_makes_room(chat_base: Layout) -> None:
    others = set(threading.enumerate())
    names = ("base/d2", "sft/d2", "sft/classic")
    async with registry_of(chat_base, *names, room=25, bytes_each=10) as (registry, loader):
        for name in names:
            await ask(registry, name)
        assert [model.card.id for model in registry.loaded()] == ["sft/d2", "sft/classic"]
        await ask(registry, "sft/d2")
        await ask(registry, "base/d2")
        assert [model.card.id for model in registry.loaded()] == ["base/d2", "sft/d2"]
        assert loader.loads == ["base/d2@3", "sft/d2@8", "sft/classic@4", "base/d2@3"]
    assert not [thread for thread in model_threads() if thread not in others]


@pytest.mark.slow
async def test_a_model_in_use_is_waited_for_and_never_unloaded(
    chat_base: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with registry_of(chat_base, "base/d2", "sft/d2", room=15, bytes_each=10) as (registry, _):
        async with registry.use("base/d2") as loaded:
            waiting = asyncio.create_task(ask(registry, "sft/d2"))
            await asyncio.sleep(0.05)
            assert not waiting.done() and await answer(loaded)
        assert (await waiting)[0] == "sft/d2@8"
        monkeypatch.setattr(models, "ROOM_SECONDS", 0.05)
        async with registry.use("sft/d2"):
            with pytest.raises(Busy):
                await ask(registry, "base/d2")
            save_model(chat_base.base, step=9, seed=50)  # no room for both: the old one goes on
            assert (await ask(registry, "sft/d2"))[0] == "sft/d2@8"
        assert (await ask(registry, "sft/d2"))[0] == "sft/d2@9"


@pytest.mark.slow
async def test_a_model_that_nobody_asks_is_unloaded_until_it_is_asked_again(chat_base: Layout) -> None:
    async with registry_of(chat_base, "base/d2", "sft/d2") as (registry, loader):
        first = await ask(registry, "base/d2")
        async with registry.use("sft/d2"):
            await registry.unload_idle(60)
            assert len(registry.loaded()) == 2
            base, sft = (chat_base.checkpoints(name) / "d2" for name in ("base", "sft"))
            assert users(base / "step_000003") and users(sft / "step_000008")  # nobody deletes them
            await registry.unload_idle(0)
            assert [model.card.id for model in registry.loaded()] == ["sft/d2"]
            assert not users(base / "step_000003") and users(sft / "step_000008")
        assert registry.began
        assert await ask(registry, "base/d2") == first
        assert loader.loads == ["base/d2@3", "sft/d2@8", "base/d2@3"]


async def test_one_that_is_larger_than_the_room_is_refused(chat_base: Layout) -> None:
    async with registry_of(chat_base, "sft/d2", room=1000) as (registry, loader):
        with pytest.raises(ModelUnavailable, match=r"sft/d2@8 takes .*raise --max-memory"):
            await ask(registry, "sft/d2")
        assert not loader.loads


async def test_a_damaged_checkpoint_is_told_and_not_read_again_for_every_request(chat_base: Layout) -> None:
    weights = chat_base.checkpoints("sft") / "d2" / "step_000008" / MODEL
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)
    async with registry_of(chat_base, "sft/d2") as (registry, loader):
        for _ in range(3):
            with pytest.raises(ModelUnavailable, match="is damaged: its checksum differs"):
                await ask(registry, "sft/d2")
        assert len(loader.loads) == 1
        save_model(chat_base.base, step=9, seed=50)
        assert (await ask(registry, "sft/d2"))[0] == "sft/d2@9"


async def test_a_damaged_replacement_leaves_the_old_one_answering(
    chat_base: Layout, caplog: pytest.LogCaptureFixture
) -> None:
    async with registry_of(chat_base, "sft/d2") as (registry, loader):
        before = await ask(registry, "sft/d2")
        new = save_model(chat_base.base, step=9, seed=50)
        (new.path / MODEL).write_bytes(b"not weights")
        assert await ask(registry, "sft/d2") == before
        assert await ask(registry, "sft/d2") == before
        assert len(loader.loads) == 2
        assert "still answering with sft/d2@8" in caplog.text


async def test_a_model_answers_on_when_its_checkpoint_is_deleted(chat_base: Layout) -> None:
    async with registry_of(chat_base, "base/d2") as (registry, loader):
        before = await ask(registry, "base/d2")
        folder = chat_base.checkpoints("base") / "d2" / "step_000003"
        folder.rename(chat_base.base / "away")
        assert await ask(registry, "base/d2") == before
        assert await ask(registry, "base/d2") == before
        (chat_base.base / "away").rename(folder)
        assert await ask(registry, "base/d2") == before
        assert loader.loads == ["base/d2@3"]


async def test_a_checkpoint_that_is_gone_is_told(chat_base: Layout) -> None:
    async with registry_of(chat_base, "base/d2") as (registry, _):
        (chat_base.checkpoints("base") / "d2" / "step_000003").rename(chat_base.base / "away")
        assert registry.cards() == []
        with pytest.raises(ModelUnavailable, match="no complete checkpoint"):
            await ask(registry, "base/d2")


async def test_metadata_without_a_configuration_is_told(chat_base: Layout) -> None:
    path = chat_base.checkpoints("base") / "d2" / "step_000003" / META
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_config": {}}))
    async with registry_of(chat_base, "base/d2") as (registry, _):
        with pytest.raises(UserError, match="does not say how long its context is"):
            await ask(registry, "base/d2")


async def test_a_client_that_leaves_while_it_loads_costs_others_nothing(chat_base: Layout) -> None:
    async with registry_of(chat_base, "sft/d2") as (registry, loader):
        loader.gate.clear()
        leaving = asyncio.create_task(ask(registry, "sft/d2"))
        staying = asyncio.create_task(ask(registry, "sft/d2"))
        while not loader.loads:
            await asyncio.sleep(0.002)
        leaving.cancel()
        loader.gate.set()
        assert (await staying)[0] == "sft/d2@8"
        assert len(loader.loads) == 1
        assert leaving.cancelled()


async def test_the_least_busy_copy_answers_and_each_alike(chat_base: Layout) -> None:
    async with (
        registry_of(chat_base, "sft/d2", replicas=2) as (registry, _),
        registry.use("sft/d2") as loaded,
    ):
        long = Request(PROMPT, 200, sampling=Sampling(temperature=0))
        generations = [loaded.worker().submit(long) for _ in range(4)]
        assert [one.replica for one in generations] == [0, 1, 0, 1]
        found = [[new.token async for batch in one for new in batch] for one in generations]
        assert found[0] == found[1] == found[2] == found[3]


async def test_the_lens_ends_in_what_the_model_says(chat_base: Layout) -> None:
    async with registry_of(chat_base, "sft/d2") as (registry, _), registry.use("sft/d2") as loaded:
        places = await loaded.lens(PROMPT, 3, range(len(PROMPT)))
        tokens = await answer(loaded)
        assert len(places) == len(PROMPT) and len(places[0]) == loaded.layers == 2
        assert places[-1][-1][0][0] == tokens[0]


@pytest.mark.parametrize("era", ["modern", "classic"])
async def test_upstreams_checkpoints_answer_as_they_must(shared_reference: Path, era: str) -> None:
    base = shared_reference / "checkpoints" / era
    layout = Layout(base)
    async with registry_of(layout, str(newest_name(layout))) as (registry, _), registry.use("") as loaded:
        for case in json.loads((base / "expected.json").read_text(encoding="utf-8"))["cases"]:
            wanted = case["greedy_ids"]
            request = Request(case["ids"], len(wanted), sampling=Sampling(temperature=0))
            tokens = [new.token async for batch in loaded.worker().submit(request) for new in batch]
            assert tokens == wanted


async def test_closing_ends_what_runs_and_what_comes(chat_base: Layout) -> None:
    async with registry_of(chat_base, "sft/d2") as (registry, _):
        async with registry.use("sft/d2") as loaded:
            generation = loaded.worker().submit(Request(PROMPT, 200))
            await anext(generation)
            assert await registry.close("the server ends")
            with pytest.raises(ModelFailure, match="the server ends"):
                while True:
                    await anext(generation)
        with pytest.raises(ModelUnavailable, match="the server ends"):
            await ask(registry, "sft/d2")


@pytest.mark.parametrize("text", ["=sft/d2", "a\nb=sft/d2", "d2", "x=d2"])
def test_what_names_no_model_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        ServedName.parse(text)


def test_two_models_of_one_name_are_refused(chat_base: Layout) -> None:
    served = [ServedName.parse("a=sft/d2"), ServedName.parse("a=base/d2")]
    with pytest.raises(UserError, match="two models would be called 'a'"):
        ModelRegistry(chat_base, served, WatchedLoader(chat_base), ROOM)


@pytest.mark.slow
async def test_what_is_served_is_what_the_checkpoint_computes(chat_base: Layout) -> None:
    from nanochat.checkpoint.weights import open_model

    for name in ("base/d2", "sft/classic"):
        source, tag = name.split("/")
        model = open_model(chat_base, source, tag=tag).model
        async with registry_of(chat_base, name) as (registry, _):
            assert (await ask(registry, name))[1] == generate_batch(
                model, PROMPT, max_tokens=6, temperature=0
            )[0]
