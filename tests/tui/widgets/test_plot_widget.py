"""Plots in a running app: the mouse reads exact data, one cursor serves all plots, the loop never waits."""

import asyncio
import gc
import math
import time
from collections.abc import Callable

import pytest
from textual.app import App, ComposeResult
from textual.geometry import Size
from textual.pilot import Pilot

from nanochat.common.errors import UserError
from tui.plots.frame import Alert
from tui.plots.points import Row
from tui.plots.run_metrics import RunMetrics
from tui.style.themes import THEMES
from tui.widgets.plot import WAITING, Plot
from tui.widgets.plot_grid import PlotGrid, grid_shape

Metrics = dict[str, list[Row]]


class Room(App[None]):
    def __init__(self) -> None:
        super().__init__()
        self.cursors: list[float | None] = []

    def compose(self) -> ComposeResult:
        yield PlotGrid(id="grid")

    def on_mount(self) -> None:
        for theme in THEMES.values():
            self.register_theme(theme)
        self.theme = "dark"

    def on_plot_cursor_moved(self, event: Plot.CursorMoved) -> None:
        self.cursors.append(event.x)


def rows(value: Callable[[int], float | str], steps: range, attempt: int = 1) -> list[Row]:
    return [(i, i, 1000.0 + i, value(i), attempt) for i in steps]


def training(steps: int = 1001) -> Metrics:
    every, evals = range(steps), range(0, steps, 100)
    return {
        "train/loss": rows(lambda i: 10.0 - i / 200, every),
        "val/bpb": rows(lambda i: 2.0 - i / 1000, evals),
        "train/tok_per_sec": rows(lambda i: 1000.0, every),
        "train/total_tokens": rows(lambda i: i * 4096.0, every),
        "progress": rows(lambda i: i / steps, every),
    }


def lines(plot: Plot) -> list[str]:
    return [plot.render_line(y).text for y in range(plot.size.height)]


async def settled(pilot: Pilot[None], plots: int | None = None) -> list[Plot]:
    """The visible plots once nothing is left to draw."""
    for _ in range(200):
        await pilot.pause(0.02)
        shown = [plot for plot in pilot.app.query(Plot) if plot.display]
        busy = any(p._drawing or p._dirty or p._wanted or p.frame is None for p in shown)
        if not busy and (plots is None or len(shown) == plots):
            return shown
    raise AssertionError("the plots never came to rest")


@pytest.mark.parametrize(
    ("size", "count", "shape"),
    [
        ((72, 24), 10, (2, 3)),  # what 120×40 leaves beside machine and log
        ((72, 19), 10, (2, 2)),  # and with alerts
        ((72, 24), 2, (1, 2)),
        ((80, 19), 10, (2, 2)),  # 80×24
        ((139, 38), 10, (3, 4)),  # 200×60
        ((120, 38), 10, (3, 4)),
        ((198, 57), 3, (2, 2)),
        ((20, 5), 10, (1, 1)),
    ],
)
def test_as_many_plots_are_shown_as_read_well(
    size: tuple[int, int], count: int, shape: tuple[int, int]
) -> None:
    assert grid_shape(Size(*size), count) == shape


@pytest.mark.parametrize(("size", "shape"), [((80, 24), (2, 2)), ((120, 40), (2, 2)), ((200, 60), (2, 2))])
async def test_the_grid_uses_the_room_there_is(size: tuple[int, int], shape: tuple[int, int]) -> None:
    app = Room()
    async with app.run_test(size=size) as pilot:
        grid = app.query_one(PlotGrid)
        grid.load("here/a", "d4", training())
        shown = await settled(pilot, 4)
        assert shown[0].metric == "train/loss" and shown[1].metric == "val/bpb"
        assert "progress" not in grid.metrics
        assert grid.shape(len(grid.metrics)) == shape
        assert all(plot.size.width * shape[0] <= size[0] for plot in shown)
        for plot in shown:
            assert [len(line) for line in lines(plot)] == [plot.size.width] * plot.size.height


async def test_the_mouse_reads_the_value_under_it_in_all_plots() -> None:
    app = Room()
    async with app.run_test(size=(120, 40)) as pilot:
        grid = app.query_one(PlotGrid)
        grid.load("here/a", "d4", training())
        while grid.next_smoothing():
            pass
        loss, bpb, *_ = await settled(pilot, 4)
        assert loss.frame is not None and bpb.frame is not None
        for column in (0, 7, loss.frame.columns - 1):
            await pilot.hover(loss, offset=(loss.frame.left + column, 3))
            await pilot.pause()
            x = loss.frame.x_at(column)
            assert app.cursors[-1] == pytest.approx(x)
            assert bpb.cursor == pytest.approx(x)
            step = round(x)
            assert f"step {step:,}" in lines(loss)[0]
            assert f"{10.0 - step / 200:.3f}"[:5] in lines(loss)[0]
            assert f"step {round(step / 100) * 100:,}" in lines(bpb)[0], "evals read at the nearest one"
        drawn = loss.drawn
        await pilot.hover(loss, offset=(loss.frame.left + 9, 2))
        await pilot.pause(0.3)
        assert loss.drawn == drawn, "a cursor never redraws"
        crossed = [line[loss.frame.left + 9] for line in lines(loss)[1 : 1 + loss.frame.rows]]
        assert crossed.count("│") >= loss.frame.rows - 2


