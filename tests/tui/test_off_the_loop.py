"""What takes long with a run of 100,000 events never runs on the event loop's thread, nor twice.

How long the loop is held at the worst is a figure, which `bench/plots.py` prints; that nothing whose cost
grows with the run is on the loop at all is what keeps it small, and that is tested here.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

import tui.widgets.plot
from remote.runs import Change
from tests.tui.conftest import Bench, settle, training_events
from tui.data.run_reader import RunReader
from tui.plots.series import Series
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
        await app.action_go("runs")
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
            await settle(pilot, lambda want=step: series.stats().last.step == want, timeout=20)  # type: ignore[misc]
    assert opened == points, "each of the run's points is ingested, and once"
    assert calls.rows("add_values")[calls_before:] == [1] * 8, "a live point costs one point"
    assert {name for name, _, _ in calls.seen} == {"read_update", "add_values", "draw_frame"}
    here = threading.get_ident()
    assert not [name for name, thread, _ in calls.seen if thread == here]
