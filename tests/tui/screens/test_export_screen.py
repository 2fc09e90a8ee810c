"""`x` writes the plot in focus and `X` a run: where it goes is shown, can be changed, and nothing is lost."""

from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from tests.tui.conftest import Bench, settle
from tui.app import ControlRoom
from tui.screens.run import RunScreen
from tui.screens.runs import RunsScreen
from tui.screens.save_as import SaveAs


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the app was started."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def trained(bench: Bench) -> Bench:
    bench.training(bench.run("d 4/x", status="running"), steps=120)
    return bench


async def drawn(app: ControlRoom, pilot: Pilot[str]) -> None:
    def shown() -> bool:
        screen = app.screen
        plot = screen.plots.current if isinstance(screen, RunScreen) else None
        return plot is not None and plot.metric == "train/loss" and plot.frame is not None

    await settle(pilot, shown)


def field(app: ControlRoom) -> Input:
    return app.screen.query_one(Input)


async def asked(app: ControlRoom, pilot: Pilot[str], key: str) -> None:
    await pilot.press(key)
    await settle(pilot, lambda: isinstance(app.screen, SaveAs))


@pytest.mark.slow
async def test_x_writes_the_focused_plot_and_what_is_there_only_after_a_second_enter(
    trained: Bench, here: Path
) -> None:
    async with trained.open() as (app, pilot):
        await drawn(app, pilot)
        await asked(app, pilot, "x")
        assert field(app).value == str(here / "d-4-x-train-loss.svg")
        await pilot.press("enter")
        await settle(pilot, lambda: (here / "d-4-x-train-loss.svg").exists())
        await settle(pilot, lambda: app.message is not None and "wrote" in app.message.text)
        picture = (here / "d-4-x-train-loss.svg").read_text()
        assert "train/loss" in "".join(ElementTree.fromstring(picture).itertext())

        await asked(app, pilot, "x")
        assert field(app).value == str(here / "d-4-x-train-loss-2.svg"), "a free name is offered"
        field(app).value = str(here / "d-4-x-train-loss.svg")
        (here / "d-4-x-train-loss.svg").write_text("mine")
        await pilot.press("enter")
        await settle(pilot, lambda: "enter again replaces it" in str(field(app).border_subtitle))
        assert (here / "d-4-x-train-loss.svg").read_text() == "mine"
        await pilot.press("enter")
        await settle(pilot, lambda: (here / "d-4-x-train-loss.svg").read_text() == picture)

        await asked(app, pilot, "x")
        await pilot.press("tab", "tab")
        assert field(app).value.endswith(".csv")
        await pilot.press("enter")
        await settle(pilot, lambda: app.message is not None and "120 points" in app.message.text)
        rows = pd.read_csv(here / "d-4-x-train-loss-2.csv")
        assert len(rows) == 120 and app.setting("export") == {"folder": str(here), "plot": "csv"}
        await asked(app, pilot, "x")
        assert field(app).value == str(here / "d-4-x-train-loss.csv"), "the kind chosen last"


async def test_what_cannot_be_written_is_said_in_the_dialog_and_nothing_is_left(
    trained: Bench, here: Path
) -> None:
    async with trained.open() as (app, pilot):
        await drawn(app, pilot)
        await asked(app, pilot, "x")
        for name, said in (
            ("", "give the name"),
            ("plot.gif", "end the name in .svg"),
            (str(here / "no" / "x.svg"), "there is no folder"),
            (str(here), "end the name in"),
            ("~nobody-is-called-so/x.svg", "no such home"),
        ):
            field(app).value = name
            await pilot.press("enter")
            await settle(pilot, lambda said=said: said in str(field(app).border_subtitle))  # type: ignore[misc]
        await pilot.press("escape")
        await settle(pilot, lambda: isinstance(app.screen, RunScreen))
        assert not list(here.iterdir())


@pytest.mark.slow
async def test_X_writes_marked_runs_each_to_a_file_of_its_own(trained: Bench, here: Path) -> None:
    trained.training(trained.run("other", age=50), steps=30)
    trained.run("empty", age=20)
    async with trained.open() as (app, pilot):
        await pilot.press("1")
        await settle(pilot, lambda: isinstance(app.screen, RunsScreen))
        await pilot.press("down", "space", "space")
        await asked(app, pilot, "X")
        await pilot.press("tab", "enter")
        await settle(pilot, lambda: len(list(here.iterdir())) == 2)
        await settle(pilot, lambda: app.message is not None and "2 tables" in app.message.text)
        assert sorted(len(pd.read_parquet(path)) for path in here.iterdir()) == [32, 125]
        await pilot.press("escape", "g")
        await asked(app, pilot, "X")
        await pilot.press("enter")
        await settle(pilot, lambda: app.message is not None and "measured nothing" in app.message.text)
        assert len(list(here.iterdir())) == 2


async def test_a_plot_that_shows_nothing_yet_and_a_shared_screen_write_nothing(
    bench: Bench, here: Path
) -> None:
    bench.run("new", status="running")
    async with bench.open() as (app, pilot):
        await settle(pilot, lambda: isinstance(app.screen, RunScreen))
        await pilot.press("x")
        await settle(pilot, lambda: app.message is not None and "no plot" in app.message.text)
    async with bench.open(readonly=True) as (app, pilot):
        await settle(pilot, lambda: isinstance(app.screen, RunScreen))
        await pilot.press("x", "X")
        await settle(pilot)
        assert isinstance(app.screen, RunScreen)
