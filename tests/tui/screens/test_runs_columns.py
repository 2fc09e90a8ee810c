"""Runs: chosen columns, money and sums, and the curve of the run under the cursor."""

import threading
from typing import Any

import pytest
from textual.pilot import Pilot

from remote.facts.run_facts import RunFacts
from remote.filter.fields import Vocabulary
from remote.hosts.book import Host, HostBook
from remote.store.store import Store
from tests.tui.conftest import Bench, settle
from tests.tui.screens.test_runs_screen import shown, table, text
from tui.app import ControlRoom
from tui.data.key_curve import KeyCurves
from tui.screens.column_dialog import ColumnDialog
from tui.screens.run import RunScreen
from tui.screens.runs import RunsScreen
from tui.widgets.run_header import RunHeader
from tui.widgets.run_preview import NOTHING, RunPreview

HOUR = 3600.0


@pytest.fixture
def three(bench: Bench) -> Bench:
    """Three runs: of an hour on a host with a price, live on the same, and on one without."""
    HostBook(bench.layout).add(Host("box", address="10.0.0.7", price_per_hour=24.0))
    long = bench.run("long", age=2 * HOUR, host="box", options={"depth": 20}, state={"ended_at": 0})
    bench.store.ingest_state(
        "box",
        {
            "run_id": long.split("/")[1],
            "name": "long",
            "created_at": 1.0,
            "stage": "base_train",
            "options": {"depth": 20},
        },
        {
            "status": "succeeded",
            "started_at": 1000.0,
            "ended_at": 1000.0 + HOUR,
            "attempt": 1,
            "heartbeat": 9e9,
        },
    )
    bench.training(long, steps=60)
    bench.run("short", age=400, options={"depth": 4})
    return bench


async def choose(app: ControlRoom, pilot: Pilot[str], *words: str) -> None:
    await pilot.press("v")
    await settle(pilot, lambda: isinstance(app.screen, ColumnDialog))
    for word in words:
        app.screen.search.value = word  # type: ignore[attr-defined]
        await settle(pilot)
        await pilot.press("enter")
    await pilot.press("escape")
    await settle(pilot, lambda: isinstance(app.screen, RunsScreen))


async def test_an_option_a_metric_and_a_best_become_columns_sort_and_hold_after_the_next_start(
    three: Bench,
) -> None:
    async with three.open(size=(120, 40)) as (app, pilot):
        await choose(app, pilot, "config.depth", "best:val/bpb", "built plan")
        await settle(pilot, lambda: "best bpb" in text(app))
        header = text(app).splitlines()[0].split()
        assert header.index("result") < header.index("depth") < header.index("created▼")
        rows = {line.split()[2]: line for line in text(app).splitlines() if "succeeded" in line}
        assert " 20 " in rows["long"] and " 4 " in rows["short"]
        best = min(three.store.series(app.rows[-1].key, "val/bpb").value)
        await settle(pilot, lambda: f"{best:.3f}" in text(app))
        table(app).set_order("config.depth")
        await settle(pilot)
        assert shown(app) == ["long", "short"] and "depth▼" in text(app)
        await pilot.press("O")
        await settle(pilot, lambda: shown(app) == ["short", "long"])
        await settle(pilot, lambda: app.setting("runs")["order"] == "config.depth")
    async with three.open(size=(120, 40)) as (app, pilot):
        await settle(pilot, lambda: "depth▲" in text(app))
        assert shown(app) == ["short", "long"]
        await settle(pilot, lambda: f"{best:.3f}" in text(app))
        await choose(app, pilot, "config.depth")
        assert "depth" not in text(app) and table(app).order == "started"


async def test_a_chosen_column_is_among_those_of_a_narrow_screen(three: Bench) -> None:
    async with three.open(size=(80, 24)) as (app, pilot):
        await choose(app, pilot, "config.depth")
        header = text(app).splitlines()[0]
        assert "depth" in header and "result" in header and "name" in header


