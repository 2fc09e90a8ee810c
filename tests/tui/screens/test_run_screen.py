"""The Run screen over a real store: curves, samples, alerts, the log, and text from strangers."""

import math
from typing import Any

import pytest
from textual.pilot import Pilot

from nanochat.common.errors import UserError
from remote.cli.printer import figures
from remote.runs import Change
from tests.tui.conftest import Bench, settle
from tui.app import ControlRoom
from tui.data.console_source import logged_text
from tui.data.run_reader import RunReader
from tui.screens import run as run_screen
from tui.screens.run import RunScreen
from tui.widgets.alerts import Alerts
from tui.widgets.gpu_grid import GpuGrid
from tui.widgets.log_pane import LogPane
from tui.widgets.log_view import ERROR, WARNING, LogView
from tui.widgets.plot import Plot
from tui.widgets.plot_grid import PlotGrid
from tui.widgets.run_header import RunHeader
from tui.widgets.run_table import cells
from tui.widgets.samples import Samples

HOSTILE = "\x1b]0;owned\x07 [red]not markup[/red] [@click=app.leave()]click[/] \x1b[2J"


def screen_of(app: ControlRoom) -> RunScreen:
    assert isinstance(app.screen, RunScreen)
    return app.screen


async def drawn(app: ControlRoom, pilot: Pilot[str]) -> None:
    grid = app.screen.query_one(PlotGrid)
    await settle(
        pilot, lambda: bool(grid.metrics) and all(p.frame for p in grid.query(Plot) if p.display and p.metric)
    )


def note(app: ControlRoom, key: str) -> None:
    host, run_id = key.split("/")
    app.feed._note(Change("events", host, run_id))


async def test_curves_of_a_live_run_grow_as_events_come(bench: Bench) -> None:
    key = bench.run("demo", status="running")
    bench.training(key, steps=40)
    async with bench.open() as (app, pilot):
        await drawn(app, pilot)
        grid = app.screen.query_one(PlotGrid)
        assert grid.metrics[:3] == ["train/loss", "val/bpb", "train/tok_per_sec"]
        series = grid._runs[key].series["train/loss"]
        assert len(series) == 40
        bench.events(key, [{"kind": "metric", "step": 40, "data": {"train/loss": 2.5}}])
        note(app, key)
        await settle(pilot, lambda: len(series) == 41)


def test_the_reader_gives_every_point_once(bench: Bench) -> None:
    key = bench.run("demo", status="running")
    reader = RunReader(bench.store, key)
    seen: list[tuple[int, Any]] = []
    for _ in range(3):
        bench.training(key, steps=30)
        seen += [point[:2] for point in reader.read_update().metrics["train/loss"].points()]
        assert "train/loss" not in reader.read_update().metrics
    stored = [(seq, step) for seq, step, *_ in bench.store.series(key, "train/loss").points()]
    assert seen == stored
    assert len(stored) == 90


async def test_turning_to_another_run_leaves_nothing_of_the_one_before(bench: Bench) -> None:
    first = bench.run("one", age=200)
    second = bench.run("three", age=100, status="running")
    bench.training(first, steps=20)
    bench.events(first, [{"kind": "sample", "step": 5, "data": {"prompt": "old", "text": "old text"}}])
    bench.events(first, [{"kind": "alert", "step": 5, "data": {"message": "old alert"}}])
    async with bench.open() as (app, pilot):
        await pilot.press("left_square_bracket")
        await settle(pilot, lambda: app.screen.query_one(PlotGrid).run_keys == (first,))
        assert app.screen.query_one(Alerts).display
        await pilot.press("right_square_bracket")
        await settle(pilot, lambda: app.screen.query_one(PlotGrid).run_keys == (second,))
        assert not app.screen.query_one(Alerts).display
        assert "old" not in str(app.screen.query_one(Samples).query_one("Static").render())


