"""The Checkpoints screen: its tree, what it tells of one, and everything that is done from it."""

from __future__ import annotations

from typing import Any

import pytest
from textual.pilot import Pilot

from remote.checkpoints.saved import Listing
from remote.runs import Link
from tests.tui.conftest import NOW, Bench, settle
from tests.tui.screens.checkpoints_bench import known
from tui.app import ControlRoom
from tui.screens.checkpoints.detail import CheckpointDetail
from tui.screens.checkpoints.screen import CheckpointsScreen
from tui.screens.confirm import Confirm
from tui.screens.launch import LaunchScreen

pytestmark = pytest.mark.slow


async def go(app: ControlRoom, pilot: Pilot[str]) -> CheckpointsScreen:
    await pilot.press("6")
    await settle(pilot, lambda: isinstance(app.screen, CheckpointsScreen) and len(app.screen.rows) == 7)
    assert isinstance(app.screen, CheckpointsScreen)
    return app.screen


def painted(app: ControlRoom) -> str:
    return "\n".join(
        "".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips()
    )


def to(screen: CheckpointsScreen, name: str) -> None:
    """Puts the cursor on a checkpoint."""
    key = next(line.key for line in screen.table.items if not line.steps and str(line.row.one.name) == name)
    screen.table.move_to_key(key)


async def test_a_tree_of_tags_and_steps_with_what_is_known_of_each(bench: Bench) -> None:
    known(bench)
    async with bench.open((200, 50)) as (app, pilot):
        screen = await go(app, pilot)
        text = painted(app)
        for words in ("▾ base/d4", "3 steps", "@300", "1.7000", "sft/far@40", "● rl/d4@30", "● in use"):
            assert words in text, words
        assert "! meta.json is damaged" in text and "7 checkpoints · 560M" in text
        to(screen, "sft/d4@650")
        await settle(pilot, lambda: "base/d4@300 ← text climbmix" in painted(app))
        assert "GSM8K 0.250" in painted(app)

        screen.table.move_to_key("local:base/d4")
        await pilot.press("enter")  # folds its tag
        await settle(pilot, lambda: "▸ base/d4" in painted(app) and "@200" not in painted(app))
        assert app.setting("checkpoints") == {"folded": [["local", "base", "d4"]]}
        await pilot.press("u", "u", "o", "o", "o")  # sorted: every checkpoint a line of its own
        await settle(pilot, lambda: "base/d4@200" in painted(app))
        assert screen.table.order == "bpb"

        await pilot.press("slash", *"box", "enter")
        await settle(pilot, lambda: "1 of 7 checkpoints" in painted(app))
        await pilot.press("escape")
        await settle(pilot, lambda: "7 checkpoints · " in painted(app))


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_all_about_one_is_told_in_full(bench: Bench, size: tuple[int, int]) -> None:
    known(bench)
    async with bench.open(size) as (app, pilot):
        screen = await go(app, pilot)
        to(screen, "sft/d4@650")
        await pilot.press("enter")
        await settle(pilot, lambda: isinstance(app.screen, CheckpointDetail))
        assert "← base/d4@300" in painted(app) and "lineage" in painted(app)
        await pilot.press("escape")
        await settle(pilot, lambda: app.screen is screen)


