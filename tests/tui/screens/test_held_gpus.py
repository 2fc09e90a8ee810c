"""Launch and Plan say which GPUs a run would share with a chat server, before it is started."""

import pytest

from remote.fleet.services import ServiceState
from tests.tui.conftest import NOW, Bench, settle
from tui.app import ControlRoom
from tui.screens.launch import LaunchScreen
from tui.screens.plan import PlanScreen
from tui.widgets.choice import Choice

LINE = "! a chat server holds cuda:0 on local, where this will run, and goes on: F7 v x ends it"


def shown(app: ControlRoom) -> str:
    """All text on the screen in front."""
    return "\n".join(str(widget.render()) for widget in app.screen.query("Static"))


@pytest.mark.slow
async def test_the_form_and_a_plan_tell_of_a_gpu_that_a_chat_server_holds(bench: Bench) -> None:
    bench.run("one")
    serving = ServiceState("cuda-0-a", "local", "cuda:0", "ready", started_at=NOW)
    bench.fleet.quiet_services.told["local"] = [serving]
    async with bench.open() as (app, pilot):
        app.action_launch()
        await settle(pilot, lambda: isinstance(app.screen, LaunchScreen) and LINE in shown(app))
        screen = app.screen
        screen.query_one("#stage", Choice).value = "tok_train"
        await settle(pilot, lambda: "tok_train" in shown(app) and LINE not in shown(app))
        screen.query_one("#stage", Choice).value = "base_train"
        await settle(pilot, lambda: LINE in shown(app))
        await pilot.press("escape")
        bench.fleet.quiet_services.told["local"] = []
        app.action_launch()  # it was ended meanwhile
        await settle(pilot, lambda: isinstance(app.screen, LaunchScreen) and LINE not in shown(app))
        await pilot.press("escape")
        bench.fleet.quiet_services.told["local"] = [serving]
        app.action_plan()
        await settle(pilot, lambda: isinstance(app.screen, PlanScreen) and LINE in shown(app))