async def test_an_answer_is_set_apart_from_its_prompt_and_a_continuation_is_not(bench: Bench) -> None:
    key = bench.run("demo", status="running")
    bench.training(key, steps=5)
    said = [("How many?", "Five."), ("The sky is", "The sky is blue.")]
    samples = [{"kind": "sample", "data": {"prompt": prompt, "text": text}} for prompt, text in said]
    bench.events(key, samples)
    async with bench.open() as (app, pilot):

        def shown() -> str:
            return str(app.screen.query_one(Samples).query_one("Static").render())

        await settle(pilot, lambda: "How many? ⟶ Five." in shown())
        assert "The sky is blue." in shown()


async def test_text_from_a_run_is_shown_and_never_interpreted(bench: Bench) -> None:
    key = bench.run(HOSTILE, status="running", state={"reason": HOSTILE})
    bench.training(key, steps=5)
    bench.events(
        key,
        [
            {"kind": "sample", "step": 1, "data": {"prompt": HOSTILE, "text": HOSTILE}},
            {"kind": "eval", "step": 1, "data": {HOSTILE: 1.0}},
            {"kind": "alert", "step": 1, "data": {"message": HOSTILE, "level": "error"}},
            {"kind": "checkpoint", "step": 1, "data": {"path": HOSTILE, "bytes": 10}},
        ],
    )
    bench.fleet.text[key] = (HOSTILE + "\n").encode()
    async with bench.open(size=(200, 60)) as (app, pilot):
        await settle(pilot, lambda: bool(app.screen.query_one(LogView)._lines))
        await pilot.pause(0.3)
        for widget in app.screen.query("*"):
            for y in range(widget.size.height):
                text = "".join(segment.text for segment in widget.render_line(y))
                assert "\x1b" not in text, widget
                assert "\x07" not in text
        samples = str(app.screen.query_one(Samples).query_one("Static").render())
        assert "[red]not markup[/red]" in samples
        assert "␛]0;owned␇" in samples


async def test_the_log_follows_finds_and_filters(bench: Bench) -> None:
    key = bench.run("demo", status="running")
    lines = [f"step {n:05d} loss {3 - n / 10000:.4f}" for n in range(30_000)]
    lines[12_345] += " needle"
    bench.fleet.text[key] = ("\n".join(lines) + "\n").encode()
    async with bench.open() as (app, pilot):
        view = app.screen.query_one(LogView)
        await settle(pilot, lambda: bool(view._lines))
        assert view._lines[-1].text == lines[-1]
        await settle(pilot, lambda: lines[-1] in view.render_line(view.size.height - 1).text)
        view.focus()
        bench.fleet.text[key] += b"the newest line\n"
        view.poll()
        await settle(pilot, lambda: view._lines[-1].text == "the newest line")
        await pilot.press("slash", *"needle", "enter")
        await settle(pilot, lambda: view._match >= 0)
        assert view._lines[view._match].text == lines[12_345]
        assert view.scroll_offset.y <= view._match < view.scroll_offset.y + view.size.height
        await pilot.press("n")
        await settle(pilot, lambda: "no more" in view.note)
        await pilot.press("G")
        await settle(pilot, lambda: view.follow and view._lines[-1].text == "the newest line")
        await pilot.press("ampersand", *"needle", "enter")
        await settle(pilot, lambda: [line.text for line in view._lines] == [lines[12_345]])
        await pilot.press("escape")


async def test_a_long_log_is_read_a_window_at_a_time(bench: Bench) -> None:
    key = bench.run("demo", status="running")
    bench.fleet.text[key] = b"".join(b"line %07d\n" % n for n in range(1_000_000))
    async with bench.open() as (app, pilot):
        view = app.screen.query_one(LogView)
        await settle(pilot, lambda: bool(view._lines))
        view.focus()
        await pilot.press("g")
        await settle(pilot, lambda: view._lines[0].text == "line 0000000")
        for _ in range(3):
            await pilot.press("pagedown")
        await settle(pilot, lambda: view.scroll_offset.y > 0)
        read = sum(value[2] for what, value in bench.fleet.asked if what == "console")
        assert read < 3_000_000
        await pilot.press("G")
        await settle(pilot, lambda: view._lines[-1].text == "line 0999999")


