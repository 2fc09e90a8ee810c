"""Blind mode: names hidden until the vote, votes kept, and nothing that tells which pane is which."""

from typing import Any

import pytest

from nanochat.common.errors import UserError
from nanochat.serve.conversation import AnswerSettings
from remote.store.votes import Vote
from tests.tui.conftest import Bench, settle
from tests.tui.screens.chat_bench import (
    StubServer,
    ask,
    chat_screen,
    checkpoint,
    painted,
    running_stub,
    serve,
    stub,
)
from tui.screens.chat.picker import ModelPicker
from tui.screens.chat.screen import ChatScreen
from tui.screens.chat.vote_dialog import VoteDialog

__all__ = ["running_stub", "stub"]  # fixtures


async def blind_screen(app: Any, pilot: Any, *targets: str) -> ChatScreen:
    """The Chat screen in blind mode."""
    screen = await chat_screen(app, pilot, *(targets or ("sft/d20", "base/d20")))
    await pilot.press("escape", "b")
    await settle(pilot, lambda: all(view.hidden for view in screen.views))
    return screen


async def test_blind_mode_hides_names_until_a_vote_which_is_stored(bench: Bench, stub: StubServer) -> None:
    async with bench.open((120, 40)) as (app, pilot):
        screen = await chat_screen(app, pilot, "sft/d20", "base/d20")
        await pilot.press("escape", "b")
        await settle(pilot, lambda: all(view.hidden for view in screen.views))
        await ask(screen, pilot)
        for view in screen.views:
            shown = f"{view.border_title} {painted(view)} {view.figures.text}"
            assert "d20" not in shown and "tok/s" not in shown
        assert "d20" not in "".join(screen.tabs.render().plain)
        await pilot.press("escape", "v")
        assert isinstance(app.screen, VoteDialog)
        await pilot.press("b")
        await settle(pilot, lambda: not any(view.hidden for view in screen.views))
        await settle(pilot, lambda: all("7 tok · " in painted(view) for view in screen.views))
        (vote,) = bench.store.votes()
        assert vote.winner == 1
        assert vote.question == "Where is it?"
        await pilot.press("V")
        await settle(pilot, lambda: "1 vote" in str(app.screen.query_one("VirtualTable").border_title))


async def test_blind_mode_says_how_a_failure_is_explained_and_that_earlier_answers_tell(
    bench: Bench, stub: StubServer
) -> None:
    async with bench.open((160, 40)) as (app, pilot):
        screen = await chat_screen(app, pilot, "sft/d20", "away:sft/d20")
        await ask(screen, pilot)
        await pilot.press("escape", "b")
        await settle(pilot, lambda: all(view.hidden for view in screen.views))
        assert app.message is not None and "N begins anew" in app.message.text
        (failed,) = (painted(view) for view in screen.views if view.pane.state.kind == "failed")
        assert "b ends blind mode and tells why" in failed.replace("\n", " ") and "away" not in failed


async def test_another_model_ends_blind_mode_and_its_order(bench: Bench, stub: StubServer) -> None:
    async with bench.open((120, 40)) as (app, pilot):
        screen = await chat_screen(app, pilot, "sft/d20", "base/d20")
        await pilot.press("escape", "b")
        await settle(pilot, lambda: all(view.hidden for view in screen.views))
        assert screen.blind is not None
        screen.blind.order = screen.panes.panes[::-1]
        await screen.show_panes_anew()
        pane = screen.views[0].pane
        screen.go_to(0)
        await pilot.press("m")
        await settle(pilot, lambda: isinstance(app.screen, ModelPicker))
        await pilot.press(*"sft/d20@650", "enter")
        await settle(pilot, lambda: screen.blind is None and screen.views[0].pane is not pane)
        assert [view.pane for view in screen.views] == screen.panes.panes
        assert screen.view is not None and screen.view.pane is pane and pane.target.name.step == 650  # type: ignore[union-attr]
        assert "base/d20" not in str(screen.view.border_title) and not screen.view.hidden


async def test_whatever_happens_around_a_vote_it_is_kept_once_or_said_not_to_count(
    bench: Bench, stub: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = bench.store.add_vote
    async with bench.open((120, 40)) as (app, pilot):

        async def told(words: str) -> None:
            await settle(pilot, lambda: app.message is not None and words in app.message.text)

        screen = await blind_screen(app, pilot)
        await ask(screen, pilot)

        def full(vote: Vote) -> int:
            raise UserError("the disk is full")

        monkeypatch.setattr(bench.store, "add_vote", full)
        await pilot.press("escape", "v", "a")
        await told("disk is full")
        assert all(view.hidden for view in screen.views) and not bench.store.votes()

        await pilot.press("v")
        blind, screen.blind = screen.blind, None  # it ended while the question stood there
        await pilot.press("a")
        await told("blind mode ended before the vote: it does not count")
        assert not bench.store.votes()
        screen.blind = blind

        async def close() -> None:
            screen.end_blind()
            await screen.panes.remove(screen.views[0].pane)
            await screen.show_panes_anew()

        def slow(vote: Vote) -> int:
            app.call_from_thread(close)
            return keep(vote)

        monkeypatch.setattr(bench.store, "add_vote", slow)
        await pilot.press("v", "a")
        await settle(pilot, lambda: bool(bench.store.votes()) and len(screen.views) == 1)
        names = [answer.model for answer in bench.store.votes()[0].answers]
        await told(f"voted · A was {names[0]}, B was {names[1]}")


async def test_what_would_tell_which_pane_is_which_waits_for_the_vote(bench: Bench, stub: StubServer) -> None:
    run_id = bench.run("training", "base_train", "running", age=100).split("/")[1]
    serve(bench, stub).found["local"] = [checkpoint("base/d20", 1000, run=run_id)]
    async with bench.open((120, 40)) as (app, pilot):
        screen = await blind_screen(app, pilot, "sft/d20", f"base/d20 follow {run_id}")
        await ask(screen, pilot)
        await settle(pilot, lambda: any(run.run_id == run_id for run in app.rows))
        shown = screen.current
        screen.chat_with(next(run for run in app.rows if run.run_id == run_id))
        told = "blind mode hides which pane is which, and {} would tell (v votes, b ends it: then again)"
        await settle(pilot, lambda: app.message is not None and "another pane" in app.message.text)
        assert app.message is not None and app.message.text == told.format("going to another pane")
        assert screen.current == shown and screen.blind is not None and len(screen.views) == 2
        screen.panes.panes[0].settings = AnswerSettings(temperature=0.0)
        await pilot.press("escape", "t")
        for key, what in (("f", "following a run"), ("P", "a server's host"), ("l", "the lens"),
                          ("o", "settings that differ")):  # fmt: skip
            await pilot.press(key)
            await settle(pilot, lambda what=what: told.format(what) == str(app.message and app.message.text))
            assert app.screen is screen and "each layer" not in str(screen.views[0].detail.render())
