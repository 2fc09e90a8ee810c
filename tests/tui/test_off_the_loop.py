"""What takes long with much data never runs on the event loop's thread, nor twice: a run of 100,000 events,
runs side by side, the items of evaluations, a filter over many runs.

How long the loop is held at the worst is a figure, which `bench/plots.py` prints; that nothing whose cost
grows with the data is on the loop at all is what keeps it small, and that is tested here.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

import nanochat.evals.items
import nanochat.evals.paired
import tui.screens.compare.screen
import tui.screens.evals.items
import tui.widgets.plot
from nanochat.evals.items import Items
from remote.facts.run_facts import RunFacts
from remote.filter.fields import Vocabulary
from remote.runs import Change
from tests.tui.conftest import Bench, settle, training_events
from tests.tui.screens.evals_bench import choice_item, evaluation, install, write_items
from tui.data.evals.item_list import ItemList, Search
from tui.data.run_reader import RunReader
from tui.plots.compare_figures import FigureMaker
from tui.plots.derived import Derivation
from tui.plots.series import Series
from tui.screens.compare.screen import CompareScreen
from tui.screens.evals.items import ItemsScreen
from tui.screens.runs import RunsScreen
from tui.widgets.plot import Plot
from tui.widgets.plot_grid import NOT_PLOTTED, PlotGrid

EVENTS = 100_000
LOSS = b'{"train/loss": 2.5}'


@dataclass
class Calls:
    """Every call of the functions that are watched: which, in which thread, of how many rows."""

    seen: list[tuple[str, int, int]] = field(default_factory=list)

    def watch(self, patch: pytest.MonkeyPatch, owner: Any, name: str, rows: Callable[..., int]) -> None:
        real = getattr(owner, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            self.seen.append((name, threading.get_ident(), rows(*args)))
            return real(*args, **kwargs)

        patch.setattr(owner, name, watched)

    def here(self) -> set[str]:
        """What was called in the thread of the event loop, which is the test's own."""
        return {name for name, thread, _ in self.seen if thread == threading.get_ident()}

    def rows(self, name: str) -> list[int]:
        return [rows for called, _, rows in self.seen if called == name]


@pytest.fixture
def long_run(bench: Bench) -> tuple[str, int]:
    """A live run of 100,000 events: its key, and how many points they hold."""
    key = bench.run("long", status="running")
    made = training_events(int(EVENTS / 1.04), 200_000)[:EVENTS]
    bench.events(key, made)
    return key, sum(
        len(event["data"].keys() - NOT_PLOTTED) for event in made if event["kind"] != "stage_start"
    )


