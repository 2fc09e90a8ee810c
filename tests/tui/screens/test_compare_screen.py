"""The Compare screen: runs side by side, and what becomes of it when they are odd."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from textual.pilot import Pilot

from remote.comparison.comparison import read_comparison
from remote.comparison.figures import metric_cells
from remote.comparison.settings import Facts, read_facts
from remote.comparison.table import blocks
from remote.runs import RunRow
from remote.store.store import Store
from tests.tui.conftest import Bench, settle
from tui.app import ControlRoom
from tui.screens.compare.screen import CompareScreen
from tui.screens.overlay import Overlay
from tui.widgets.plot import Plot


def training(bench: Bench, name: str, steps: int = 60, *, seed: int = 1, **options: Any) -> str:
    """An ended training whose loss depends on its seed."""
    key = bench.run(name, age=4000.0 - 10 * len(bench.store.runs()), options={"seed": seed, **options})
    told = {"stage": "base_train", "attempt": 1, "from_step": 0, "total_steps": steps, "unit": "step"}
    start = {"kind": "stage_start", "data": {**told, "options": {"seed": seed, **options}, "info": {}}}
    bench.events(key, [start, *(metric(at, seed) for at in range(steps))])
    return key


def metric(step: int, seed: int) -> dict[str, Any]:
    tokens = (step + 1) * 100
    data = {"train/loss": 3 + math.exp(-step / 30) + seed / 10, "train/total_tokens": tokens}
    return {"kind": "metric", "step": step, "data": data}


async def opened(app: ControlRoom, pilot: Pilot[str], keys: Sequence[str]) -> CompareScreen:
    """The screen with everything read and drawn."""
    await app.open_comparison(keys)
    screen = app.screen
    assert isinstance(screen, CompareScreen)
    await settle(pilot, lambda: len(screen.plots.run_keys) == len(keys) and not screen.state.stale_facts)
    await drawn(screen, pilot)
    return screen


async def drawn(screen: CompareScreen, pilot: Pilot[str]) -> None:
    await settle(pilot, lambda: not screen._computing and not screen._due and bool(screen.figures.items))
    await settle(pilot, lambda: all(plot.frame for plot in screen.query(Plot) if plot.region))


def row(screen: CompareScreen, metric: str, where: str = "common") -> Mapping[str, str]:
    """A row of the table of figures, by the titles of its columns."""
    found = next(one for one in screen.figures.items if (one.metric, one.where) == (metric, where))
    cells = screen.figures._row_cells(found)
    return {column.title: cells[column.name][0] for column in screen.figures.columns if column.title}


def labels(screen: CompareScreen) -> list[str]:
    plot = screen.plots.current
    assert plot is not None and plot.frame is not None
    return [legend.label for legend in plot.frame.legends if legend.points]


async def test_marked_runs_are_compared_oldest_first(bench: Bench) -> None:
    training(bench, "old", depth=4)
    training(bench, "new", depth=6)
    async with bench.open() as (app, pilot):
        await pilot.press("1", "c")
        assert any("takes two to 6 runs" in said.text for said in app.messages)
        await pilot.press("space", "space", "c")
        await settle(pilot, lambda: isinstance(app.screen, CompareScreen))
        screen = app.screen
        assert isinstance(screen, CompareScreen)
        await drawn(screen, pilot)
        assert [one.name for one in screen.heads.runs] == ["old", "new"]
        assert [one.name for one in screen.settings.items if one.differs] == ["depth"]
        await pilot.press("d")
        assert [one.name for one in screen.settings.items] == ["depth"]
        await pilot.press("escape")
        assert type(app.screen).__name__ == "RunsScreen"


async def test_the_screen_tells_the_figures_of_the_command(bench: Bench) -> None:
    keys = [training(bench, f"s{seed}", 300 + 20 * seed, seed=seed) for seed in (1, 2)]
    async with bench.open((200, 60)) as (app, pilot):
        screen = await opened(app, pilot, keys)
        comparison = read_comparison(bench.store, [bench.store.find(key) for key in keys])
        for axis in ("step", "tokens"):
            assert screen.plots.view.axis == axis
            columns = comparison.columns(axis)
            wanted = [
                (where, tuple(metric_cells(one, block, columns)))
                for where, block in blocks(columns, (), None)
                for one in block.rows
            ]
            assert [(one.where, one.cells) for one in screen.figures.items] == wanted and wanted
            await pilot.press("a")
            await drawn(screen, pilot)


async def test_the_cursor_and_kept_places_are_rows_of_the_table(bench: Bench) -> None:
    keys = [training(bench, f"s{seed}", seed=seed) for seed in (1, 2)]
    async with bench.open() as (app, pilot):
        screen = await opened(app, pilot, keys)
        assert row(screen, "train/loss")["B-A"] == "+0.1000"
        await pilot.press("m")
        assert "no cursor" in app.messages.current().text  # type: ignore[union-attr]
        await pilot.press("comma", "comma", "comma")
        await drawn(screen, pilot)
        at = screen.plots.cursor
        assert at is not None
        found = row(screen, "train/loss", "cursor")
        assert found["B-A"] == "+0.1000" and found["at"] == f"step {at:,.1f}"
        await pilot.press("m", "0")
        await drawn(screen, pilot)
        assert screen.plots.cursor is None
        assert row(screen, "train/loss", "kept") == found
        await pilot.press("M")
        await settle(pilot)
        await pilot.press(*"50%", "enter")
        await settle(pilot, lambda: len(screen.state.places_on("step")) == 2)
        assert screen.state.places_on("step")[0] == 29.5
        await pilot.press("a")
        await settle(pilot, lambda: "tokens" in row(screen, "train/loss")["at"])
        assert not [one for one in screen.figures.items if one.where == "kept"], "those were steps"
        while screen.plots.view.axis != "step":
            await pilot.press("a")
            await settle(pilot)
        await settle(pilot, lambda: any(one.where == "kept" for one in screen.figures.items))


async def test_the_gap_is_drawn_instead_of_the_values(bench: Bench) -> None:
    keys = [training(bench, f"s{seed}", 40 + 20 * seed, seed=seed) for seed in (1, 2, 3)]
    async with bench.open() as (app, pilot):
        screen = await opened(app, pilot, keys)
        assert labels(screen) == ["A s1", "B s2", "C s3"]
        await pilot.press("v")
        await settle(pilot, lambda: labels(screen) == ["B-A", "C-A"])
        frame = screen.plots.current.frame  # type: ignore[union-attr]
        assert frame is not None and frame.caption == "gap to A"
        ends = [legend.line.last for legend in frame.legends if legend.line]
        assert ends == pytest.approx([0.1, 0.2])
        assert frame.y[0] <= 0 <= frame.y[1]
        readings = [reading for reading in frame.legends[1].readings if reading is not None]
        assert max(reading.step for reading in readings) == 59, "A ends there"
        await pilot.press("r")
        await settle(pilot, lambda: labels(screen) == ["C-B", "A-B"])
        assert row(screen, "train/loss")["A-B"] == "-0.1000"


async def test_seeds_are_one_line_with_a_band(bench: Bench) -> None:
    keys = [training(bench, f"s{seed}", seed=seed, depth=4) for seed in (1, 2, 3)]
    keys.append(training(bench, "deep", seed=9, depth=6))
    async with bench.open((200, 60)) as (app, pilot):
        screen = await opened(app, pilot, keys)
        await pilot.press("b")
        await settle(pilot, lambda: labels(screen) == ["ABC", "D deep"])
        await drawn(screen, pilot)
        frame = screen.plots.current.frame  # type: ignore[union-attr]
        assert frame is not None and frame.caption == "mean, min to max"
        mean, band = frame.legends[0].line, frame.legends[0].raw
        assert mean is not None and band is not None
        assert band.low == pytest.approx(mean.low - 0.1) and band.high == pytest.approx(mean.high + 0.1)
        assert row(screen, "train/loss")["ABC"] == "3.340 [3.240–3.440]"
        await pilot.press("B")
        await settle(pilot, lambda: "±" in row(screen, "train/loss")["ABC"])
        assert row(screen, "train/loss")["ABC"] == "3.340 ±0.0577"
        await pilot.press("b")
        await settle(pilot, lambda: labels(screen) == ["A s1", "B s2", "C s3", "D deep"])
        assert "no two of these are runs with the same tag" in app.messages.current().text  # type: ignore[union-attr]


async def test_one_group_of_all_has_its_mean_and_no_gap(bench: Bench) -> None:
    keys = [training(bench, f"s{seed}", seed=seed, depth=4) for seed in (1, 2)]
    async with bench.open() as (app, pilot):
        screen = await opened(app, pilot, keys)
        await pilot.press("v", "b")
        await settle(pilot, lambda: labels(screen) == ["AB"])
        await drawn(screen, pilot)
        assert row(screen, "train/loss")["AB"].startswith("3.290")
        await pilot.press("v", "v")
        assert "all runs are one group" in app.messages.current().text  # type: ignore[union-attr]
        assert not screen.notes.display


async def test_of_six_runs_four_are_drawn_and_the_others_follow(bench: Bench) -> None:
    keys = [training(bench, f"s{seed}", seed=seed) for seed in range(6)]
    async with bench.open() as (app, pilot):
        screen = await opened(app, pilot, keys)
        assert labels(screen) == ["A s0", "B s1", "C s2", "D s3"]
        assert [one.colour for one in screen.heads.runs] == [0, 1, 2, 3, None, None]
        await pilot.press("r", "r")
        await settle(pilot, lambda: labels(screen) == ["C s2", "D s3", "E s4", "F s5"])
        await pilot.press("o")
        await settle(pilot, lambda: isinstance(app.screen, Overlay))
        await pilot.press("enter")  # the first is compared already: removed
        await settle(pilot, lambda: len(screen.state.keys) == 5)
        assert len(screen.plots.run_keys) == 5 and len(screen.heads.runs) == 5


async def test_odd_runs_are_told_in_a_line_and_the_rest_goes_on(bench: Bench) -> None:
    good = training(bench, "good")
    bad = training(bench, "bad", 30, seed=2)
    bench.events(bad, [{"kind": "metric", "step": 30, "data": {"train/loss": "NaN"}}])
    other = bench.run("chat", "chat_sft", "running", age=100.0)
    async with bench.open((200, 60)) as (app, pilot):
        screen = await opened(app, pilot, [good, bad, other])
        text = str(screen.notes.render())
        assert "stages differ (base_train, chat_sft)" in text
        assert "B: NaN or infinite 1 of train/loss, left out" in text
        assert "C: not started, its options are as given" in text
        assert row(screen, "train/loss")["B-A"] == "+0.1000"
        assert row(screen, "train/loss")["C"] == "–"


async def test_what_a_live_run_adds_is_drawn(bench: Bench) -> None:
    keys = [training(bench, "ended", 40), training(bench, "live", 20, seed=2)]
    async with bench.open() as (app, pilot):
        screen = await opened(app, pilot, keys)
        assert row(screen, "train/loss")["at"] == "step 19"
        bench.events(keys[1], [metric(at, 2) for at in range(20, 30)])
        await app.reread()
        screen._overlays.note(keys)
        screen._read()
        await settle(pilot, lambda: row(screen, "train/loss")["at"] == "step 29")


async def test_a_run_that_is_gone_stays_as_it_was_read(bench: Bench) -> None:
    keys = [training(bench, f"s{seed}", seed=seed) for seed in (1, 2)]
    async with bench.open() as (app, pilot):
        screen = await opened(app, pilot, keys)
        before = row(screen, "train/loss")
        app._on_rows([run for run in app.rows if run.key != keys[1]], frozenset())
        await pilot.press("v")
        await settle(pilot, lambda: "B: removed meanwhile" in str(screen.notes.render()))
        assert row(screen, "train/loss") == before
        assert [one.gone for one in screen.heads.runs] == [False, True]


async def test_runs_removed_while_their_facts_are_read_are_left_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [training(bench, f"s{seed}", seed=seed) for seed in range(4)]
    reading, go_on = threading.Event(), threading.Event()

    def slowly(store: Store, run: RunRow) -> Facts:
        reading.set()
        assert go_on.wait(10)
        return read_facts(store, run)

    monkeypatch.setattr("tui.screens.compare.screen.read_facts", slowly)
    async with bench.open() as (app, pilot):
        await app.open_comparison(keys)
        screen = app.screen
        assert isinstance(screen, CompareScreen)
        await settle(pilot, reading.is_set)
        screen._turn(keys[0])  # its facts are being read
        screen._turn(keys[1])  # its facts are next
        go_on.set()
        await settle(pilot, lambda: not screen.state.stale_facts)
        assert list(screen.state.facts) == keys[2:]


async def test_it_is_copied_as_markdown(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [training(bench, f"s{seed}", seed=seed) for seed in (1, 2)]
    copied: list[str] = []

    async def copy_text(room: Any, text: str, what: str) -> None:
        copied.append(text)

    monkeypatch.setattr("tui.actions.run.copy_text", copy_text)
    async with bench.open() as (app, pilot):
        await opened(app, pilot, keys)
        await pilot.press("y")
        await settle(pilot, lambda: bool(copied))
    assert "## metrics at the last common point: step 59" in copied[0]
    assert "| train/loss | step 59" in copied[0]


async def test_a_run_is_compared_with_those_drawn_over_it(bench: Bench) -> None:
    keys = [training(bench, f"s{seed}", seed=seed) for seed in (1, 2)]
    async with bench.open() as (app, pilot):
        app.open_run(keys[1])
        await settle(pilot, lambda: type(app.screen).__name__ == "RunScreen")
        await pilot.press("c")
        await settle(pilot, lambda: isinstance(app.screen, Overlay))
        await pilot.press("enter")
        await settle(pilot, lambda: isinstance(app.screen, CompareScreen))
        assert app.screen.state.keys == [keys[1], keys[0]]  # type: ignore[attr-defined]


async def test_narrow_panes_are_tabs(bench: Bench) -> None:
    keys = [training(bench, f"s{seed}", seed=seed) for seed in (1, 2)]
    async with bench.open((80, 24)) as (app, pilot):
        screen = await opened(app, pilot, keys)
        seen = []
        for _ in range(3):
            seen.append(
                [name for name in ("plots", "figures", "settings") if screen.query_one(f"#{name}").region]
            )
            await pilot.press("tab")
            await settle(pilot)
        assert seen == [["plots"], ["figures"], ["settings"]]
