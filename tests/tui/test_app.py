"""What holds everywhere in the control room: where it opens, how one moves, what asks first."""

import asyncio
import subprocess
import sys
import time

import pytest

from remote.runs import Change, Link, RunRow
from tests.tui.conftest import NOW, Bench, settle
from tui.screens.confirm import Confirm
from tui.screens.help import Help
from tui.screens.launch import LaunchScreen
from tui.screens.welcome import Welcome
from tui.widgets.bars import KeyBar, TopBar


def tab(app) -> str:  # type: ignore[no-untyped-def]
    return getattr(app.screen, "tab", "")


async def test_it_opens_on_the_newest_live_run(bench: Bench) -> None:
    bench.run("old", status="running", age=900)
    newest = bench.run("new", status="running", age=100)
    bench.run("ended", age=10)
    async with bench.open() as (app, _):
        assert tab(app) == "run"
        assert app.run_key == newest


async def test_of_many_runs_the_newest_and_the_live_are_shown_first_then_all(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui.data import feed

    monkeypatch.setattr(feed, "FIRST_ROWS", 3)
    live = bench.run("live", status="running", age=9000)
    bench.events(live, [{"kind": "alert", "data": {"level": "warn", "message": "known before"}}])
    for age in range(1, 9):
        bench.run("x" * age, age=age)
    read, whole = bench.store.newest_runs(3)
    assert ([run.name for run in read], whole) == (["x", "xx", "xxx", "live"], False)
    go_on = asyncio.Event()
    rows = feed.Feed.rows

    async def later(self: feed.Feed) -> list[RunRow]:
        await go_on.wait()
        return await rows(self)

    monkeypatch.setattr(feed.Feed, "rows", later)
    async with bench.open() as (app, pilot):
        assert (tab(app), app.run_key, len(app.rows)) == ("run", live, 4)
        await pilot.press("1")
        await settle(pilot, lambda: tab(app) == "runs")
        table = app.screen.query_one("#runs")
        assert "the newest 4, reading all" in str(table.border_title)
        go_on.set()
        await settle(pilot, lambda: len(app.rows) == 9)
        assert str(table.border_title) == "runs · 9"
        assert not any("alert" in said for said in (message.text for message in app.messages))


def plan_of(bench: Bench, *statuses: str) -> list[str]:
    """The runs of one plan, made one after the other; their keys."""
    return [
        bench.run("p" * (index + 1), status=status, age=1000 - index, plan={"id": "p", "index": index})
        for index, status in enumerate(statuses)
    ]


async def test_in_a_plan_it_opens_on_the_stage_at_work_else_on_the_first_that_waits(bench: Bench) -> None:
    keys = plan_of(bench, "succeeded", "running", "created", "created")
    async with bench.open() as (app, _):
        assert app.run_key == keys[1]
    plan_of(bench, "succeeded", "succeeded", "created", "created")
    async with bench.open() as (app, _):
        assert app.run_key == keys[2]


async def test_the_run_screen_goes_on_with_a_plan_but_stays_at_what_was_opened(bench: Bench) -> None:
    keys = plan_of(bench, "succeeded", "running", "created")
    async with bench.open() as (app, pilot):
        plan_of(bench, "succeeded", "succeeded", "created")
        await app.reread()
        await settle(pilot)
        assert app.run_key == keys[1]
        plan_of(bench, "succeeded", "succeeded", "running")
        await app.reread()
        await settle(pilot, lambda: app.run_key == keys[2])
        app.open_run(keys[0])
        await app.reread()
        await settle(pilot)
        await app.reread()
        assert app.run_key == keys[0]


async def test_it_opens_on_runs_when_none_lives_and_on_the_first_use_page_when_there_is_none(
    bench: Bench,
) -> None:
    async with bench.open() as (app, _):
        assert isinstance(app.screen, Welcome)
    bench.run("ended")
    async with bench.open() as (app, _):
        assert tab(app) == "runs"
        assert not isinstance(app.screen, Welcome)


async def test_the_first_use_page_gives_way_to_runs_that_are_found(bench: Bench) -> None:
    """An enter meant for a run must not start the demo."""
    async with bench.open() as (app, pilot):
        assert isinstance(app.screen, Welcome)
        bench.run("found")
        await app.reread()
        await settle(pilot, lambda: not isinstance(app.screen, Welcome))
        assert tab(app) == "runs"
        assert len(app.screen_stack) == 2


async def test_runs_not_read_yet_keep_the_first_use_page_away(bench: Bench) -> None:
    (bench.layout.runs / "20260101-000000-base_train-0001").mkdir(parents=True)
    async with bench.open() as (app, _):
        assert tab(app) == "runs"
        assert not isinstance(app.screen, Welcome)


@pytest.mark.slow
async def test_screens_are_reached_by_number_and_function_key_and_left_by_back(bench: Bench) -> None:
    bench.run("one")
    async with bench.open() as (app, pilot):
        for key, name in (
            ("2", "run"),
            ("7", "hosts"),
            ("1", "runs"),
            ("f7", "hosts"),
            ("f2", "run"),
            ("f1", "runs"),
        ):
            await pilot.press(key)
            await settle(pilot, lambda name=name: tab(app) == name)  # type: ignore[misc]
        for back in ("escape", "backspace", "alt+escape"):
            await pilot.press("2")
            await settle(pilot, lambda: tab(app) == "run")
            await pilot.press(back)
            await settle(pilot, lambda: tab(app) == "runs")


async def test_letters_and_digits_are_text_in_a_text_field_and_the_first_esc_leaves_it(bench: Bench) -> None:
    bench.run("one")
    async with bench.open() as (app, pilot):
        await pilot.press("slash", "q", "7", "s")
        await settle(pilot)
        assert tab(app) == "runs"
        assert app.screen.query_one("#filter").value == "q7s"  # type: ignore[attr-defined]
        await pilot.press("escape")
        assert app.screen.query_one("#filter").value == "q7s"  # type: ignore[attr-defined]
        assert app.focused is app.screen.query_one("#runs")
        await pilot.press("escape")
        assert app.screen.query_one("#filter").value == ""  # type: ignore[attr-defined]


async def test_leaving_stops_no_run(bench: Bench) -> None:
    bench.run("one", status="running")
    async with bench.open() as (app, pilot):
        await pilot.press("q")
        await settle(pilot)
        assert not app.is_running or app._exit
    assert not [what for what, _ in bench.fleet.asked if what in ("stop", "resume")]


async def test_stopping_asks_and_needs_a_second_key(bench: Bench) -> None:
    key = bench.run("one", status="running")
    async with bench.open() as (app, pilot):
        await pilot.press("s")
        await settle(pilot)
        assert isinstance(app.screen, Confirm)
        await pilot.press("enter", "s")
        assert isinstance(app.screen, Confirm)
        await pilot.press("escape")
        await settle(pilot)
        assert ("stop", key) not in bench.fleet.asked
        await pilot.press("s")
        await settle(pilot)
        await pilot.press("y")
        await settle(pilot, lambda: ("stop", key) in bench.fleet.asked)


async def test_a_key_pressed_twice_at_once_asks_once(bench: Bench) -> None:
    key = bench.run("one", status="running")
    async with bench.open() as (app, pilot):
        app.screen.action_stop()  # type: ignore[attr-defined]
        app.screen.action_stop()  # type: ignore[attr-defined]
        await settle(pilot)
        assert [isinstance(screen, Confirm) for screen in app.screen_stack].count(True) == 1
        await pilot.press("y")
        await settle(pilot, lambda: ("stop", key) in bench.fleet.asked)
        assert bench.fleet.asked.count(("stop", key)) == 1


async def test_resume_is_for_ended_runs_only(bench: Bench) -> None:
    ended = bench.run("ended", age=50, status="failed")
    bench.run("live", age=100, status="running")
    async with bench.open() as (app, pilot):
        await pilot.press("1")
        await settle(pilot, lambda: tab(app) == "runs")
        await pilot.press("r")
        await settle(pilot)
        await pilot.press("y")
        await settle(pilot, lambda: ("resume", ended) in bench.fleet.asked)
        await pilot.press("down", "r")
        await settle(pilot)
        assert not isinstance(app.screen, Confirm)


async def test_readonly_offers_nothing_that_changes_anything(bench: Bench) -> None:
    bench.run("one", status="running")
    async with bench.open(readonly=True) as (app, pilot):
        for key in ("s", "r", "exclamation_mark", "n", "p"):
            await pilot.press(key)
        await settle(pilot)
        assert tab(app) == "run"
        bar = str(app.screen.query_one(KeyBar).render())
        assert "stop" not in bar
        assert "smooth" in bar
        assert "read only" in str(app.screen.query_one(TopBar).render())


async def test_help_names_every_key_of_the_screen(bench: Bench) -> None:
    bench.run("one")
    async with bench.open() as (app, pilot):
        await pilot.press("question_mark")
        await settle(pilot)
        assert isinstance(app.screen, Help)
        shown = " ".join(str(widget.render()) for widget in app.screen.query("Static"))
        for sentence in (
            "Stop the run under the cursor",
            "Quit the control room; runs continue",
            "Filter the table",
        ):
            assert sentence in shown
        await pilot.press("escape")
        await settle(pilot)
        assert tab(app) == "runs"


@pytest.mark.slow
async def test_the_palette_finds_and_runs_an_action(bench: Bench) -> None:
    bench.run("one")
    async with bench.open() as (app, pilot):
        await pilot.press("ctrl+p")
        await settle(pilot)
        await pilot.press(*"launch one")
        await settle(pilot, lambda: bool(app.screen.query("CommandList")))
        await pilot.pause(0.4)
        await pilot.press("enter")
        await settle(pilot, lambda: isinstance(app.screen, LaunchScreen))


async def test_frozen_shows_what_was_until_it_thaws(bench: Bench) -> None:
    key = bench.run("one", status="running")
    bench.training(key, steps=10)
    async with bench.open() as (app, pilot):
        await pilot.press("F")
        bench.training(key, steps=60)
        app.feed._note(Change("events", "local", key.split("/")[1]))
        await pilot.pause(0.6)
        assert app.rows[0].step == 9
        assert "frozen" in str(app.screen.query_one(TopBar).render())
        await pilot.press("F")
        await settle(pilot, lambda: app.rows[0].step == 59)


async def test_changes_reach_the_screen_again_and_again(bench: Bench) -> None:
    key = bench.run("one", status="running")
    async with bench.open() as (app, pilot):
        for steps in (5, 12, 30):
            bench.training(key, steps=steps)
            app.feed._note(Change("events", "local", key.split("/")[1]))
            await settle(pilot, lambda steps=steps: app.rows[0].step == steps - 1)  # type: ignore[misc]


async def test_at_most_four_redraws_a_second_whatever_comes_in(bench: Bench) -> None:
    key = bench.run("one", status="running")
    async with bench.open() as (app, pilot):
        deliveries: list[int] = []
        app.screen.changed = lambda changes: deliveries.append(len(changes))  # type: ignore[attr-defined]
        started = time.monotonic()
        for _ in range(100):
            app.feed._note(Change("events", "local", key.split("/")[1]))
            await pilot.pause(0.01)
        await pilot.pause(0.3)
        assert 1 <= len(deliveries) <= 4 * (time.monotonic() - started) + 1


async def test_the_list_of_runs_is_drawn_at_half_that_rate_and_ends_with_the_newest(bench: Bench) -> None:
    bench.run("ended")
    key = bench.run("one", status="running", age=2000)
    async with bench.open() as (app, pilot):
        await pilot.press("1")
        await settle(pilot, lambda: tab(app) == "runs")
        deliveries: list[int] = []
        changed = app.screen.changed  # type: ignore[attr-defined]
        app.screen.changed = lambda changes: (deliveries.append(1), changed(changes))  # type: ignore[attr-defined]
        started = time.monotonic()
        for step in range(40):
            bench.events(key, [{"kind": "metric", "step": step, "data": {"train/loss": float(step)}}])
            app.feed._note(Change("events", "local", key.split("/")[1]))
            await pilot.pause(0.02)
        took = time.monotonic() - started
        assert 1 <= len(deliveries) <= 2 * took + 2
        await settle(pilot, lambda: app.rows[1].step == 39)


async def test_an_end_and_an_alert_are_notified_once_with_a_bell(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = bench.run("one", status="running")
    async with bench.open() as (app, _):
        rings: list[int] = []
        monkeypatch.setattr(app, "bell", lambda: rings.append(1))
        bench.events(key, [{"kind": "alert", "step": 3, "data": {"level": "warn", "message": "loss spike"}}])
        await app.reread()
        await app.reread()
        assert len(rings) == 1
        bench.run("one", status="failed", state={"reason": "out of memory"})
        await app.reread()
        await app.reread()
        assert len(rings) == 2
        assert any("out of memory" in said.text for said in app.messages)


async def test_a_silent_host_is_shown_as_stale(bench: Bench) -> None:
    bench.run("one", status="running", host="box")
    bench.fleet.links["box"] = Link("down", NOW, NOW - 12, 4.0, None, "connection lost")
    (bench.layout.hosts_file).write_text('{"schema": 1, "hosts": [{"name": "box", "address": "127.0.0.1"}]}')
    async with bench.open(size=(120, 30)) as (app, pilot):
        shown = str(app.screen.query_one("#header").render())
        assert "no contact for" in shown
        assert "retrying in" in shown
        await pilot.press("1")
        await settle(pilot, lambda: tab(app) == "runs")
        assert "running?" in "".join(app.screen.query_one("#runs").render_line(1).text)


async def test_pinned_runs_come_first_and_stay_so(bench: Bench) -> None:
    bench.run("a", age=50)
    bench.run("bb", age=100)
    async with bench.open() as (app, pilot):
        await pilot.press("down", "P")
        await settle(pilot, lambda: any(run.pinned for run in app.rows))
        await settle(pilot, lambda: app.screen.query_one("#runs").items[0].name == "bb")  # type: ignore[attr-defined]
    assert [run.name for run in bench.store.runs() if run.pinned] == ["bb"]


async def test_the_theme_goes_round_and_is_remembered(bench: Bench) -> None:
    bench.run("one")
    async with bench.open() as (app, pilot):
        assert app.theme == "dark"
        await pilot.press("T")
        assert app.theme == "light"
    async with bench.open() as (app, _):
        assert app.theme == "light"


def test_importing_the_app_loads_neither_torch_nor_the_network_nor_plotext() -> None:
    code = (
        "import sys, tui.app, tui.screens.runs, tui.screens.run, tui.cli; "
        "print([m for m in ('torch', 'asyncssh', 'plotext', 'pyarrow', 'numpy') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


async def test_tabs_keys_and_boxes_work_by_mouse(bench: Bench) -> None:
    bench.run("one", "tok_train")
    bench.run("two")
    async with bench.open() as (app, pilot):
        bar = app.screen.query_one(TopBar)
        hosts = str(bar.render()).index("7 Hosts")
        await pilot.click(TopBar, offset=(hosts, 0))
        await settle(pilot, lambda: tab(app) == "hosts")
        await pilot.press("1")
        await settle(pilot, lambda: tab(app) == "runs")
        launch = str(app.screen.query_one(KeyBar).render()).index("launch")
        await pilot.click(KeyBar, offset=(launch, 0))
        await settle(pilot, lambda: isinstance(app.screen, LaunchScreen))
        await pilot.press("escape", "escape")
        await settle(pilot, lambda: tab(app) == "runs")
        at = str(app.screen.query_one("#pipeline").render()).index("tok_train")
        await pilot.click("#pipeline", offset=(at, 0))
        await settle(pilot, lambda: app.screen.query_one("#filter").value == "stage:tok_train")  # type: ignore[attr-defined]
        assert [run.name for run in app.screen.query_one("#runs").items] == ["one"]  # type: ignore[attr-defined]


async def test_the_first_use_page_says_its_keys_and_has_one_ground(bench: Bench) -> None:
    async with bench.open((80, 24)) as (app, _):
        assert isinstance(app.screen, Welcome)
        bar = str(app.screen.query_one(KeyBar).render())
        assert "⏎ choose" in bar
        assert "q leave" in bar
        choices = app.screen.query_one("Choices")
        assert choices.has_focus
        grounds = {
            segment.style.bgcolor.name
            for y in range(choices.size.height)
            for segment in choices.render_line(y)
            if segment.style is not None and segment.style.bgcolor is not None
        }
        assert len(grounds) == 2  # its own and that of the row under the cursor
        assert choices.styles.background_tint.a == 0
