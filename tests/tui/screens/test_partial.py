"""What is half read, not written, or newer than the last reading is said and not passed over."""

import asyncio
import sqlite3
import threading

import pytest

from remote.key_metric import key_figure
from remote.run_summary import reading
from remote.runs import Change, Link, split_key
from remote.store import database
from tests.tui.conftest import NOW, Bench, settle
from tui.data.run_reader import RunReader, RunUpdate
from tui.screens.base import ControlScreen
from tui.screens.run import RunScreen
from tui.widgets.banner import Banner
from tui.widgets.plot import Plot
from tui.widgets.plot_grid import PlotGrid
from tui.widgets.run_header import RunHeader

LARGE = 159 << 20


def tell_size(bench: Bench, key: str, size: int) -> None:
    """The host says how large the run's log is."""
    host, run_id = split_key(key)
    row = bench.store.run(key)
    assert row is not None
    state = {"run_id": run_id, "status": row.status, "attempt": 1, "started_at": row.started_at}
    run = {"run_id": run_id, "name": row.name, "stage": row.stage, "created_at": row.created_at}
    ended = {} if row.live else {"ended_at": row.ended_at}
    bench.store.ingest_state(host, run, {**state, **ended}, sizes={"events.jsonl": size})


def text_of(screen: object) -> str:
    assert isinstance(screen, ControlScreen)
    lines = screen._compositor.render_strips(screen.size)
    return "\n".join("".join(segment.text for segment in line) for line in lines)


async def test_a_run_that_is_half_read_says_so_wherever_its_figures_are(bench: Bench) -> None:
    key = bench.run("demo")
    bench.training(key, steps=300, total=300)
    tell_size(bench, key, LARGE)
    row = bench.store.run(key)
    assert row is not None and row.partial
    share = f"reading 0 % ({round(row.read_bytes / 1024, 1)}K of 159M)"
    assert reading(row) == share and str(key_figure(row)) == "reading 0 %"
    async with bench.open((160, 50)) as (app, pilot):
        await settle(pilot, lambda: "reading 0 %" in text_of(app.screen))
        assert "bpb" not in text_of(app.screen) and "100%" not in text_of(app.screen)
        await pilot.press("2")
        await settle(pilot, lambda: isinstance(app.screen, RunScreen))
        await settle(pilot, lambda: all(plot.frame for plot in app.screen.query(Plot) if plot.region))
        await settle(pilot, lambda: text_of(app.screen).count(share) == 3)  # header, plots, summary
        shown = text_of(app.screen)
        assert "so far" in shown and "best" not in shown and "100%" not in shown and "mean" not in shown
        tell_size(bench, key, row.read_bytes)
        app.feed._note(Change("run", *split_key(key)))
        await settle(
            pilot, lambda: "reading" not in text_of(app.screen) and "so far" not in text_of(app.screen)
        )
        assert "best" in text_of(app.screen) and "100%" in text_of(app.screen)
        assert not app.screen.query_one("#reading").display


async def test_a_half_read_run_of_a_silent_host_says_both(bench: Bench) -> None:
    key = bench.run("demo")
    bench.training(key, steps=30)
    tell_size(bench, key, LARGE)
    bench.fleet.links["local"] = Link("down", NOW - 60, NOW - 60, None, None, "gone")
    async with bench.open((160, 50)) as (app, pilot):
        await pilot.press("2")
        await settle(pilot, lambda: isinstance(app.screen, RunScreen))
        header = app.screen.query_one(RunHeader)
        await settle(pilot, lambda: "· no contact for" in str(header.render()))
        assert "reading 0 %" in str(header.render()) and "succeeded?" not in str(header.render())


@pytest.mark.slow
async def test_a_store_that_cannot_be_written_is_a_line_over_every_screen(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.05)
    monkeypatch.setattr(database, "STEADY", 0.0)
    key = bench.run("demo", status="running")
    other = sqlite3.connect(bench.store.path, isolation_level=None, check_same_thread=False)

    def banner() -> Banner:
        assert isinstance(app.screen, ControlScreen)
        return app.screen.banner

    async with bench.open((120, 40)) as (app, pilot):
        await settle(pilot)
        assert not banner().display
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(database.StoreUnwritable):
            await asyncio.to_thread(bench.store.contact, "local", NOW)
        for keys in ("1", "2", "7", "n"):
            await pilot.press(keys)
            await settle(
                pilot,
                lambda: (
                    "another program holds it locked" in banner().text and "✖ cannot" in text_of(app.screen)
                ),
            )
        await pilot.press("escape")
        await pilot.press("f")
        other.execute("ROLLBACK")
        await asyncio.to_thread(bench.store.pin, key)
        await settle(pilot, lambda: not banner().display)
        assert "cannot write" not in text_of(app.screen)
    other.close()


async def test_what_comes_during_a_reading_is_read_after_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = bench.run("demo", status="running")
    bench.training(key, steps=20)
    reading_now, go_on = threading.Event(), threading.Event()
    read_update, slow = RunReader.read_update, [False]

    def read(reader: RunReader) -> RunUpdate:
        update = read_update(reader)
        if slow[0]:
            slow[0] = False
            reading_now.set()
            go_on.wait(10)
        return update

    monkeypatch.setattr(RunReader, "read_update", read)
    async with bench.open() as (app, pilot):
        grid = app.screen.query_one(PlotGrid)
        await settle(pilot, lambda: "train/loss" in grid.metrics)
        series = grid._runs[key].series["train/loss"]
        await settle(pilot, lambda: len(series) == 20)
        slow[0] = True
        app.feed._note(Change("events", *split_key(key)))
        await settle(pilot, reading_now.is_set)
        bench.events(key, [{"kind": "metric", "step": 20 + n, "data": {"train/loss": 1.0}} for n in range(5)])
        app.feed._note(Change("events", *split_key(key)))
        await settle(pilot, lambda: not app.feed._changes)
        await pilot.pause(0.3)
        go_on.set()
        await settle(pilot, lambda: len(series) == 25)
