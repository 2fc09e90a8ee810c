"""Panes: sized by key and by mouse, hidden by key, reset, and as they were left at the next start."""

import json
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widget import Widget

from tests.tui.conftest import Bench, settle
from tui.app import ControlRoom
from tui.screens.hosts import HostsScreen
from tui.screens.run import RunScreen
from tui.widgets.log_pane import LogPane
from tui.widgets.plot_grid import PlotGrid


async def run_screen(app: ControlRoom, pilot: Pilot[str]) -> RunScreen:
    await app.action_go("run")
    await settle(
        pilot, lambda: isinstance(app.screen, RunScreen) and bool(app.screen.query_one(LogPane).region)
    )
    assert isinstance(app.screen, RunScreen)
    return app.screen


def height(screen: Widget, selector: str) -> int:
    return screen.query(selector).first().outer_size.height


def width(screen: Widget, selector: str) -> int:
    return screen.query(selector).first().outer_size.width


def kept(bench: Bench, name: str) -> Any:
    path = bench.layout.base / "control-room.json"
    return json.loads(path.read_text()).get(name) if path.exists() else None


async def test_keys_move_the_lines_between_panes_and_ctrl_0_puts_them_back(bench: Bench) -> None:
    bench.run("one")
    async with bench.open() as (app, pilot):
        screen = await run_screen(app, pilot)
        log, side = height(screen, "LogPane"), width(screen, "#side")
        await pilot.press("ctrl+up", "ctrl+up", "ctrl+left")
        await settle(pilot, lambda: height(screen, "LogPane") == log + 2)
        await settle(pilot, lambda: width(screen, "#side") == side + 2)
        await pilot.press("ctrl+down", "ctrl+down", "ctrl+down")
        await settle(pilot, lambda: height(screen, "LogPane") == log - 1)
        await pilot.press("ctrl+0")
        await settle(pilot, lambda: (height(screen, "LogPane"), width(screen, "#side")) == (log, side))


async def test_in_the_side_panel_the_keys_move_the_line_between_machine_and_samples(bench: Bench) -> None:
    bench.run("one", status="running")
    async with bench.open() as (app, pilot):
        screen = await run_screen(app, pilot)
        log, machine = height(screen, "LogPane"), height(screen, "#machine")
        screen.samples.focus()
        await settle(pilot)
        await pilot.press("ctrl+down")
        await settle(pilot, lambda: height(screen, "#machine") == machine + 1)
        assert height(screen, "LogPane") == log


@pytest.mark.slow
@pytest.mark.parametrize(("key", "times"), [("ctrl+up", 25), ("ctrl+down", 10), ("ctrl+left", 25)])
async def test_no_pane_is_pushed_out(bench: Bench, key: str, times: int) -> None:
    bench.run("one")
    async with bench.open() as (app, pilot):
        screen = await run_screen(app, pilot)
        await pilot.press(*[key] * times)
        await settle(pilot)
        assert height(screen, "LogPane") >= 5
        assert height(screen, "PlotGrid") >= 9
        assert width(screen, "PlotGrid") >= 40


async def test_the_mouse_drags_the_lines(bench: Bench) -> None:
    bench.run("one")
    async with bench.open() as (app, pilot):
        screen = await run_screen(app, pilot)
        top, left = screen.query_one(LogPane).region.y, screen.query_one("#side").region.x
        log, side = height(screen, "LogPane"), width(screen, "#side")
        await drag(pilot, (20, top), (25, top - 4))
        await settle(pilot, lambda: height(screen, "LogPane") == log + 4)
        await drag(pilot, (left - 1, 10), (left - 9, 12))
        await settle(pilot, lambda: width(screen, "#side") > side)
        now = height(screen, "LogPane")
        await drag(pilot, (20, 15), (25, 20))  # within a pane
        await settle(pilot)
        assert height(screen, "LogPane") == now
        assert app.mouse_captured is None


