"""How fast plots draw: a long run opened, one redraw, one live point, and what the event loop feels of it.

    python bench/plots.py [--steps 100000] [--metrics 8] [--size 200x60]

The figure to beat is that of W&B's LEET: 11.5 s and 147 MB until 100,000 steps × 8 metrics are fully drawn.
Rows are in memory already when the clock starts; reading them from the store comes on top. The last lines are
of the whole control room with such a run open: the processor time of the loop's own thread between two looks
5 ms apart, which what else the machine does cannot change.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import random
import resource
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from textual.app import App, ComposeResult

from nanochat.common.paths import Layout
from remote.fleet.fleet import Fleet
from remote.runs import Change
from remote.store.store import Store
from tui.app import ControlRoom
from tui.plots.points import Row
from tui.plots.run_metrics import RunMetrics
from tui.style.themes import DARK
from tui.widgets.plot import Plot
from tui.widgets.plot_grid import PlotGrid

NAMES = ("train/loss", "val/bpb", "train/tok_per_sec", "train/mfu", "train/lrm", "train/grad_norm")


class Room(App[None]):
    def compose(self) -> ComposeResult:
        yield PlotGrid()

    def on_mount(self) -> None:
        self.register_theme(DARK)
        self.theme = "dark"


def synthetic(steps: int, count: int) -> dict[str, list[Row]]:
    """`count` noisy falling curves with a spike each."""
    rng = random.Random(0)
    names = [*NAMES, *(f"train/extra_{index}" for index in range(count))][:count]

    def rows() -> list[Row]:
        spike = rng.randrange(steps)
        return [
            (i, i, 1.79e9 + i, 2 + 8 * math.exp(-9 * i / steps) + rng.random() + 5 * (i == spike), 1)
            for i in range(steps)
        ]

    return {name: rows() for name in names}


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def drawn(app: App[None], count: int, since: dict[Plot, int]) -> None:
    """Wait until `count` visible plots have each drawn a frame with data, newer than `since`."""
    while True:
        ready = [p for p in app.query(Plot) if p.display and p.frame and not p.frame.empty]
        if len(ready) >= count and all(p.drawn > since.get(p, 0) for p in ready):
            return
        await asyncio.sleep(0.002)


async def watch_loop(lags: list[float]) -> None:
    while True:
        before = time.perf_counter()
        await asyncio.sleep(0.005)
        lags.append(time.perf_counter() - before - 0.005)


async def measure(steps: int, count: int, size: tuple[int, int]) -> list[tuple[str, str]]:
    metrics = synthetic(steps, count)
    gc.freeze()  # the made-up rows are no part of the app's own collections
    app, lags, before = Room(), list[float](), peak_mb()
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        grid = app.query_one(PlotGrid)
        watching = asyncio.create_task(watch_loop(lags))
        started = time.perf_counter()
        grid.load("here/a", "d20", metrics)
        columns, rows = grid.shape(count)
        visible = min(count, columns * rows)
        await drawn(app, visible, {})
        opened = time.perf_counter() - started
        opening = sorted(lags)
        lags.clear()
        redraws = []
        for step in range(steps, steps + 8):
            await asyncio.sleep(0.3)
            since = {plot: plot.drawn for plot in app.query(Plot)}
            started = time.perf_counter()
            grid.extend("here/a", {name: [(step, step, 1.79e9 + step, 2.5, 1)] for name in metrics})
            await drawn(app, visible, since)
            redraws.append(time.perf_counter() - started)
        watching.cancel()
    live = sorted(lags)
    return [
        (f"open {steps:,} steps × {count} metrics, all {visible} plots in sight drawn", f"{opened:.2f} s"),
        ("memory that took (peak, over the rows themselves)", f"{peak_mb() - before:.0f} MB"),
        ("event loop held while opening: median, worst", f"{spread(opening)}"),
        (f"a live point in each metric to all {visible} plots redrawn", f"{1e3 * min(redraws):.0f} ms"),
        ("event loop held while live: median, worst", f"{spread(live)}"),
    ]


def spread(lags: list[float]) -> str:
    return f"{1e3 * lags[len(lags) // 2]:.1f} ms, {1e3 * lags[-1]:.0f} ms" if lags else "–"


class QuietFleet(Fleet):
    """Follows nobody."""

    async def start(self, names: Iterable[str] | None = None) -> None:
        return


async def watch_thread(held: list[float]) -> None:
    while True:
        before = time.thread_time()
        await asyncio.sleep(0.005)
        held.append(time.thread_time() - before)


def lines_of(first: int, count: int) -> bytes:
    """`count` events of a training's six metrics, the step being the event's number."""
    data = {"train/loss": 2.5, "train/lrm": 1.0, "train/tok_per_sec": 3600.0, "train/grad_norm": 1.0}
    events = (
        {
            "seq": i,
            "t": 1.79e9 + i,
            "kind": "metric",
            "step": i,
            "data": {**data, "progress": 0.5, "eta_s": 9},
        }
        for i in range(first, first + count)
    )
    return "".join(json.dumps(event) + "\n" for event in events).encode()


async def control_room(steps: int, size: tuple[int, int]) -> list[tuple[str, str]]:
    """How long the loop is held while the Run screen opens on a live run of so many events, and it grows."""
    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(Path(folder))
        fleet = QuietFleet(layout, Store(layout.store))
        run_id = "20260101-000000-base_train-0001"
        about = {"run_id": run_id, "name": "long", "stage": "base_train", "created_at": 1.79e9}
        fleet.store.ingest_state("local", about, {"run_id": run_id, "status": "running", "attempt": 1})
        fleet.store.ingest("local", run_id, "events.jsonl", 0, lines_of(0, steps))
        app, held = ControlRoom(layout, fleet=fleet), list[float]()
        gc.freeze()  # as the app does at its start
        async with app.run_test(size=size) as pilot:
            watching = asyncio.create_task(watch_thread(held))
            await app.action_go("runs")
            await app.action_go("run")
            while not (plots := app.screen.query(Plot)) or not all(p.frame for p in plots if p.region):
                await pilot.pause(0.01)
            opening = sorted(held)
            held.clear()
            for step in range(steps, steps + 8):
                at = fleet.store.offsets("local")[run_id]["events.jsonl"]
                fleet.store.ingest("local", run_id, "events.jsonl", at, lines_of(step, 1))
                app.feed._note(Change("events", "local", run_id))
                await asyncio.sleep(0.4)
            watching.cancel()
    return [
        (f"control room, a live run of {steps:,} events: loop held while opening", spread(opening)),
        ("loop held while it grows", spread(sorted(held))),
    ]


def downsampling() -> list[tuple[str, str]]:
    """The cost of shrinking a million points to 320 columns, and of appending one."""
    run = RunMetrics()
    rng = random.Random(0)
    run.ingest({"train/loss": [(i, i, float(i), rng.random(), 1) for i in range(1_000_000)]})
    series = run.series["train/loss"]
    edges = [i * 1e6 / 320 for i in range(321)]
    started = time.perf_counter()
    for _ in range(10):
        series.downsample(edges)
    shrink = (time.perf_counter() - started) / 10
    started = time.perf_counter()
    for i in range(10_000):
        series.append(1_000_000 + i, 1e6 + i, 0.5)
    append = (time.perf_counter() - started) / 10_000
    return [
        ("1,000,000 points to 320 columns, every extreme kept", f"{1e3 * shrink:.1f} ms"),
        ("append one point to them", f"{1e6 * append:.1f} µs"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--metrics", type=int, default=8)
    parser.add_argument("--size", default="200x60")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    table = asyncio.run(measure(options.steps, options.metrics, (width, height)))
    table += downsampling() + asyncio.run(control_room(options.steps, (width, height)))
    for what, figure in table:
        print(f"{what:<76} {figure:>18}")


if __name__ == "__main__":
    main()
