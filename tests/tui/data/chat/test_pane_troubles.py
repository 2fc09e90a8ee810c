"""Panes over servers that are down, slow, cut in the middle, strange or hostile: each alone with it."""

import asyncio
import json
from typing import Any

import pytest
from chat_panes import Panes
from stub_server import DONE, END, StubServer, chunk, error, text, usage

from nanochat.common.errors import UserError
from nanochat.serve.conversation import AnswerSettings
from tui.data.chat.pane import Pane
from tui.data.chat.target import EndpointTarget, parse_target
from tui.widgets.chat.telling import state_spans

NOBODY = "http://127.0.0.1:9"


def entry(token: str, **fields: Any) -> dict[str, Any]:
    top = [{"token": token, "logprob": -0.1, "bytes": list(token.encode())}]
    return {"token": token, "logprob": -0.1, "bytes": list(token.encode()), "top_logprobs": top, **fields}


def token(said: str) -> bytes:
    return chunk(delta={"content": said}, logprobs={"content": [entry(said)]}, finish_reason=None)


def other_server(stub: StubServer, owner: str = "somebody") -> None:
    stub.models = [{"id": "other", "owned_by": owner}]


def endpoint(panes: Panes, url: str) -> Pane:
    return panes.set.add(EndpointTarget(url))


async def test_one_that_is_down_and_one_that_is_slow_hold_up_no_other(panes: Panes, stub: StubServer) -> None:
    stub.answer = lambda body: [text("slow"), 30.0, END] if body["seed"] == 1 else [text("quick"), END]
    down, quick = endpoint(panes, NOBODY), endpoint(panes, stub.url)
    slow = panes.set.add(EndpointTarget(stub.url), AnswerSettings(seed=1))
    nodes = panes.set.ask("hello")
    await panes.answered(quick)
    await panes.answered(down)
    await panes.until(lambda: slow.state.kind == "streaming")
    assert quick.conversation.turns[0].answer_text == "quick"
    assert down.state.kind == "failed" and f"cannot reach {NOBODY}/v1" in down.state.line
    assert nodes[0].failure == down.state.line and not nodes[0].has_answer
    slow.stop()
    await panes.answered(slow)
    assert slow.state.kind == "idle" and nodes[2].failure == "stopped"
    assert slow.conversation.turns[0].answer_text == "slow"
    assert slow.conversation.turns[0].finish_reason == "stopped"
    await panes.until(lambda: stub.left == 1)  # it ended on the server too


async def test_a_cut_answer_stays_and_is_asked_for_again_by_a_key(panes: Panes, stub: StubServer) -> None:
    stub.answer = lambda body: [text("half of")]
    pane = endpoint(panes, stub.url)
    cut = await panes.answered(pane, pane.ask("hello"))
    assert pane.state.kind == "failed" and "broke off" in pane.state.line
    assert cut.has_answer and not cut.is_done and cut.failure
    stub.answer = lambda body: [text("all of it"), END]
    pane.retry()
    await panes.answered(pane)
    assert pane.tree.leaf is not cut and pane.tree.leaf is not None
    assert pane.tree.leaf.place == (2, 2)
    assert [turn.answer_text for turn in pane.conversation.turns] == ["all of it"]
    assert stub.requests[-1]["messages"] == [{"role": "user", "content": "hello"}]


async def test_a_question_that_got_nothing_is_asked_again_in_its_place(
    panes: Panes, stub: StubServer
) -> None:
    stub.answer = lambda body: error(500, "out of luck")
    pane = endpoint(panes, stub.url)
    node = await panes.answered(pane, pane.ask("hello"))
    assert "out of luck" in node.failure and pane.conversation.turns == ()
    stub.answer = lambda body: [text("here"), END]
    pane.retry()
    await panes.answered(pane)
    assert pane.tree.leaf is node and node.failure == "" and node.place == (1, 1)
    assert pane.conversation.turns[0].answer_text == "here"