async def test_a_column_that_no_run_has_any_more_is_left_out_and_kept(three: Bench) -> None:
    app = three.app()
    app.settings.set("runs", {"columns": {"add": ["config.gone", 7, "val/bpb"], "hide": ["note", "name"]}})
    async with three.open(size=(120, 40)) as (app, pilot):
        await settle(pilot, lambda: "bpb" in text(app).splitlines()[0])
        assert "reason" not in text(app) and " name" in text(app)
        await pilot.press("o")
        await settle(pilot)
        assert app.setting("runs")["columns"] == {"add": ["config.gone", "val/bpb"], "hide": ["note"]}


async def test_an_order_by_a_column_that_no_run_has_yet_is_kept_until_the_user_sorts(three: Bench) -> None:
    kept = {"order": "config.late", "descending": True, "columns": {"add": ["config.late"], "hide": ["note"]}}
    app = three.app()
    app.settings.set("runs", kept)
    for sorts in (False, True):
        async with three.open(size=(120, 40)) as (app, pilot):
            if sorts:
                await pilot.press("o", "O")
            await pilot.press("ctrl+w")
            await settle(pilot)
            found = table(app)
            here = (found.order, found.descending)
            wanted = here if sorts else ("config.late", True)
            assert (app.setting("runs")["order"], app.setting("runs")["descending"]) == wanted
            if sorts:  # the column comes after all
                three.run("late", age=300, options={"late": 1})
                await app.reread()
                screen = app.screen
                assert isinstance(screen, RunsScreen)
                screen.columns._resolve(["config.late"], Vocabulary(app.rows))
                assert "config.late" in found.orders and (found.order, found.descending) == here


async def test_money_is_told_with_unknown_prices_and_summed_over_marked_and_filtered_runs(
    three: Bench,
) -> None:
    async with three.open(size=(140, 40)) as (app, pilot):
        await settle(pilot, lambda: "spent" in text(app).splitlines()[0])
        assert "$24.00" in text(app) and "unknown" in text(app)

        def sums() -> str:
            return str(table(app).border_subtitle)

        await settle(pilot, lambda: sums() == "$24.00 spent, 1 run unknown")
        await pilot.press("space")  # short, whose host has no price
        await settle(pilot, lambda: sums() == "")
        await pilot.press("escape", "slash", *"long", "enter")
        await settle(pilot, lambda: sums() == "$24.00 spent")