async def drag(pilot: Pilot[str], start: tuple[int, int], end: tuple[int, int]) -> None:
    await pilot.mouse_down(offset=start)
    await pilot.hover(offset=end)
    await pilot.mouse_up(offset=end)


async def test_log_and_side_are_hidden_by_a_key_and_the_plots_take_their_place(bench: Bench) -> None:
    bench.run("one")
    async with bench.open() as (app, pilot):
        screen = await run_screen(app, pilot)
        grid = screen.query_one(PlotGrid)
        before = grid.size
        await pilot.press("L")
        await settle(pilot, lambda: not screen.query_one(LogPane).region and grid.size.height > before.height)
        assert "L shows it again" in app.messages.current().text  # type: ignore[union-attr]
        await pilot.press("S")
        await settle(pilot, lambda: grid.size.width >= 118)
        await pilot.press("tab", "tab")  # a pane that is hidden is not gone to
        await settle(pilot)
        assert screen.pane == "plots"
        await pilot.press("L", "S")
        await settle(pilot, lambda: grid.size == before)


async def test_hiding_the_pane_that_has_the_focus_moves_it(bench: Bench) -> None:
    bench.run("one")
    async with bench.open() as (app, pilot):
        screen = await run_screen(app, pilot)
        screen.log_pane.view.focus()
        await settle(pilot, lambda: screen.pane == "log")
        await pilot.press("L")
        await settle(pilot)
        assert app.focused is None or app.focused.region
        await pilot.press("L")
        await settle(pilot, lambda: bool(screen.query_one(LogPane).region))


async def test_panes_are_as_they_were_left_at_the_next_start(bench: Bench) -> None:
    bench.run("one")
    async with bench.open() as (app, pilot):
        screen = await run_screen(app, pilot)
        log = height(screen, "LogPane")
        await pilot.press("ctrl+up", "ctrl+up", "ctrl+up", "S")
        await settle(pilot, lambda: (kept(bench, "panes.run") or {}).get("hidden") == ["side"])
    assert kept(bench, "panes.run") == {"sizes": {"log": log + 3}, "hidden": ["side"]}
    async with bench.open() as (app, pilot):
        screen = await run_screen(app, pilot)
        await settle(pilot, lambda: height(screen, "LogPane") == log + 3)
        assert not screen.query_one("#side").region
    async with bench.open((100, 30)) as (app, pilot):  # tabs: sizes and hiding wait for a wider screen
        await app.action_go("run")
        await settle(pilot)
        app.screen.action_pane("log")  # type: ignore[attr-defined]
        await settle(pilot, lambda: app.screen.query_one(LogPane).size.height > 15)


@pytest.mark.parametrize(
    "value",
    [
        3,
        {"sizes": 3, "hidden": 7},
        {"sizes": {"log": "x", "side": None, "nowhere": 3}, "hidden": ["moon"]},
        {"sizes": {"log": -5, "side": 10_000}},
        {"sizes": {"log": True}},
    ],
)
async def test_odd_settings_do_no_harm(bench: Bench, value: Any) -> None:
    bench.run("one")
    (bench.layout.base / "control-room.json").write_text(json.dumps({"panes.run": value}))
    async with bench.open() as (app, pilot):
        screen = await run_screen(app, pilot)
        await settle(pilot, lambda: height(screen, "LogPane") >= 5 and width(screen, "PlotGrid") >= 40)


async def test_hosts_has_a_line_to_move_too(bench: Bench) -> None:
    bench.run("one")
    async with bench.open() as (app, pilot):
        await pilot.press("7")
        await settle(pilot, lambda: isinstance(app.screen, HostsScreen) and bool(app.screen.table.region))
        table = height(app.screen, "#hosts")
        await pilot.press("ctrl+up", "ctrl+up")
        await settle(pilot, lambda: height(app.screen, "#hosts") == table - 2)