async def test_a_server_that_knows_no_tokens_is_asked_without_and_that_is_said(
    panes: Panes, stub: StubServer
) -> None:
    def answer(body: dict[str, Any]) -> Any:
        if "logprobs" in body:
            return error(400, "logprobs is not supported with this model", param="logprobs")
        return [text("some words "), text("in pieces"), END, DONE]

    other_server(stub)
    stub.answer = answer
    pane = endpoint(panes, stub.url)
    await panes.answered(pane, pane.ask("one"))
    assert pane.state.kind == "idle" and pane.has_probabilities is False and not pane.has_lens
    assert pane.news == "this server tells no probabilities of tokens"
    figures = pane.figures()
    # Pieces of text are no tokens: nothing is made up.
    assert figures.tokens is None and figures.tokens_per_second is None
    assert figures.first_token_seconds is not None
    node = await panes.answered(pane, pane.ask("two"))
    assert [("logprobs" in request) for request in stub.requests] == [True, False, False]
    with pytest.raises(UserError, match="has no lens"):
        await pane.lens(node, 0)
    stub.answer = lambda body: error(400, "something else is wrong")
    await panes.answered(pane, pane.edit("three"))
    assert "something else is wrong" in pane.state.line


@pytest.mark.parametrize(
    ("owner", "asked", "told"),
    [
        (
            "vllm",
            ("stream_options", {"include_usage": True, "continuous_usage_stats": True}),
            {"usage": {"prompt_tokens": 3, "completion_tokens": 7}},
        ),
        ("llamacpp", ("timings_per_token", True), {"timings": {"predicted_n": 7}}),
        ("somebody", ("logprobs", True), {}),
    ],
)
async def test_tokens_are_counted_by_what_each_server_says_of_them(
    panes: Panes, stub: StubServer, owner: str, asked: tuple[str, Any], told: dict[str, Any]
) -> None:
    """While they come; the usage at the end has the last word."""
    seven = {"content": [entry(word) for word in "abcdefg"]}
    document = {"choices": [{"delta": {"content": "abcdefg"}, "logprobs": seven, "index": 0}], **told}
    event = b"data: " + json.dumps(document).encode() + b"\n\n"
    other_server(stub, owner)
    stub.answer = lambda body: [text("\u200b"), event, 30.0, END]
    pane = endpoint(panes, stub.url)
    pane.ask("hello")
    await panes.until(lambda: pane.figures().tokens == 7)
    assert stub.requests[0][asked[0]] == asked[1] and "top_k" not in stub.requests[0]
    pane.stop()
    await panes.answered(pane)
    stub.answer = lambda body: [token("a"), END, usage(3, 9), DONE]
    await panes.answered(pane, pane.ask("again"))
    assert pane.figures().tokens == 9


async def test_a_model_that_thinks_first_is_said_to_think(panes: Panes, stub: StubServer) -> None:
    thought = chunk(delta={"reasoning_content": "hm"}, logprobs={"content": [entry("hm")]})
    other_server(stub)
    stub.answer = lambda body: [thought, 30.0, END]
    pane = endpoint(panes, stub.url)
    node = pane.ask("hello")
    await panes.until(lambda: node.answer is not None and node.answer.is_thinking)
    assert pane.state.kind == "streaming"
    pane.state_since -= 12
    assert state_spans(pane, ("r", "b"), False) == [("◐ thinking … 12s", "live")]
    assert "think" not in str(state_spans(pane, ("r", "b"), True))
    pane.stop()
    await panes.answered(pane)
    assert state_spans(pane, ("r", "b"), False) == []
    stub.answer = lambda body: [thought, token("so"), END]
    node = await panes.answered(pane, pane.edit("hello"))
    assert node.answer is not None and not node.answer.is_thinking
    assert [one.text for one in node.answer.tokens] == ["so"]


async def test_a_hostile_answer_is_kept_as_text_and_nothing_more(panes: Panes, stub: StubServer) -> None:
    line = "A" * (1 << 20)
    wrong = {
        "content": [{"token": 3}, None, {"token": "x", "logprob": "NaN", "bytes": [999], "top_logprobs": 7}]
    }
    other_server(stub)
    stub.answer = lambda body: [
        token("\x1b]0;owned\x07\x1b[2J"),
        chunk(delta={"content": "<script>"}, logprobs=wrong, finish_reason=None),
        chunk(delta={"content": 5, "executed_tools": [{"arguments": []}]}, logprobs=[1], finish_reason=None),
        text(line),
        END,
    ]
    pane = endpoint(panes, stub.url)
    node = await panes.answered(pane, pane.ask("hello"))
    assert node.answer is not None and node.turn is not None
    assert node.turn.answer_text == "\x1b]0;owned\x07\x1b[2J<script>" + line
    assert [(one.text[:4], one.logprob) for one in node.answer.tokens] == [("\x1b]0;", -0.1), ("x", None)]
    assert node.answer.tokens[1].raw == b"x"
    stub.answer = lambda body: [b"data: not JSON \x1b[31m\n\n"]
    await panes.answered(pane, pane.ask("again"))
    assert pane.state.kind == "failed" and "\x1b" not in pane.state.line