async def test_the_curve_under_the_cursor_is_read_off_the_loop_once_and_not_in_passing(
    three: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(6):
        three.training(three.run(f"more-{index}", age=3000 + index), steps=30 + index)
    reads: list[tuple[str, bool]] = []
    real = Store.series

    def series(store: Store, key: str, name: str, after: int = -1) -> Any:
        reads.append((key, threading.current_thread() is threading.main_thread()))
        return real(store, key, name, after)

    monkeypatch.setattr(Store, "series", series)
    async with three.open(size=(120, 40)) as (app, pilot):
        preview = app.screen.query_one(RunPreview)
        await settle(pilot, lambda: bool(preview.words.display))  # `short` has measured nothing
        assert NOTHING in str(preview.words.render())
        assert not reads
        for _ in range(6):
            await pilot.press("down")  # quicker than a run is rested on
        await settle(pilot, lambda: preview.curve is not None and preview.curve.label == "more-5")
        await settle(pilot, lambda: preview.plot.frame is not None and not preview.plot.frame.empty)
        assert len({key for key, _ in reads}) <= 3 and not any(on_loop for _, on_loop in reads)
        assert preview.plot.metric == "train/loss"
        before = len(reads)
        await pilot.press("up")
        await settle(pilot, lambda: preview.curve is not None and preview.curve.label == "more-4")
        await pilot.press("down")
        await settle(pilot, lambda: preview.curve is not None and preview.curve.label == "more-5")
        await settle(pilot)
        assert len(reads) <= before + 1, "a curve that is known is not read again"
        await pilot.press("V")
        await settle(pilot, lambda: not preview.display)
        await pilot.resize_terminal(200, 60)
        await settle(pilot)
        assert not preview.display, "hidden stays hidden"
        await pilot.press("V")
        await settle(pilot, lambda: preview.region.x > table(app).region.x + 80)


@pytest.mark.slow
async def test_the_curve_of_a_live_run_grows_and_a_small_screen_has_none(
    three: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.widgets.run_preview.AGAIN", 0.1)
    live = three.run("live", status="running", age=10)
    three.training(live, steps=40)
    async with three.open(size=(120, 40)) as (app, pilot):
        await pilot.press("1")
        preview = app.screen.query_one(RunPreview)
        await settle(pilot, lambda: preview.curve is not None and preview.curve.label == "live")
        points = preview.curve.points  # type: ignore[union-attr]
        assert points is not None and len(points) == 40
        three.events(live, [{"kind": "metric", "step": 40, "data": {"train/loss": 2.0}}])
        await app.reread()
        await settle(
            pilot, lambda: preview.curve is not None and len(preview.curve.points or ()) == 41, timeout=8
        )
    async with three.open(size=(80, 24)) as (app, pilot):
        await pilot.press("1")
        await settle(pilot)
        assert not app.screen.query(RunPreview)


def test_curves_are_kept_up_to_a_bound(three: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.data.key_curve.MOST_POINTS", 100)
    for index in range(4):
        three.training(three.run(f"more-{index}", age=3000 + index), steps=60)
    curves = KeyCurves()
    rows = [run for run in three.store.runs() if run.name.startswith("more")]
    for run in rows:
        assert len(curves.read(three.store, run).points or ()) == 60
    assert [curves.known(run) is not None for run in rows] == [False, False, False, True]


def test_a_curve_is_looked_up_by_the_name_that_the_store_has(bench: Bench) -> None:
    key = bench.run("odd")
    bench.events(key, [{"kind": "metric", "step": at, "data": {"x" * 200: 1.0}} for at in range(3)])
    (row,) = bench.store.runs()
    found = KeyCurves().read(bench.store, row)
    assert len(found.points or ()) == 3 and found.metric in row.latest


async def test_the_header_of_a_run_tells_money_of_all_its_attempts(bench: Bench, frozen_clock: float) -> None:
    HostBook(bench.layout).add(Host("box", address="10.0.0.7", price_per_hour=36.0))
    state = {"attempt": 2, "started_at": frozen_clock - 1000.0, "heartbeat": frozen_clock}
    key = bench.run("live", status="running", host="box", state=state)
    start = {"kind": "stage_start", "data": {"attempt": 1, "from_step": 0, "total_steps": 10}}
    again = {"kind": "stage_start", "data": {"attempt": 2, "from_step": 1, "total_steps": 10}}
    metric = {"kind": "metric", "step": 1, "data": {"train/loss": 2.0, "eta_s": 500.0}}
    bench.events(
        key, [start | {"t": 100.0}, metric | {"t": 600.0}, again | {"t": 900.0}, metric | {"t": 901.0}]
    )
    for width, said in ((120, "$15.00 spent, $20.00 forecast"), (80, "$15.00 of $20.00")):
        async with bench.open(size=(width, 30)) as (app, pilot):
            header = app.screen.query_one(RunHeader)
            await settle(pilot, lambda header=header, said=said: said in str(header.render()))  # type: ignore[misc]


async def test_a_run_of_a_host_without_a_price_has_nothing_read_for_money(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    HostBook(bench.layout).add(Host("box", address="10.0.0.7", price_per_hour=36.0))
    bench.run("free", status="running", state={"attempt": 2})
    read: list[RunFacts] = []
    monkeypatch.setattr(RunFacts, "fill", lambda facts, *_: bool(read.append(facts)))
    async with bench.open() as (app, pilot):
        screen = app.screen
        assert isinstance(screen, RunScreen)
        await settle(pilot, lambda: screen.header.run is not None and screen.header.facts.priced)
        screen.changed(frozenset())
        await settle(pilot)
        assert screen.header.facts not in read
