"""Panes over a real chat_web: the answers that chat_cli gives, their tokens, their layers, their branches."""

import asyncio
import json
import math
from pathlib import Path

import pytest
from chat_models import save_model
from chat_panes import Panes, Server

from nanochat.cli import main
from nanochat.common.errors import UserError
from nanochat.serve.chat_log import load
from nanochat.serve.conversation import AnswerSettings
from tui.data.chat.pane import Pane
from tui.data.chat.pane_set import save_log
from tui.data.chat.target import EndpointTarget, parse_target
from tui.data.chat.tree import TurnNode

SEEDED = AnswerSettings(temperature=0.9, top_k=50, max_tokens=24, seed=11)


def pane_on(panes: Panes, target: str, settings: AnswerSettings = SEEDED) -> Pane:
    return panes.set.add(parse_target(target), settings)


def said(node: TurnNode) -> str:
    turn = node.turn
    return "" if turn is None else turn.answer_text


@pytest.mark.slow
async def test_two_panes_say_what_chat_cli_says_with_the_same_seed(
    here: Panes, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    first = pane_on(here, "sft/d2@5")
    second = here.set.add(EndpointTarget(server.url, "sft/d2@8"), SEEDED)
    nodes = here.set.ask("What is 6*7?")
    assert (first.state.kind, second.state.kind) == ("opening", "opening")
    for pane, node in zip((first, second), nodes, strict=True):
        await here.answered(pane)
        words = ["--base-dir", str(server.layout.base), "--model", str(node.turn and node.turn.model)]
        sampling = ["--temperature", "0.9", "--top-k", "50", "--max-tokens", "24", "--seed", "11"]
        asked = ["chat_cli", "--json", "--dtype", "float32", "--device-type", "cpu", "-p", "What is 6*7?"]
        assert await asyncio.to_thread(main, [*asked, *words, *sampling]) == 0
        alone = json.loads(capsys.readouterr().out)
        assert alone["answer"] == said(node) != ""
    assert [node.turn.model for node in nodes if node.turn] == ["sft/d2@5", "sft/d2@8"]
    assert [pane.answers_with for pane in here.set.panes] == ["sft/d2@5", "sft/d2@8"]
    assert said(nodes[0]) != said(nodes[1])
    assert here.services.opened == [("local", None)] and first.device == "cpu" and second.device == ""


@pytest.mark.slow
async def test_every_token_of_an_answer_is_told_with_its_probability(here: Panes) -> None:
    pane = pane_on(here, "sft/d2")
    node = await here.answered(pane, pane.ask("hello"))
    answer = node.answer
    assert answer is not None and answer.finish is not None and answer.tokens
    raw = b"".join(token.raw for token in answer.tokens)
    assert said(node) in raw.decode("utf-8", "replace")  # half a character at the end is no text
    for token in answer.tokens:
        assert token.logprob is not None and token.logprob <= 0 and len(token.top) == 5
        assert [guess.logprob for guess in token.top] == sorted(
            (guess.logprob for guess in token.top), reverse=True
        )
        assert token.index is not None and answer.ids[token.index] < 300
    figures = pane.figures()
    assert figures.tokens == answer.finish.completion_tokens == len(answer.ids)
    assert figures.first_token_seconds is not None and answer.finish.queue_ms is not None
    assert figures.prompt_tokens == len(answer.prompt_ids) and answer.finish.cached_tokens is not None
    assert pane.has_probabilities and pane.has_lens and pane.context == 256
    assert pane.answers_with == "sft/d2@8" and pane.news == ""


async def test_the_last_layer_of_the_lens_is_what_the_model_said(here: Panes) -> None:
    pane = pane_on(here, "sft/d2")
    node = await here.answered(pane, pane.ask("hello"))
    assert node.answer is not None
    for place in (0, len(node.answer.tokens) - 1):
        token = node.answer.tokens[place]
        reading = await pane.lens(node, place)
        assert reading.model == "sft/d2@8" and len(reading.layers) == 2
        assert reading.said == token.text
        for guess, known in zip(reading.layers[-1], token.top, strict=True):
            assert guess.text == known.text and math.isclose(guess.logprob, known.logprob, abs_tol=1e-3)
    with pytest.raises(UserError, match="no token at that place"):
        await pane.lens(node, 10_000)


async def test_an_answer_asked_for_again_and_an_edited_question_are_branches(here: Panes) -> None:
    pane = pane_on(here, "sft/d2")
    one = await here.answered(pane, pane.ask("one"))
    two = await here.answered(pane, pane.ask("two"))
    again = await here.answered(pane, pane.regenerate())
    assert again.place == (2, 2) and again.question == "two" and again is not two
    assert two.answer is not None and again.answer is not None
    assert two.answer.prompt_ids == again.answer.prompt_ids
    assert again.turn is not None and again.turn.settings.seed != 11  # the same would be said again
    edited = await here.answered(pane, pane.edit("first", one))
    assert [node.question for node in pane.tree.path] == ["first"]
    pane.go(-1)
    assert pane.tree.path == [one, again]
    assert pane.conversation.messages()[0] == {"role": "user", "content": "one"}
    assert edited.place == (2, 2)


async def test_a_conversation_is_saved_as_the_chat_log_and_loads_back(here: Panes, tmp_path: Path) -> None:
    pane = pane_on(here, "sft/d2")
    with pytest.raises(UserError, match="nothing to save"):
        save_log(pane.conversation, tmp_path)
    pane.system = "be brief"
    await here.answered(pane, pane.ask("one"))
    files = save_log(pane.conversation, tmp_path)
    assert [file.suffix for file in files] == [".md", ".json"] and files[0].name.startswith("cc_")
    conversation, note = load(files[0])
    assert conversation == pane.conversation and note == ""
    with pytest.raises(UserError, match="is there already"):
        save_log(conversation, tmp_path, files[0].name)
    other = pane_on(here, "sft/classic")
    other.start(conversation)
    await here.answered(other, other.ask("two"))
    assert [turn.model for turn in other.conversation.turns] == ["sft/d2@8", "sft/classic@4"]
    assert other.conversation.system == "be brief"


async def test_a_pane_takes_the_newest_checkpoint_between_answers_and_says_so(
    here: Panes, server: Server
) -> None:
    pane = pane_on(here, "sft/live follow r1")
    first = await here.answered(pane, pane.ask("hello"))
    assert pane.answers_with == "sft/live@1"
    save_model(server.layout.base, "sft", tag="live", step=1_200, seed=8)
    pane.saved(1_200)
    assert pane.news == "step 1,200 is saved: the next answer takes it"
    second = await here.answered(pane, pane.ask("hello"))
    assert pane.answers_with == "sft/live@1200" and pane.news == "now step 1,200"
    # The lens looks at the step that gave the answer.
    for node, model in ((first, "sft/live@1"), (second, "sft/live@1200")):
        assert (await pane.lens(node, 0)).model == model


async def test_a_base_model_continues_the_text_of_each_question_alone(here: Panes) -> None:
    pane = pane_on(here, "base/d2")
    one = await here.answered(pane, pane.ask("The capital of"))
    assert pane.is_base and "continues the text" in pane.news
    two = await here.answered(pane, pane.ask("The capital of"))
    assert said(one) == said(two) != ""
    assert one.answer is not None and one.answer.tokens and one.answer.tokens[0].top
    reading = await pane.lens(one, 3)
    assert reading.layers[-1][0].text == one.answer.tokens[3].top[0].text
    assert pane.figures(one).tokens == 24


async def test_an_answer_that_does_not_fit_gets_the_room_there_is(here: Panes) -> None:
    pane = pane_on(here, "sft/d2", AnswerSettings(max_tokens=10_000, seed=1, temperature=0.9))
    node = await here.answered(pane, pane.ask("hello"))
    assert node.is_done and node.answer is not None and node.answer.room is not None
    assert pane.news == f"the context had room for {node.answer.room} tokens only"
    pane.edit("long " * 300)
    await here.answered(pane)
    assert pane.state.kind == "failed" and "too many for the model's context" in pane.state.line


async def test_a_name_that_is_none_is_told_with_the_nearest(here: Panes) -> None:
    pane = pane_on(here, "sft/d3")
    pane.open()
    await here.until(lambda: pane.state.kind == "failed")
    assert "no model 'sft/d3' is served here" in pane.state.line and "sft/d2" in pane.state.line
    pane.use(parse_target("sft/d2"))
    await here.until(lambda: pane.state.kind == "idle")
    pane.use(parse_target("sft/d2@77"))
    await here.until(lambda: pane.state.kind == "failed")
    assert "77" in pane.state.line


async def test_a_setting_changes_the_next_answer(here: Panes) -> None:
    pane = pane_on(here, "sft/d2")
    await here.answered(pane, pane.ask("hello"))
    pane.settings = AnswerSettings(temperature=0.0, top_k=0, max_tokens=3, seed=11)
    node = await here.answered(pane, pane.ask("hello"))
    assert pane.figures(node).tokens in (1, 2, 3)
    assert pane.given == {"temperature", "top_k", "max_tokens"}