async def test_keys_zoom_pan_and_show_all_again() -> None:
    app = Room()
    async with app.run_test(size=(120, 40)) as pilot:
        grid = app.query_one(PlotGrid)
        grid.load("here/a", "d4", training())
        loss, bpb, *_ = await settled(pilot, 4)
        loss.focus()
        await pilot.press("plus")
        await settled(pilot)
        assert loss.frame is not None and bpb.frame is not None
        assert loss.frame.x == pytest.approx((250, 750)) == bpb.frame.x
        await pilot.press("greater_than_sign")
        await settled(pilot)
        assert loss.frame.x == pytest.approx((350, 850))
        await pilot.press(*["shift+right"] * 5)
        await settled(pilot)
        assert loss.frame.x == pytest.approx((500, 1000)), "panning stops at the end of the run"
        await pilot.press("minus", "minus")
        await settled(pilot)
        assert loss.frame.x == (0, 1000) and grid.view.x is None
        await pilot.press("full_stop", "comma", "comma")
        await pilot.pause()
        assert loss.cursor == pytest.approx(loss.frame.x_at(loss.frame.columns - 3))
        await pilot.press("0")
        await pilot.pause()
        assert loss.cursor is None and grid.view.x is None


async def test_wheel_and_drag_zoom_where_the_mouse_is() -> None:
    app = Room()
    async with app.run_test(size=(120, 40)) as pilot:
        app.query_one(PlotGrid).load("here/a", "d4", training())
        loss, *_ = await settled(pilot, 4)
        loss.focus()
        frame = loss.frame
        assert frame is not None
        await pilot.mouse_down(loss, offset=(frame.left + 10, 3))
        await pilot.hover(loss, offset=(frame.left + 19, 3))
        assert loss.render_line(2).crop(frame.left + 12, frame.left + 13) != frame.strips[1].crop(
            frame.left + 12, frame.left + 13
        ), "the dragged range is shown"
        await pilot.mouse_up(loss, offset=(frame.left + 19, 3))
        await settled(pilot)
        assert loss.frame is not None
        cell = 1000 / frame.columns
        assert loss.frame.x == pytest.approx((10 * cell, 20 * cell))


async def test_live_points_appear_and_redraws_stay_few() -> None:
    app = Room()
    async with app.run_test(size=(120, 40)) as pilot:
        grid = app.query_one(PlotGrid)
        grid.load("here/a", "d4", training(101))
        loss, *_ = await settled(pilot, 4)
        before, started = loss.drawn, time.monotonic()
        for step in range(101, 161):
            grid.extend("here/a", {"train/loss": rows(lambda i: 1.0, range(step, step + 1))})
            await pilot.pause(0.02)
        elapsed = time.monotonic() - started
        await settled(pilot)
        assert loss.drawn - before <= elapsed * 4 + 2
        assert loss.frame is not None and loss.frame.x[1] == 160
        assert " 1  min 1  max 10" in lines(loss)[0]


async def test_a_frozen_display_keeps_its_picture_until_thawed() -> None:
    app = Room()
    async with app.run_test(size=(80, 24)) as pilot:
        grid = app.query_one(PlotGrid)
        grid.load("here/a", "d4", training(101))
        loss, *_ = await settled(pilot)
        grid.freeze(True)
        grid.extend("here/a", {"train/loss": rows(lambda i: 1.0, range(101, 300))})
        await pilot.pause(0.6)
        assert loss.frame is not None and loss.frame.x[1] == 100
        grid.freeze(False)
        await settled(pilot)
        assert loss.frame.x[1] == 299


async def test_loading_half_a_million_points_does_not_hold_the_loop() -> None:
    metrics = {f"train/m{index}": rows(lambda i: math.sin(i / 500), range(60_000)) for index in range(8)}
    gc.freeze()  # half a million rows of ours are no part of the app's own collections
    app = Room()
    async with app.run_test(size=(200, 60)) as pilot:
        lags: list[float] = []

        async def probe() -> None:
            # Processor time of the loop's own thread: what other processes take is no fault of ours.
            while True:
                before = time.thread_time()
                await asyncio.sleep(0.005)
                lags.append(time.thread_time() - before)

        probing = asyncio.create_task(probe())
        app.query_one(PlotGrid).load("here/a", "d4", metrics)
        await settled(pilot, 8)
        probing.cancel()
        gc.unfreeze()
        lags.sort()
        assert lags[int(len(lags) * 0.98)] < 0.05, "the worst of fifty waits on a busy machine"


