"""What the screens say of variables that go along with a run: their names before it starts, no value ever."""

import asyncio

import pytest
from textual.pilot import Pilot

from remote.hosts.book import Host, HostBook
from tests.tui.conftest import Bench, settle
from tui.app import ControlRoom
from tui.screens.hosts import HostsScreen
from tui.screens.launch import LaunchScreen
from tui.screens.plan import PlanScreen
from tui.widgets.choice import Choice

PLAN = 'pass_env = ["WANDB_API_KEY"]\n[[stage]]\nstage = "tok_train"\n'


@pytest.fixture
def room(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A host that asks for two variables, of which one is set, and a plan that asks for a third."""
    monkeypatch.setenv("HF_TOKEN", "hush-hush")
    monkeypatch.setenv("WANDB_API_KEY", "hush-too")
    monkeypatch.delenv("NOWHERE", raising=False)
    HostBook(bench.layout).add(Host("box", address="node", pass_env=("HF_TOKEN", "NOWHERE")))
    bench.layout.plans.mkdir()
    (bench.layout.plans / "aaa.toml").write_text(PLAN)
    bench.run("one")
    return bench


def shown(app: ControlRoom) -> str:
    """All text on the screen in front."""
    return "\n".join(str(widget.render()) for widget in app.screen.query("Static"))


async def check(app: ControlRoom, pilot: Pilot[str], *words: str) -> None:
    await settle(pilot, lambda: all(word in shown(app) for word in words))
    assert "hush" not in shown(app)


async def test_hosts_names_them_and_what_is_not_set(room: Bench) -> None:
    async with room.open() as (app, pilot):
        await pilot.press("7")
        await settle(pilot, lambda: isinstance(app.screen, HostsScreen))
        assert "passes on" not in shown(app)
        app.screen.table.move_to_key("box")  # type: ignore[attr-defined]
        await check(app, pilot, "passes on HF_TOKEN, NOWHERE", "! NOWHERE is listed in pass_env but not set")


@pytest.mark.slow
async def test_launch_names_those_of_the_host_chosen(room: Bench) -> None:
    async with room.open() as (app, pilot):
        app.action_launch()
        await settle(pilot, lambda: isinstance(app.screen, LaunchScreen))
        assert "passes on" not in shown(app)
        app.screen.query_one("#host", Choice).value = "box"
        await check(app, pilot, "passes on HF_TOKEN, NOWHERE", "! NOWHERE is listed in pass_env but not set")


async def test_a_plan_names_its_own_and_those_of_the_host_and_hands_them_on(room: Bench) -> None:
    async with room.open() as (app, pilot):
        app.action_plan()
        await settle(pilot, lambda: isinstance(app.screen, PlanScreen))
        await check(app, pilot, "passes on WANDB_API_KEY\n")
        app.screen.query_one("#host", Choice).value = "box"
        await check(app, pilot, "passes on WANDB_API_KEY, HF_TOKEN, NOWHERE", "! NOWHERE")
        app.screen.action_start()  # type: ignore[attr-defined]
        await settle(pilot, lambda: ("pass_env", ("WANDB_API_KEY",)) in room.fleet.asked)


async def test_a_warning_of_the_fleet_is_shown(room: Bench) -> None:
    async with room.open() as (app, pilot):
        await settle(pilot, lambda: room.fleet.warn is not None)
        assert room.fleet.warn is not None
        room.fleet.warn("NOWHERE is not [b]set[/b] here")
        await asyncio.sleep(0)
        await settle(pilot, lambda: any("[b]set[/b]" in said.text for said in app.messages))