async def test_opening_says_what_it_waits_for_and_can_be_stopped(panes: Panes, stub: StubServer) -> None:
    panes.services.url, panes.services.blocks = stub.url, asyncio.Event()
    pane = panes.set.add(parse_target("box:sft/d20"))
    node = pane.ask("hello")
    await panes.until(lambda: pane.state.line == "starting the server on box")
    with pytest.raises(UserError, match="an answer is coming"):
        pane.ask("and this")
    pane.stop()
    await panes.answered(pane)
    assert pane.state.kind == "closed" and node.failure == "stopped" and node.answer is None
    panes.services.blocks.set()
    pane.retry()
    await panes.answered(pane)
    assert pane.tree.leaf is node and node.has_answer
    assert panes.services.opened == [("box", None), ("box", None)]


async def test_beside_a_training_the_device_is_asked_for_and_the_question_waits(
    panes: Panes, stub: StubServer
) -> None:
    panes.services.url = stub.url
    pane = panes.set.add(parse_target("busy:sft/d20"))
    node = pane.ask("hello")
    await panes.answered(pane)
    assert pane.state.kind == "choosing" and "run r1 is at work" in pane.state.line
    assert [offer.device for offer in pane.offers] == ["cuda:0", "cpu"]
    pane.open("cpu")
    await panes.until(lambda: pane.state.kind == "idle")
    assert node.has_answer and pane.device == "cpu"
    assert panes.services.opened == [("busy", None), ("busy", "cpu")]
    other = panes.set.add(parse_target("busy:sft/d20"))
    given_up = await panes.answered(other, other.ask("hello"))
    other.stop()
    assert other.state.kind == "closed" and given_up.failure == "stopped"
    waits = await panes.answered(other, other.ask("hello"))
    other.use(parse_target(stub.url))
    await panes.answered(other)
    assert other.state.kind == "idle" and not waits.has_answer and waits.failure.startswith("not asked: ")
    # The choice is kept for a new start only where it can disturb no training.
    assert panes.set.document()["panes"][0]["device"] == "cpu"
    pane.chosen_device = "cuda:0"
    assert panes.set.document()["panes"][0]["device"] == ""


@pytest.mark.parametrize(("reason", "is_told"), [("stop", False), ("length", True)])
async def test_less_room_than_asked_for_is_told_only_where_it_cut_the_answer(
    panes: Panes, stub: StubServer, reason: str, is_told: bool
) -> None:
    def answer(body: dict[str, Any]) -> Any:
        if body["max_tokens"] > 999:
            return error(400, "does not fit", code="context_length_exceeded")
        return [token("short"), chunk(delta={}, finish_reason=reason), usage(1, 1), DONE]

    stub.answer = answer
    pane = panes.set.add(parse_target(stub.url), AnswerSettings(max_tokens=2_000))
    node = await panes.answered(pane, pane.ask("hello"))
    assert node.answer is not None and node.answer.room == 999
    assert ("had room for 999 tokens only" in pane.news) == is_told


async def test_a_cut_link_is_said_and_the_pane_goes_on_when_it_is_back(
    panes: Panes, stub: StubServer
) -> None:
    panes.services.url = stub.url
    pane = panes.set.add(parse_target("box:sft/d20"))
    other = endpoint(panes, stub.url)
    stub.answer = lambda body: [text("half")]
    pane.ask("hello")
    panes.set.link_changed("box", False)
    assert pane.news == "no contact with box" and other.news == ""
    await panes.answered(pane)
    assert pane.state.kind == "failed"
    assert pane.state.line.startswith("the server on box broke off")
    stub.answer = lambda body: [text("whole"), END]
    panes.set.link_changed("box", True)
    await panes.until(lambda: pane.state.kind == "idle")
    assert pane.news == "box is back"
    node = await panes.answered(pane, pane.regenerate())
    assert node.turn is not None and node.turn.answer_text == "whole"


async def test_a_service_that_ended_says_why_and_is_started_anew(panes: Panes, stub: StubServer) -> None:
    panes.services.url = stub.url
    pane = panes.set.add(parse_target("box:sft/d20"))
    stub.answer = lambda body: [text("half")]
    panes.services.gone = "the kernel ran out of memory and killed the server"
    await panes.answered(pane, pane.ask("hello"))
    assert pane.state.line.startswith("the kernel ran out of memory")
    panes.services.gone = ""
    stub.answer = lambda body: [text("whole"), END]
    pane.retry()
    await panes.answered(pane)
    assert pane.state.kind == "idle" and len(panes.services.opened) == 2
    gone = panes.set.add(parse_target("away:sft/d20"))
    gone.open()
    await panes.until(lambda: gone.state.kind == "failed")
    assert gone.state.line == "cannot reach away (is it on?)"