async def test_an_empty_plot_says_what_it_waits_for() -> None:
    app = Room()
    async with app.run_test(size=(80, 24)) as pilot:
        (plot,) = await settled(pilot, 1)
        assert WAITING in "".join(lines(plot))
        grid = app.query_one(PlotGrid)
        grid.load("here/a", "d4", {"train/loss": rows(lambda i: "NaN", range(3))})
        (plot,) = await settled(pilot, 1)
        assert "no finite value: 3 NaN" in "".join(lines(plot))


async def test_a_plot_of_20_by_5_is_still_legible() -> None:
    class Small(App[None]):
        CSS = "Plot { width: 20; height: 5; }"

        def compose(self) -> ComposeResult:
            yield Plot()

    app = Small()
    async with app.run_test(size=(80, 24)) as pilot:
        run = RunMetrics("d4")
        run.ingest({"train/loss": rows(lambda i: 10.0 - i / 20, range(100))})
        plot = app.query_one(Plot)
        plot.set_series("train/loss", [run])
        await settled(pilot)
        shown = lines(plot)
        assert "train/loss" in shown[0] and "5.050" in shown[0]
        assert "10" in shown[1] and any(0x2800 < ord(c) < 0x2900 for c in shown[1])
        assert "0" in shown[4]


async def test_runs_are_overlaid_up_to_four_and_can_be_taken_out() -> None:
    app = Room()
    async with app.run_test(size=(120, 40)) as pilot:
        grid = app.query_one(PlotGrid)
        for name in "abcd":
            grid.load(name, f"run-{name}", training(101))
        with pytest.raises(UserError, match="overlaid already"):
            grid.load("e", "run-e", training(101))
        loss, *_ = await settled(pilot, 4)
        assert all(f"run-{name}" in "".join(lines(loss)[1:]) for name in "abcd")
        grid.unload("b")
        loss, *_ = await settled(pilot, 4)
        assert grid.run_keys == ("a", "c", "d") and "run-b" not in "".join(lines(loss))


async def test_looks_are_switched_for_all_plots() -> None:
    app = Room()
    async with app.run_test(size=(120, 40)) as pilot:
        grid = app.query_one(PlotGrid)
        metrics = training()
        metrics["train/loss"] += rows(lambda i: 1.0, range(500, 600), attempt=2)
        grid.load("here/a", "d4", metrics)
        loss, bpb, *_ = await settled(pilot, 4)
        assert "⟨ema .9⟩" in lines(loss)[0] and "ema" not in lines(bpb)[0], "evaluations are not smoothed"
        assert grid.next_smoothing() == 0.05
        assert grid.toggle_log() and grid.toggle_superseded()
        await settled(pilot)
        assert " log +superseded" in lines(loss)[0]
        assert await grid.next_axis() == "tokens"
        await settled(pilot)
        assert loss.frame is not None and loss.frame.x[1] == 599 * 4096
        assert lines(loss)[-1].startswith("tokens")
        assert await grid.next_axis() == "clock"
        grid.set_filter("bpb tok_")
        shown = await settled(pilot)
        assert [plot.metric for plot in shown] == ["val/bpb", "train/tok_per_sec"]


async def test_one_plot_takes_the_whole_panel_and_gives_it_back() -> None:
    app = Room()
    async with app.run_test(size=(120, 40)) as pilot:
        app.query_one(PlotGrid).load("here/a", "d4", training())
        _, bpb, *_ = await settled(pilot, 4)
        bpb.focus()
        await pilot.press("enter")
        (shown,) = await settled(pilot, 1)
        assert shown.metric == "val/bpb" and shown.size.width >= 118
        await pilot.press("enter")
        await settled(pilot, 4)


async def test_metrics_beyond_the_panel_are_on_further_pages() -> None:
    app = Room()
    async with app.run_test(size=(60, 20)) as pilot:
        app.query_one(PlotGrid).load("here/a", "d4", training())
        shown = await settled(pilot, 2)
        shown[0].focus()
        await pilot.press("pagedown")
        shown = await settled(pilot, 2)
        assert [plot.metric for plot in shown] == ["train/tok_per_sec", "train/total_tokens"]
        await pilot.press("pagedown")
        shown = await settled(pilot, 2)
        assert shown[0].metric == "train/tok_per_sec", "there is no further page"
        await pilot.press("pageup")
        shown = await settled(pilot, 2)
        assert shown[0].metric == "train/loss"


