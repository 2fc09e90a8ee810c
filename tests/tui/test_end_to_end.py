"""The control room over the real fleet on this machine: agent, run directory, store, screen."""

from pathlib import Path

import pytest
from textual.widgets import Input

from nanochat.common.paths import Layout
from remote.fleet.fleet import Fleet
from remote.store.store import Store
from tests.tui.conftest import settle
from tui.app import ControlRoom
from tui.screens.launch import LaunchScreen
from tui.screens.run import RunScreen
from tui.widgets.choice import Choice
from tui.widgets.log_view import LogView

pytestmark = pytest.mark.slow


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Two hundred small documents."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(200):
        (folder / f"{number}.txt").write_text(f"document {number} " * 50)
    return folder


async def launch_data_build(app: ControlRoom, pilot, texts: Path) -> None:  # type: ignore[no-untyped-def]
    await settle(pilot, lambda: bool(app.links) and app.links["local"].status == "up", timeout=60)
    app.action_launch()
    await settle(pilot, lambda: isinstance(app.screen, LaunchScreen))
    screen = app.screen
    assert isinstance(screen, LaunchScreen)
    screen.query_one("#stage", Choice).value = "data_build"
    await settle(pilot, lambda: screen._stage == "data_build" and screen.form.is_mounted)
    for row in screen.form.rows():
        if row.field.name == "paths":
            row.text = str(texts)
    screen.query_one("#name", Input).value = "my texts"
    await settle(pilot)
    await pilot.press("ctrl+s")
    await settle(pilot, lambda: bool(app.rows), timeout=60)


async def test_a_stage_launched_from_the_form_is_watched_to_its_end(layout: Layout, texts: Path) -> None:
    app = ControlRoom(layout, fleet=Fleet(layout))
    async with app.run_test(size=(120, 40)) as pilot:
        await launch_data_build(app, pilot, texts)
        await settle(pilot, lambda: isinstance(app.screen, RunScreen), timeout=30)
        await settle(pilot, lambda: not app.rows[0].live, timeout=90)
        assert app.rows[0].status == "succeeded", app.rows[0].reason
        assert app.rows[0].name == "my texts"
        log = app.screen.query_one(LogView)
        await settle(pilot, lambda: any("documents" in line.text for line in log._lines), timeout=20)
    assert list((layout.base / "base_data").glob("*.parquet"))


async def test_the_run_goes_on_without_the_app_and_is_whole_when_it_returns(
    layout: Layout, texts: Path
) -> None:
    app = ControlRoom(layout)
    async with app.run_test(size=(80, 24)) as pilot:
        await launch_data_build(app, pilot, texts)
        key = app.rows[0].key
        await pilot.press("q")
    again = ControlRoom(layout)
    async with again.run_test(size=(80, 24)) as pilot:
        await settle(pilot, lambda: not again.rows[0].live, timeout=90)
        assert again.rows[0].status == "succeeded", again.rows[0].reason
        await settle(pilot, lambda: again.feed.store.events(key)[-1].kind == "stage_end", timeout=30)
    with Store(layout.store) as store:
        events = store.events(key)
        assert [event.seq for event in events] == list(range(len(events)))
        assert events[0].kind == "stage_start"