async def test_another_target_ends_what_was_coming_and_keeps_the_turns(
    panes: Panes, stub: StubServer
) -> None:
    stub.answer = lambda body: [text("so far"), 30.0]
    pane = endpoint(panes, stub.url)
    pane.ask("hello")
    await panes.until(lambda: pane.state.kind == "streaming")
    stub.answer = lambda body: [text("more"), END]
    pane.use(EndpointTarget(stub.url, "stub/small"))
    node = pane.ask("and now?")
    await panes.until(lambda: pane.state.kind == "idle")
    assert [turn.answer_text for turn in pane.conversation.turns] == ["so far", "more"]
    assert node.is_done and stub.left == 1


async def test_a_fault_of_ours_is_told_in_the_pane_and_reported(panes: Panes, stub: StubServer) -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))
    panes.services.open = None  # type: ignore[method-assign,assignment]
    pane = panes.set.add(parse_target("box:sft/d20"))
    other = endpoint(panes, stub.url)
    panes.set.ask("hello")
    await panes.answered(pane)
    await panes.answered(other)
    assert pane.state.kind == "failed" and "TypeError" in pane.state.line
    assert other.state.kind == "idle"
    assert isinstance(reported[0]["exception"], TypeError)


async def test_changes_are_told_seldom_and_the_last_one_always(panes: Panes, stub: StubServer) -> None:
    stub.answer = lambda body: [*(token("a ") for _ in range(3_000)), END]
    pane = endpoint(panes, stub.url)
    await panes.answered(pane, pane.ask("hello"))
    assert pane.figures().tokens == 3_000
    await panes.until(lambda: panes.told and panes.told[-1] == (pane, "idle"))
    loop = asyncio.get_running_loop()
    leaf = pane.tree.leaf
    assert leaf is not None and leaf.answer is not None and loop.is_running()
    spent = leaf.answer.seconds
    assert len(panes.told) <= spent * 20 + 12


async def test_what_panes_are_kept_as_comes_back_and_damage_is_left_out(panes: Panes) -> None:
    pane = panes.set.add(parse_target("box:sft/d20@650"))
    pane.settings = AnswerSettings(temperature=1.5, top_k=3, seed=7)
    pane.system = "be brief"
    panes.set.add(parse_target("http://h/v1 m key=SOME_KEY"))
    document = json.loads(json.dumps(panes.set.document()))
    for one in list(panes.set.panes):
        await panes.set.remove(one)
    document["panes"].insert(0, {"target": "what?"})
    document["panes"].insert(0, 7)
    panes.set.restore(document)
    first, second = panes.set.panes
    assert (str(first.target), str(second.target)) == ("box:sft/d20@650", "http://h/v1 m key=SOME_KEY")
    assert first.settings == AnswerSettings(temperature=1.5, top_k=3, seed=7)
    assert first.system == "be brief" and first.given == {"temperature", "top_k", "seed"}
    assert first.state.kind == "closed" and panes.services.opened == []
    damaged = {
        "target": "sft/d2",
        "settings": {"temperature": "hot", "max_tokens": 0, "seed": -1},
        "given": 3,
    }
    panes.set.restore({"panes": [damaged] * 9})
    assert len(panes.set.panes) == 4 and panes.set.panes[3].settings == AnswerSettings()
    with pytest.raises(UserError, match="4 panes already"):
        panes.set.add(parse_target("sft/d2"))
    panes.set.restore("what?")


async def test_nothing_to_ask_and_nothing_asked_yet_are_told(panes: Panes, stub: StubServer) -> None:
    with pytest.raises(UserError, match="no pane to ask"):
        panes.set.ask("hello")
    pane = endpoint(panes, stub.url)
    with pytest.raises(UserError, match="question is empty"):
        pane.ask(" \n")
    with pytest.raises(UserError, match="nothing has been asked"):
        pane.regenerate()
    stub.answer = lambda body: [text("a"), 30.0, END]
    pane.ask("hello")
    other = endpoint(panes, stub.url)
    with pytest.raises(UserError, match="stop it first"):
        panes.set.ask("to both")
    assert other.tree.leaf is None
    panes.set.stop()
    await panes.answered(pane)
    pane.clear()
    assert pane.conversation.turns == ()