@pytest.mark.slow
async def test_a_long_run_is_read_ingested_and_drawn_off_the_loop_and_grows_by_what_is_new(
    bench: Bench, long_run: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    key, points = long_run
    host, run_id = key.split("/")
    calls = Calls()
    calls.watch(monkeypatch, RunReader, "read_update", lambda *_: 0)
    calls.watch(monkeypatch, Series, "add_values", lambda series, points: len(points))
    calls.watch(monkeypatch, tui.widgets.plot, "draw_frame", lambda *_: 0)
    async with bench.open(size=(200, 60)) as (app, pilot):
        await app.action_go("run")
        grid = app.screen.query_one(PlotGrid)
        await settle(pilot, lambda: "train/loss" in grid.metrics, timeout=60)
        await settle(pilot, lambda: all(plot.frame for plot in grid.query(Plot) if plot.region), timeout=30)
        series = grid._runs[key].series["train/loss"]
        opened = sum(calls.rows("add_values"))
        calls_before = len(calls.rows("add_values"))
        for step in range(EVENTS, EVENTS + 8):
            bench.store.ingest(
                host,
                run_id,
                "events.jsonl",
                bench.store.offsets(host)[run_id]["events.jsonl"],
                b'{"seq": %d, "t": 1, "kind": "metric", "step": %d, "data": %b}\n' % (step, step, LOSS),
            )
            app.feed._note(Change("events", host, run_id))

            def has_come(step: int = step) -> bool:
                stats = series.stats()
                return stats is not None and stats.last.step == step

            await settle(pilot, has_come, timeout=20)
    assert opened == points, "each of the run's points is ingested, and once"
    assert calls.rows("add_values")[calls_before:] == [1] * 8, "a live point costs one point"
    assert {name for name, _, _ in calls.seen} == {"read_update", "add_values", "draw_frame"}
    assert not calls.here()


@pytest.mark.slow
async def test_runs_side_by_side_are_read_aligned_and_drawn_off_the_loop(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [bench.run(name, age=age) for name, age in (("one", 900), ("two", 800), ("three", 700))]
    for key in keys:
        bench.training(key)
    calls = Calls()
    calls.watch(monkeypatch, RunReader, "read_metrics", lambda *_: 0)
    calls.watch(monkeypatch, tui.screens.compare.screen, "read_facts", lambda *_: 0)
    calls.watch(monkeypatch, Series, "add_values", lambda *_: 0)
    calls.watch(monkeypatch, FigureMaker, "make", lambda *_: 0)
    calls.watch(monkeypatch, Derivation, "__call__", lambda *_: 0)
    calls.watch(monkeypatch, tui.widgets.plot, "draw_frame", lambda *_: 0)
    async with bench.open(size=(160, 50)) as (app, pilot):
        await app.open_comparison(keys)
        screen = app.screen
        assert isinstance(screen, CompareScreen)

        async def drawn() -> None:
            await settle(pilot, lambda: not screen._computing and bool(screen.figures.items))
            await settle(pilot, lambda: all(plot.frame for plot in screen.query(Plot) if plot.region))

        await settle(pilot, lambda: len(screen.plots.run_keys) == 3 and not screen.state.stale_facts)
        await drawn()
        for key in ("v", "b", "a", "full_stop", "d", "r"):
            await pilot.press(key)
            await drawn()
    assert {name for name, _, _ in calls.seen} == {
        "read_metrics",
        "read_facts",
        "add_values",
        "make",
        "__call__",
        "draw_frame",
    }
    assert not calls.here()


@pytest.mark.slow
async def test_items_are_read_listed_searched_and_paired_off_the_loop(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.run("one")
    known = []
    for number in (1, 2):
        records = [choice_item("copa", at, at % (number + 1) != 0) for at in range(60)]
        items = write_items(bench, f"runs/{number}/core-items.jsonl", records)
        known.append(evaluation(number, f"base/d{number}", items=items))
    install(bench, known)
    calls = Calls()
    calls.watch(monkeypatch, nanochat.evals.items, "read_items", lambda *_: 0)
    calls.watch(monkeypatch, nanochat.evals.paired, "compare", lambda *_: 0)
    calls.watch(monkeypatch, ItemList, "rows", lambda *_: 0)
    calls.watch(monkeypatch, Items, "record", lambda *_: 0)
    calls.watch(monkeypatch, Search, "step", lambda *_: 0)
    calls.watch(monkeypatch, tui.screens.evals.items, "prompt_end", lambda *_: 0)
    async with bench.open(size=(120, 40)) as (app, pilot):
        screen = ItemsScreen(known[0], "copa", "", known[1:], known[1])
        app.push_screen(screen)
        await settle(pilot, lambda: bool(screen.table.items) and bool(screen.table.prompts))
        await pilot.press("s")
        screen.action_only()
        await settle(pilot, lambda: len(screen.table.items) == 30)  # those that A has wrong
        screen._search("copa")
        await settle(pilot, lambda: screen.found is not None and screen.found.is_done)
    assert {name for name, _, _ in calls.seen} == {
        "read_items",
        "compare",
        "rows",
        "record",
        "step",
        "prompt_end",
    }
    assert not calls.here()


@pytest.mark.slow
async def test_a_letter_in_the_filter_gathers_no_names_anew_and_columns_are_read_off_the_loop(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.training(bench.run("deep", options={"depth": 20}), steps=30)
    bench.run("flat", age=900, options={"depth": 4})
    calls = Calls()
    calls.watch(monkeypatch, Vocabulary, "__init__", lambda _, rows=(): len(rows))
    calls.watch(monkeypatch, RunFacts, "fill", lambda *_: 0)
    async with bench.open() as (app, pilot):
        await pilot.press("1", "slash")
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        await pilot.press(*"config.depth", "greater_than_sign", "4")
        await settle(pilot, lambda: [run.name for run in screen.table.view.kept] == ["deep"])
        gathered = [rows for rows in calls.rows("__init__") if rows]
        assert gathered == [2], "the names of both runs, once for all letters"
        screen.columns.toggle("best:val/bpb")
        await settle(pilot, lambda: bool(calls.rows("fill")))
    assert "fill" not in calls.here()