@pytest.mark.parametrize(
    ("line", "error", "warning"),
    [
        ("chat_sft: error: no task", True, False),
        ("RuntimeError: CUDA out of memory", True, False),
        ("Traceback (most recent call last):", True, False),
        ("2026-11-27 ERROR - no", True, False),
        ("What is wrong? ⟶ An Error in the sum", False, False),
        ("a.py:12: UserWarning: hi", False, True),
        ("warn: loss spike", False, True),
        ("I warn you", False, False),
    ],
)
def test_lines_that_report_an_error_are_distinguished_from_prose(
    line: str, error: bool, warning: bool
) -> None:
    assert (bool(ERROR.search(line)), bool(WARNING.search(line))) == (error, warning)


async def test_the_log_of_an_ended_run_comes_when_its_host_answers(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, answer, down = bench.run("demo", age=90_000), bench.fleet.console, [True]
    bench.fleet.text[key] = b"hello\n"

    async def console(*args: Any) -> tuple[bytes, int, int]:
        if down[0]:
            raise UserError("local: not connected")
        return await answer(*args)

    monkeypatch.setattr(bench.fleet, "console", console)
    monkeypatch.setattr(run_screen, "LOG_DRAIN_SECONDS", 0.1)
    monkeypatch.setattr(run_screen, "LOG_SECONDS", 0.1)
    async with bench.open() as (app, pilot):
        await pilot.press("enter")
        await settle(pilot, lambda: isinstance(app.screen, RunScreen))
        view = app.screen.query_one(LogView)
        await settle(pilot, lambda: "not connected" in view.error)
        await pilot.pause(0.5)
        down[0] = False
        await settle(pilot, lambda: [line.text for line in view._lines] == ["hello"])
        assert not view.error


async def test_a_log_written_while_another_pane_was_shown_is_read_when_it_is(bench: Bench) -> None:
    key = bench.run("demo", age=90_000)
    bench.fleet.text[key] = b"one\n"
    async with bench.open((80, 24)) as (app, pilot):
        await pilot.press("enter")
        await settle(pilot, lambda: isinstance(app.screen, RunScreen))
        screen, view = screen_of(app), app.screen.query_one(LogView)
        await settle(pilot, lambda: len(view._lines) == 1)
        screen._log_until = 0.0
        bench.fleet.text[key] += b"two\n"
        screen.action_pane("log")
        await settle(pilot, lambda: len(view._lines) == 2)


async def test_a_stage_run_directly_shows_what_it_logged(bench: Bench) -> None:
    key = bench.run("hand")
    bench.events(key, [{"kind": "log", "data": {"text": f"line {n}"}} for n in range(5)])
    assert logged_text(bench.store, key).decode().splitlines()[2].endswith("line 2")
    async with bench.open() as (app, pilot):
        await pilot.press("2")
        await settle(pilot, lambda: isinstance(app.screen, RunScreen))
        view = app.screen.query_one(LogView)
        await settle(pilot, lambda: len(view._lines) == 5)


async def test_telemetry_fills_the_machine_panel(bench: Bench) -> None:
    key = bench.run("demo", status="running")
    data = {
        "host/cpu": 12.0,
        "host/cores": 2,
        "gpu/0/name": "H100",
        "gpu/0/util": 97.0,
        "gpu/0/mem_used": 7e10,
    }
    bench.events(key, [{"kind": "telemetry", "data": data}] * 700, file="telemetry.jsonl")
    async with bench.open() as (app, pilot):
        grid = app.screen.query_one(GpuGrid)
        await settle(pilot, lambda: len(grid.machine.gpus) == 1)


async def test_plots_and_machine_are_drawn_in_ascii_where_the_font_has_no_braille(bench: Bench) -> None:
    key = bench.run("demo", status="running")
    bench.training(key, steps=50)
    bench.events(key, [{"kind": "telemetry", "data": {"gpu/0/util": 50.0}}] * 3, file="telemetry.jsonl")
    for unicode in (True, False):
        async with bench.open(size=(120, 40), unicode=unicode) as (app, pilot):
            await drawn(app, pilot)
            machine = app.screen.query_one(GpuGrid)
            await settle(pilot, lambda machine=machine: bool(machine.machine.gpus))  # type: ignore[misc]
            plot = app.screen.query(Plot).first()
            assert plot.frame is not None
            curve = "".join(strip.text for strip in plot.frame.strips)
            bars = "".join(machine.render_line(y).text for y in range(machine.size.height))
            assert any("\u2800" < character <= "\u28ff" for character in curve) is unicode
            assert ("━" in bars) is unicode
            assert ("#" in bars) is not unicode


async def test_enter_on_an_alert_moves_the_plots_there(bench: Bench) -> None:
    key = bench.run("demo", status="running")
    bench.training(key, steps=50)
    bench.events(key, [{"kind": "alert", "step": 31, "data": {"level": "warn", "message": "loss spike"}}])
    async with bench.open() as (app, pilot):
        await drawn(app, pilot)
        alerts = app.screen.query_one(Alerts)
        await settle(pilot, lambda: alerts.display)
        alerts.focus()
        await pilot.press("enter")
        await settle(pilot, lambda: app.screen.query_one(PlotGrid).cursor == 31.0)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_every_pane_is_reachable_and_nothing_sticks_out(bench: Bench, size: tuple[int, int]) -> None:
    key = bench.run("demo", status="running")
    bench.training(key, steps=20)
    bench.fleet.text[key] = b"hello\n"
    async with bench.open(size=size) as (app, pilot):
        seen = set()
        for _ in range(4):
            await pilot.press("tab")
            await pilot.pause()
            screen = screen_of(app)
            seen.add(screen.pane)
            assert screen.focused is not None
            assert screen.focused.region.area > 0
            for widget in screen.query("*"):
                if widget.is_attached and widget.region.area and not widget.parent.is_scrollable:  # type: ignore[union-attr]
                    assert screen.region.contains_region(widget.region), widget
        assert seen == {"plots", "machine", "samples", "log"}


async def test_keys_change_how_curves_look(bench: Bench) -> None:
    key = bench.run("demo", status="running")
    bench.training(key, steps=20)
    async with bench.open() as (app, pilot):
        await drawn(app, pilot)
        grid = app.screen.query_one(PlotGrid)
        before = grid.view.smoothing
        await pilot.press("e", "l")
        assert grid.view.smoothing != before
        assert grid.view.log
        await pilot.press("z")
        await settle(pilot, lambda: grid.full is not None)
        await pilot.press("escape")
        await settle(pilot, lambda: grid.full is None)
        assert isinstance(app.screen, RunScreen)
        await pilot.press("slash", *"bpb", "enter")
        await settle(pilot, lambda: grid.metrics == ["val/bpb"])


async def test_a_log_that_cannot_be_read_says_why(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from nanochat.common.errors import UserError

    async def refuse(key: str, offset: int = 0, size: int = 0) -> tuple[bytes, int, int]:
        raise UserError("host 'local' is unreachable: gone")

    monkeypatch.setattr(bench.fleet, "console", refuse)
    bench.run("demo", status="running")
    async with bench.open() as (app, pilot):
        pane = app.screen.query_one(LogPane)
        await settle(pilot, lambda: "unreachable" in str(pane.border_subtitle))


@pytest.mark.parametrize("elsewhere", [False, True], ids=["just opened", "focus on the samples"])
async def test_the_keys_of_plots_work_at_once(bench: Bench, elsewhere: bool) -> None:
    key = bench.run("demo", status="running")
    bench.training(key, steps=60)
    metrics = {f"train/extra_{index}": 1.0 * index for index in range(6)} | {"train/total_tokens": 4096.0}
    bench.events(key, [{"kind": "metric", "step": 60 + step, "data": metrics} for step in (0, 1)])
    async with bench.open() as (app, pilot):
        await drawn(app, pilot)
        grid = app.screen.query_one(PlotGrid)
        if elsewhere:
            app.screen.query_one(Samples).focus()
            await settle(pilot)
        await pilot.press("plus")
        await settle(pilot, lambda: grid.view.x is not None)
        await pilot.press("0")
        await settle(pilot, lambda: grid.view.x is None)
        await pilot.press("full_stop")
        await settle(pilot, lambda: grid.cursor is not None)
        await pilot.press("a")
        await settle(pilot, lambda: grid.view.axis == "tokens")
        await pilot.press("u")
        assert grid.view.superseded
        if not elsewhere:  # samples scroll with these
            await pilot.press("right")
            await settle(pilot, lambda: isinstance(app.focused, Plot) and app.focused.metric == "val/bpb")
            await pilot.press("pagedown")
            await settle(pilot, lambda: grid.page == 1)
        await pilot.press("C")
        assert grid.columns == 1


@pytest.mark.slow
async def test_a_plot_takes_the_whole_screen_and_gives_it_back(bench: Bench) -> None:
    key = bench.run("demo", status="running")
    bench.training(key, steps=60)
    async with bench.open() as (app, pilot):
        await drawn(app, pilot)
        screen, grid = screen_of(app), app.screen.query_one(PlotGrid)
        for opens, closes in (("z", "escape"), ("enter", "z"), ("z", "tab")):
            await pilot.press(opens)
            await settle(pilot, lambda: grid.size.height >= 37)  # all but the bars and messages
            (plot,) = [plot for plot in grid.query(Plot) if plot.display]
            assert plot.region.width == 120 and plot.region.height >= 37
            assert not any(
                pane.region.area for pane in (screen.log_pane, screen.samples, screen.gpus, screen.header)
            )
            await pilot.press(closes)
            await settle(pilot, lambda: grid.full is None and bool(screen.log_pane.region.area))
            assert isinstance(app.screen, RunScreen)


async def test_tab_goes_through_every_pane_in_order_and_shift_tab_back(bench: Bench) -> None:
    key = bench.run("demo", status="running")
    bench.training(key, steps=20)
    bench.events(key, [{"kind": "alert", "step": 5, "data": {"message": "spike"}}])
    async with bench.open() as (app, pilot):
        await drawn(app, pilot)
        await settle(pilot, lambda: app.screen.query_one(Alerts).display)
        seen = []
        for key in ["tab"] * 5 + ["shift+tab"] * 5:
            await pilot.press(key)
            await pilot.pause()
            seen.append(type(app.focused).__name__)
        there = ["GpuGrid", "Samples", "Alerts", "LogView", "Plot"]
        assert seen == [*there, *reversed(there[:-1]), "Plot"]


async def test_another_run_is_drawn_over_this_one_and_follows_live(bench: Bench) -> None:
    old = bench.run("old", age=5000)
    bench.training(old, steps=30)
    other = bench.run("other", status="running", age=2000)
    bench.training(other, steps=40)
    key = bench.run("demo", status="running")
    bench.training(key, steps=20)
    async with bench.open() as (app, pilot):
        await drawn(app, pilot)
        grid = app.screen.query_one(PlotGrid)
        await pilot.press("o")
        await settle(pilot, lambda: type(app.screen).__name__ == "Overlay")
        await pilot.press(*"other", "enter")
        await settle(pilot, lambda: grid.run_keys == (key, other))
        bench.events(other, [{"kind": "metric", "step": 40, "data": {"train/loss": 2.5}}])
        note(app, other)
        await settle(pilot, lambda: len(grid._runs[other].series["train/loss"]) == 41)
        plot = grid.query(Plot).first()

        def shown() -> str:
            return "".join(plot.render_line(y).text for y in range(plot.size.height))

        await settle(pilot, lambda: plot.render_line(0).text.count("●") == 2 and "other" in shown())
        await pilot.press("o")
        await settle(pilot, lambda: type(app.screen).__name__ == "Overlay")
        await pilot.press("enter")
        await settle(pilot, lambda: grid.run_keys == (key,))
        await pilot.press("o", *"old", "enter")
        await settle(pilot, lambda: grid.run_keys == (key, old))
        await pilot.press("left_square_bracket")
        await settle(pilot, lambda: grid.run_keys == (other,))


async def test_overlaid_runs_of_one_name_are_told_apart_in_the_grid_and_in_full(bench: Bench) -> None:
    keys = [bench.run("sweep", age=900.0 - 10 * seed, options={"seed": seed}) for seed in (1, 2)]
    for key in keys:
        bench.training(key, steps=30)
    async with bench.open() as (app, pilot):
        app.open_run(keys[1])
        await settle(pilot, lambda: type(app.screen).__name__ == "RunScreen")
        await drawn(app, pilot)
        grid = app.screen.query_one(PlotGrid)
        await pilot.press("o")
        await settle(pilot, lambda: type(app.screen).__name__ == "Overlay")
        await pilot.press(*"seed=1", "enter")

        def names() -> list[str]:
            frame = grid.current.frame if grid.current else None
            return [legend.label for legend in frame.legends] if frame else []

        await settle(pilot, lambda: names() == ["sweep seed=2", "sweep seed=1"])
        await pilot.press("z")
        await settle(pilot, lambda: grid.full is not None and names() == ["sweep seed=2", "sweep seed=1"])
        plot = grid.current
        assert plot is not None
        shown = "".join(plot.render_line(y).text for y in range(plot.size.height))
        assert "sweep seed=1" in shown and "sweep seed=2" in shown


async def test_table_header_and_commands_tell_the_figures_of_the_plots(bench: Bench) -> None:
    key = bench.run("demo", status="running")
    noisy = [3 + 0.5 * math.sin(step * step * 1.7) for step in range(700)]
    start = {"stage": "base_train", "attempt": 1, "from_step": 0, "total_steps": 900, "unit": "step"}
    bench.events(
        key,
        [
            {"kind": "stage_start", "data": start},
            *(
                {"kind": "metric", "step": step, "data": {"train/loss": loss}}
                for step, loss in enumerate(noisy)
            ),
        ],
    )
    async with bench.open() as (app, pilot):
        await drawn(app, pilot)
        plot = app.screen.query(Plot).first()
        await settle(pilot, lambda: "⟨ema .9⟩" in plot.render_line(0).text)
        shown = plot.frame.legends[0].line if plot.frame else None
        assert shown is not None
        told = f"{shown.last:.3f}"
        assert told != f"{noisy[-1]:.3f}"
        assert f" {told} " in plot.render_line(0).text
        assert f"loss {told}" in str(app.screen.query_one(RunHeader).render())
        run = app.shown_run
        assert run is not None
        assert f"loss {told}" in figures(run)
        assert cells(run, silent=False)["figure"][0] == f"loss {told}"


@pytest.mark.slow
async def test_how_plots_look_is_kept_for_the_next_start(bench: Bench) -> None:
    key = bench.run("demo", status="running")
    bench.training(key, steps=20)
    async with bench.open() as (app, pilot):
        await drawn(app, pilot)
        await pilot.press("e", "l", "C")
        looks = app.screen.query_one(PlotGrid).looks
        await settle(pilot, lambda: app.setting("plots") == looks)
    async with bench.open() as (app, pilot):
        assert app.screen.query_one(PlotGrid).looks == looks
        assert looks == {"smoothing": 0.05, "log": True, "axis": "step", "columns": 1}


async def test_a_run_stays_on_screen_when_its_row_moves_to_the_host_where_it_runs(bench: Bench) -> None:
    """First seen through a login node that shares the disk, then on the node itself."""
    key = bench.run("demo", status="running", host="login")
    bench.training(key, steps=20)
    run_id = key.partition("/")[2]
    async with bench.open() as (app, pilot):
        await drawn(app, pilot)
        assert app.run_key == key
        seen = bench.store.run(key)
        assert seen is not None
        run = {"run_id": run_id, "name": seen.name, "stage": seen.stage, "created_at": seen.created_at}
        bench.store.ingest_state("login", run, {"run_id": run_id, "status": "running"}, here=False)
        moved = bench.run("demo", status="running", host="node")
        bench.training(moved, steps=30)
        note(app, moved)
        await settle(pilot, lambda: app.shown_run is not None and app.shown_run.host == "node")
        grid = app.screen.query_one(PlotGrid)
        await settle(pilot, lambda: moved in grid._runs and len(grid._runs[moved].series["train/loss"]) == 30)
        app.open_run(key)  # as from a launch through the other host
        await settle(pilot, lambda: app.run_key == moved)