@pytest.mark.parametrize("size", [(60, 20), (80, 24)])
async def test_arrow_keys_reach_every_plot_over_all_pages(size: tuple[int, int]) -> None:
    app = Room()
    async with app.run_test(size=size) as pilot:
        grid = app.query_one(PlotGrid)
        names = [f"train/m{index}" for index in range(7)]
        grid.load("here/a", "d4", {name: rows(lambda i: float(i), range(20)) for name in names})
        shown = await settled(pilot)
        shown[0].focus()

        async def walk(key: str) -> list[str]:
            seen = []
            for _ in names:
                assert isinstance(app.focused, Plot) and app.focused.region.area > 0
                seen.append(app.focused.metric)
                await pilot.press(key)
                await pilot.pause()
            return seen

        assert await walk("right") == names
        assert await walk("left") == names[::-1]
        columns, _ = grid.shape(len(names))
        assert (await walk("down"))[:2] == [names[0], names[columns]]
        assert app.focused is grid.current and grid.current is not None
        assert grid.current.metric in names[-columns:], "down ends in the last row, on the last page"
        assert (await walk("up"))[-1] in names[:columns]


async def test_in_full_screen_arrow_keys_go_to_the_next_metric() -> None:
    app = Room()
    async with app.run_test(size=(80, 24)) as pilot:
        grid = app.query_one(PlotGrid)
        grid.load("here/a", "d4", training())
        (first, *_) = await settled(pilot, 4)
        first.focus()
        await pilot.press("enter", "right")
        (shown,) = await settled(pilot, 1)
        assert shown.metric == "val/bpb" and shown.has_focus
        assert "d4" in lines(shown)[0], "the title tells the run where nothing else does"
        await pilot.press("enter")
        shown_again = await settled(pilot, 4)
        assert [plot.metric for plot in shown_again if plot.has_focus] == ["val/bpb"]


@pytest.mark.parametrize(("width", "walk"), [(120, [1, 2, 3, 4, 0, 1]), (30, [1, 0, 1])])
async def test_the_number_of_columns_is_chosen_by_key(width: int, walk: list[int]) -> None:
    app = Room()
    async with app.run_test(size=(width, 40)) as pilot:
        grid = app.query_one(PlotGrid)
        grid.load("here/a", "d4", training())
        shown = await settled(pilot, 4)
        shown[0].focus()
        for expected in walk:
            await pilot.press("C")
            await pilot.pause()
            columns, _ = grid.shape(4)
            assert grid.columns == expected
            assert columns == expected or not expected
            assert shown[0].outer_size.width >= width // columns - 1


async def test_what_was_kept_of_the_looks_is_taken_over_where_it_makes_sense() -> None:
    app = Room()
    async with app.run_test(size=(120, 40)):
        grid = app.query_one(PlotGrid)
        kept = {"smoothing": 0.05, "log": True, "axis": "tokens", "columns": 3}
        grid.set_looks(kept)
        assert grid.looks == kept
        for junk in (None, 7, {"smoothing": 0.9, "log": 1, "axis": [], "columns": 99}, {"columns": True}):
            grid.set_looks(junk)
            assert (grid.view.log, grid.columns, grid.view.axis) == (False, 0, "tokens")
            assert grid.view.smoothing == 0.05


async def test_the_raw_line_is_behind_every_plot_and_its_value_in_the_focused_ones_title() -> None:
    app = Room()
    async with app.run_test(size=(120, 40)) as pilot:
        app.query_one(PlotGrid).load("here/a", "d4", training())
        loss, bpb, *_ = await settled(pilot, 4)
        bpb.focus()
        await pilot.pause()
        faint = loss.palette.faint[0].color
        assert any(s.style and s.style.color == faint for y in range(9) for s in loss.render_line(y + 1))
        assert "5.095 ▼" in lines(loss)[0] and "(5)" not in lines(loss)[0]
        drawn = loss.drawn
        loss.focus()
        await pilot.pause()
        assert "5.095 (5) ▼" in lines(loss)[0]
        assert loss.drawn == drawn, "focus changes the title alone"


@pytest.mark.parametrize("theme", list(THEMES))
async def test_a_plot_takes_the_background_of_the_theme(theme: str) -> None:
    app = Room()
    async with app.run_test(size=(80, 24)) as pilot:
        grid = app.query_one(PlotGrid)
        grid.load("here/a", "d4", training())
        grid.set_alerts([Alert(500, 1500.0)])
        await settled(pilot)
        app.theme = theme
        await pilot.pause(0.1)
        loss, *_ = await settled(pilot)
        assert "▲" in "".join(lines(loss))
        expected = loss.background_colors[1].rich_color.get_truecolor()
        for y in range(loss.size.height):
            grounds = {
                s.style.bgcolor.get_truecolor() for s in loss.render_line(y) if s.style and s.style.bgcolor
            }
            assert grounds == {expected}
