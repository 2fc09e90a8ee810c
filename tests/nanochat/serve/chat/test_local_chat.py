"""A chat with the checkpoints of this machine: the same tokens as the engine's, less read with every turn."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from chat_models import save_model

from nanochat.checkpoint.files import MODEL
from nanochat.checkpoint.names import parse_name
from nanochat.checkpoint.weights import open_model
from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from nanochat.infer.engine import Engine
from nanochat.infer.sampling import Sampling
from nanochat.infer.scheduler import Request
from nanochat.infer.text_stream import TextStream
from nanochat.infer.token_table import token_table
from nanochat.serve.chat import Chat
from nanochat.serve.client import ChatClient
from nanochat.serve.conversation import AnswerSettings, Conversation, Part, join_parts
from nanochat.serve.local import LocalModels, choose, open_local_models
from nanochat.tools.calculator import Calculator

ROOT = Path(__file__).resolve().parents[4]


@asynccontextmanager
async def local_chat(layout: Layout, name: str, **settings: float) -> AsyncIterator[tuple[Chat, LocalModels]]:
    async with open_local_models(layout, parse_name(name), "cpu", "float32") as models:
        model = await models.open("")
        chat = Chat(models.client, model, AnswerSettings(**settings), Conversation.new())  # type: ignore[arg-type]
        yield chat, models


def engine_answer(layout: Layout, name: str, messages: list[dict[str, Any]], seed: int) -> tuple[Part, ...]:
    """What the engine says, asked without the server and its worker."""
    parsed = parse_name(name)
    opened = open_model(layout, parsed.source, tag=parsed.tag, step=parsed.step or -1)
    tokenizer = opened.tokenizer
    request = Request(
        tokenizer.render_for_completion(messages),
        max_tokens=40,
        sampling=Sampling(temperature=0.6, top_k=50, seed=seed),
        stop=tokenizer.answer_ends,
        calculator=Calculator(tokenizer),
    )
    scheduler = Engine(opened.model).scheduler(max_rows=1)
    scheduler.submit(request)
    stream = TextStream(token_table(tokenizer))
    while scheduler.busy:
        for new in scheduler.step():
            stream.add(new)
    delta = stream.take()
    parts, done = [], 0
    for call in delta.calls:
        parts += [Part("text", delta.text[done : call.offset]), Part("python", call.expression)]
        parts += [Part("python_output", call.output)] if call.output is not None else []
        done = call.offset
    return join_parts([*parts, Part("text", delta.text[done:])])


@pytest.mark.parametrize("name", ["sft/d2@5", "sft/classic@4"])
async def test_the_same_seed_gives_the_engines_tokens_in_every_turn(chat_base: Layout, name: str) -> None:
    async with local_chat(chat_base, name, seed=7, max_tokens=40) as (chat, _):
        for question in ("a question of more than sixteen tokens", "and then?"):
            messages = chat.conversation.messages(question)
            answer = await chat.ask(question)
            assert answer.turn.answer == engine_answer(chat_base, name, messages, 7)
        assert answer.model == name
        assert answer.finish is not None and answer.finish.cached_tokens  # not read again
        assert answer.finish.prompt_tokens is not None
        counted = await chat.count_tokens()
        assert counted is not None and counted[1] == chat.model.context


async def test_a_prompt_beyond_the_context_says_by_how_much(chat_base: Layout) -> None:
    async with local_chat(chat_base, "sft/d2@5", max_tokens=40) as (chat, _):
        with pytest.raises(UserError, match=r"304 tokens, 49 too many for the model's context of 256"):
            await chat.ask("x" * 300)
        answer = await chat.ask("x" * 240)
        assert answer.room is not None and 1 <= answer.room < 16
        assert len(chat.conversation.turns) == 1


@pytest.mark.slow
async def test_a_chat_follows_what_is_saved_and_says_so(chat_base: Layout) -> None:
    async with local_chat(chat_base, "sft/d2", seed=1, max_tokens=8) as (chat, models):
        assert (await chat.ask("a")).model == "sft/d2@8"
        save_model(chat_base.base, "sft", step=11, seed=9)
        assert (await chat.ask("b")).model == "sft/d2@11"
        chat.use(await models.open("sft/classic"))
        assert (await chat.ask("c")).model == "sft/classic@4"
        assert len(models.registry.loaded()) == 1  # one at a time


async def test_models_that_cannot_be_opened_are_one_line(chat_base: Layout) -> None:
    async with local_chat(chat_base, "sft/d2@8") as (chat, models):
        assert models.known() == ["sft/classic", "sft/d2"]
        with pytest.raises(UserError, match="base/d2@3 is a base model"):
            await models.open("base/d2")
        with pytest.raises(UserError, match="sft/d2"):
            await models.open("sft/d3")
        with pytest.raises(UserError, match="is not a checkpoint's name"):
            await models.open("d2")
        assert chat.model.id == "sft/d2@8"


def test_options_choose_as_upstreams_do(chat_base: Layout) -> None:
    assert str(choose(chat_base, "sft", "", -1)) == "sft/d2"  # the deepest
    assert str(choose(chat_base, "sft", "d2", 5)) == "sft/d2@5"
    with pytest.raises(UserError, match="train first: nanochat chat_rl"):
        choose(chat_base, "rl", "", -1)


async def test_a_damaged_checkpoint_is_one_line(chat_base: Layout) -> None:
    weights = next((chat_base.checkpoints("sft") / "d2").glob(f"step_000005*/{MODEL}"))
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match="is damaged") as caught:
        async with local_chat(chat_base, "sft/d2@5"):
            pass
    assert "\n" not in str(caught.value)


@pytest.mark.slow
async def test_a_server_says_the_same_in_every_turn(chat_base: Layout) -> None:
    words = "chat_web --port 0 --json --device-type cpu --dtype float32 --model sft/classic@4 --base-dir"
    server = subprocess.Popen(
        [sys.executable, "-m", "nanochat", *words.split(), str(chat_base.base)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NANOCHAT_API_KEY": "right"},
    )
    try:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["url"]
        async with ChatClient(url, "wrong") as client:
            with pytest.raises(UserError, match=r"401.*--api-key or NANOCHAT_API_KEY"):
                await client.model()
        async with ChatClient(url, "right") as client, local_chat(chat_base, "sft/classic@4") as (local, _):
            settings = AnswerSettings(seed=3, max_tokens=40)
            remote = Chat(client, await client.model(), settings, Conversation.new("Be brief."))
            local.settings, local.conversation = settings, Conversation.new("Be brief.")
            for question in ("hello there, how are you?", "and then?"):
                here, there = await local.ask(question), await remote.ask(question)
                assert here.turn == there.turn
            assert there.model == "sft/classic@4"
            assert await remote.count_tokens() == await local.count_tokens()
    finally:
        server.terminate()
        assert server.wait(20) == 0
        server.stdout.close()


@pytest.mark.slow
def test_one_question_from_the_command_line(chat_base: Layout) -> None:
    before = sorted(chat_base.base.rglob("*"))
    words = "chat-cli -g d2 -s 5 -p hello --seed 7 -m 40 --device-type cpu --dtype float32 --json"
    done = subprocess.run(
        [sys.executable, "-m", "nanochat", *words.split(), "--base-dir", str(chat_base.base)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    expected = engine_answer(chat_base, "sft/d2@5", [{"role": "user", "content": "hello"}], 7)
    assert found["answer"] == "".join(part.text for part in expected if part.kind == "text")
    calls = [part.text for part in expected if part.kind == "python"]
    assert [call["expression"] for call in found["tool_calls"]] == calls
    assert found["model"] == "sft/d2@5"
    assert sorted(chat_base.base.rglob("*")) == before  # no run, nothing written
