"""Find and filter in the log pane go over the whole log, not over the lines that happen to be held."""

import asyncio
from typing import Any

import pytest
from textual.widgets import Input

from remote.agent import search
from tests.tui.conftest import Bench, settle
from tui.data.console import MAX_LINES
from tui.widgets.log_pane import LogPane
from tui.widgets.log_view import LogView

pytestmark = pytest.mark.slow

LINES = 100_000


def long_log(bench: Bench, status: str = "running") -> str:
    key = bench.run("demo", status=status)
    lines = [b"step %06d loss 2.5" % n for n in range(LINES)]
    for n in (100, 5_000, 50_000, LINES - 2):
        lines[n] += b" Needle ERROR"
    bench.fleet.text[key] = b"\n".join(lines) + b"\n"
    return key


def found(view: LogView) -> str:
    return view._lines[view._match].text if view._match >= 0 else ""


async def test_every_match_of_a_long_log_is_found_in_both_directions(bench: Bench) -> None:
    long_log(bench)
    async with bench.open() as (app, pilot):
        view = app.screen.query_one(LogView)
        await settle(pilot, lambda: bool(view._lines))
        view.focus()
        await pilot.press("slash", *"needle", "enter")
        await settle(pilot, lambda: found(view).startswith(f"step {LINES - 2:06d}"))
        for n in (50_000, 5_000, 100):
            await pilot.press("N")
            await settle(pilot, lambda n=n: found(view).startswith(f"step {n:06d}"))  # type: ignore[misc]
            assert view.scroll_offset.y <= view._match < view.scroll_offset.y + view.size.height
            assert len(view._lines) <= MAX_LINES
        await pilot.press("N")
        await settle(pilot, lambda: "no more “needle” towards the start" in view.note)
        for n in (5_000, 50_000, LINES - 2):
            await pilot.press("n")
            await settle(pilot, lambda n=n: found(view).startswith(f"step {n:06d}"))  # type: ignore[misc]
        await pilot.press("n")
        await settle(pilot, lambda: "no more “needle” towards the end" in view.note)
        read = sum(value[2] for what, value in bench.fleet.asked if what == "console")
        assert read < 4_000_000, "the lines between matches are not brought here"


async def test_a_filter_shows_all_matches_the_newest_too_and_follows(bench: Bench) -> None:
    key = long_log(bench)
    async with bench.open() as (app, pilot):
        view = app.screen.query_one(LogView)
        await settle(pilot, lambda: bool(view._lines))
        view.focus()
        await pilot.press("ampersand", *"ERROR", "enter")
        await settle(
            pilot, lambda: [int(line.text[5:11]) for line in view._lines] == [100, 5_000, 50_000, 99_998]
        )
        bench.fleet.text[key] += b"no match\nthe newest error\n"
        view.poll()
        await settle(pilot, lambda: view._lines[-1].text == "the newest error")
        await pilot.press("slash", *"step 05", "enter")
        await settle(pilot, lambda: found(view).startswith("step 050000"))
        assert len(view._lines) == 5
        await pilot.press("ampersand")
        app.screen.query_one("#log-field", Input).value = ""
        await pilot.press("enter")
        await settle(pilot, lambda: len(view._lines) > 1_000)
        assert not view.follow and view.scroll_offset.y > 0


async def test_a_search_says_how_far_it_is_and_ends_with_escape(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    long_log(bench)
    quick = bench.fleet.search

    async def step(*given: Any, **asked: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(search, "BLOCK", 1000)
            # Not by the module's name: every folder's conftest has the same.
            patch.setitem(type(bench.fleet).search.__globals__, "MOST_SECONDS", -1.0)
            await asyncio.sleep(0.02)
            return await quick(*given, **asked)

    async with bench.open() as (app, pilot):
        view, pane = app.screen.query_one(LogView), app.screen.query_one(LogPane)
        await settle(pilot, lambda: bool(view._lines))
        view.focus()
        monkeypatch.setattr(bench.fleet, "search", step)
        await pilot.press("slash", *"absent", "enter")
        await settle(pilot, lambda: "to go, esc ends" in str(pane.border_subtitle))
        await pilot.press("escape")
        await settle(pilot, lambda: not view._lock.locked())
        assert view.note == "" and app.screen.tab == "run"  # type: ignore[attr-defined]


async def test_a_stage_run_directly_is_searched_in_what_it_logged(bench: Bench) -> None:
    key = bench.run("hand")
    bench.events(key, [{"kind": "log", "data": {"text": f"line {n}"}} for n in range(500)])
    async with bench.open() as (app, pilot):
        await pilot.press("2")
        await settle(
            pilot, lambda: bool(app.screen.query(LogView)) and bool(app.screen.query_one(LogView)._lines)
        )
        view = app.screen.query_one(LogView)
        view.focus()
        await pilot.press("slash", *"LINE 77", "enter")
        await settle(pilot, lambda: found(view).endswith("line 77"))