async def test_continue_next_stage_evaluate_and_chat_begin_from_the_checkpoint(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    known(bench)
    async with bench.open((120, 40)) as (app, pilot):
        screen = await go(app, pilot)
        asked: list[Any] = []
        monkeypatch.setattr(app, "chat_with_checkpoint", lambda host, name: asked.append((host, str(name))))
        to(screen, "base/d4@200")
        await pilot.press("i")
        assert asked == [("local", "base/d4@200")]
        monkeypatch.setattr(app, "launch_with", lambda *request: asked.append(request))
        await pilot.press("r", "e", "n")
        host, stage, values = asked[1]
        assert (host, stage) == ("local", "base_train")
        assert (values["resume_from_step"], values["model_tag"], values["depth"]) == (200, "d4", 4)
        assert asked[2] == ("local", "base_eval", {"source": "base", "model_tag": "d4", "step": 200})
        assert asked[3] == ("local", "chat_sft", {"source": "base", "model_tag": "d4", "model_step": 200})
        to(screen, "base/d2@10")
        await pilot.press("r")
        await settle(pilot, lambda: any("no optimizer state" in said.text for said in app.messages))
        monkeypatch.undo()
        to(screen, "base/d4@300")
        await pilot.press("r")
        await settle(pilot, lambda: isinstance(app.screen, LaunchScreen) and "300" in painted(app))


async def test_a_checkpoint_is_deleted_after_its_name_was_typed_and_never_one_in_use(bench: Bench) -> None:
    known(bench)
    async with bench.open((120, 40)) as (app, pilot):
        screen = await go(app, pilot)
        asked = bench.fleet.quiet_checkpoints.asked
        to(screen, "rl/d4@30")
        await pilot.press("d")
        await settle(pilot, lambda: any("in use by server 12" in said.text for said in app.messages))
        to(screen, "base/d4@300")
        await pilot.press("d")
        await settle(pilot, lambda: isinstance(app.screen, Confirm))
        assert "sft/d4@650 started from it" in painted(app)
        await pilot.press(*"base", "enter")
        assert isinstance(app.screen, Confirm) and not asked
        await pilot.press(*("backspace",) * 4, *"base/d4@300", "enter")
        await settle(pilot, lambda: asked == [("delete", "local", "base/d4@300")] and len(screen.rows) == 6)

        for name in ("base/d4@100", "base/d4@200"):  # several at once
            to(screen, name)
            await pilot.press("space")
        await settle(pilot, lambda: "2 marked" in painted(app))
        await pilot.press("d")
        await settle(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press(*"delete", "enter")
        await settle(pilot, lambda: len(screen.rows) == 4)
        assert [name for what, _, name in asked[1:]] == ["base/d4@200", "base/d4@100"]


async def test_copies_go_on_whatever_screen_is_in_front_and_can_be_ended(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    known(bench)
    async with bench.open((120, 40)) as (app, pilot):
        screen = await go(app, pilot)
        asked = bench.fleet.quiet_checkpoints.asked
        to(screen, "sft/far@40")
        await pilot.press("less_than_sign")
        await settle(pilot, lambda: asked == [("copy", "local", "sft/far@40")] and not screen.copies)
        to(screen, "sft/d4@650")
        await pilot.press("less_than_sign")
        await settle(pilot, lambda: any("is on this machine" in said.text for said in app.messages))
        await pilot.press("greater_than_sign")
        await settle(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("enter")
        await settle(pilot, lambda: asked[-1] == ("copy", "box", "sft/d4@650") and not screen.copies)
        one = next(row.one for row in screen.rows if str(row.one.name) == "sft/d4@650")
        app.do(screen._copy(one, "slow"))
        await settle(pilot, lambda: "to slow: 33%" in painted(app))
        await pilot.press("c")
        await settle(pilot, lambda: not screen.copies)
        assert any("goes on from where it was" in said.text for said in app.messages)


async def test_a_host_that_does_not_answer_is_told_and_asked_again_when_it_is_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    known(bench)
    checkpoints, refresh = bench.fleet.quiet_checkpoints, bench.fleet.quiet_checkpoints.refresh

    async def away(host: str) -> Listing:
        return await (checkpoints._no_agent(host) if host == "box" else refresh(host))  # type: ignore[return-value]

    monkeypatch.setattr(checkpoints, "refresh", away)
    bench.fleet.links["box"] = Link("down", NOW)
    async with bench.open((120, 40)) as (app, pilot):
        await pilot.press("6")
        await settle(pilot, lambda: "box: host 'box' is unreachable" in painted(app))
        monkeypatch.undo()
        bench.fleet.links["box"] = Link("up", NOW)
        await settle(pilot, lambda: "sft/far@40" in painted(app) and "unreachable" not in painted(app))


async def test_read_only_nothing_is_offered_that_changes_anything(bench: Bench) -> None:
    known(bench)
    async with bench.open((120, 40), readonly=True) as (app, pilot):
        screen = await go(app, pilot)
        to(screen, "base/d4@300")
        await pilot.press("d", "r", "e", "n", "less_than_sign", "greater_than_sign")
        await settle(pilot)
        assert app.screen is screen and not bench.fleet.quiet_checkpoints.asked
