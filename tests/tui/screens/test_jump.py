"""Jump labels: a letter over every pane, field and tab, and where pressing it leads."""

import pytest

from tests.tui.conftest import Bench, settle
from tui.screens.jump import LETTERS, Jump, labels, places
from tui.screens.launch import LaunchScreen
from tui.screens.run import RunScreen
from tui.widgets.log_view import LogView


def test_labels_are_letters_and_pairs_when_those_are_too_few() -> None:
    assert labels(3) == ["a", "s", "d"]
    assert len(set(labels(26))) == 26
    many = labels(60)
    assert len(set(many)) == 60
    assert {len(label) for label in many} == {2}
    assert set("".join(many)) <= set(LETTERS)


async def test_a_letter_focuses_a_pane_or_goes_to_a_tab(bench: Bench) -> None:
    bench.training(bench.run("one", status="running"), steps=20)
    async with bench.open() as (app, pilot):
        screen = app.screen
        assert isinstance(screen, RunScreen)
        await settle(pilot, lambda: any(isinstance(place.widget, LogView) for place in places(screen)))
        found = places(screen)
        assert {type(place.widget).__name__ for place in found} >= {"TopBar", "Plot", "LogView", "Samples"}
        assert len({place.at for place in found}) == len(found)
        await pilot.press("ctrl+o")
        await settle(
            pilot, lambda: isinstance(app.screen, Jump) and len(app.screen.query(".jump")) == len(found)
        )
        log = next(index for index, place in enumerate(found) if isinstance(place.widget, LogView))
        await pilot.press(labels(len(found))[log])
        await settle(pilot, lambda: app.screen is screen and isinstance(app.focused, LogView))
        hosts = next(index for index, place in enumerate(found) if "hosts" in place.action)
        await pilot.press("ctrl+o")
        await settle(pilot, lambda: isinstance(app.screen, Jump))
        await pilot.press(labels(len(found))[hosts])
        await settle(pilot, lambda: getattr(app.screen, "tab", "") == "hosts")


@pytest.mark.parametrize("key", ["escape", "f9", "1"])
async def test_any_other_key_changes_nothing(bench: Bench, key: str) -> None:
    bench.run("one")
    async with bench.open() as (app, pilot):
        screen, focused = app.screen, app.focused
        await pilot.press("ctrl+o")
        await settle(pilot, lambda: isinstance(app.screen, Jump))
        await pilot.press(key)
        await settle(pilot, lambda: app.screen is screen)
        assert app.focused is focused


async def test_labels_go_when_the_screen_below_moves(bench: Bench) -> None:
    bench.run("one")
    async with bench.open() as (app, pilot):
        screen = app.screen
        await pilot.press("ctrl+o")
        await settle(pilot, lambda: isinstance(app.screen, Jump))
        await pilot.resize_terminal(80, 24)
        await settle(pilot, lambda: app.screen is screen)


async def test_fields_of_a_form_in_sight_have_labels_and_hidden_ones_none(bench: Bench) -> None:
    bench.run("one")
    async with bench.open((80, 24)) as (app, pilot):
        await pilot.press("n")
        await settle(
            pilot, lambda: isinstance(app.screen, LaunchScreen) and len(app.screen.query("Input")) > 10
        )
        found = places(app.screen)
        assert {place.widget.id for place in found} >= {"stage", "host", "name"}
        height = app.size.height
        assert all(0 <= place.at.y < height for place in found)
        inputs = [widget for widget in app.screen.query("Input") if widget.focusable]
        assert len([place for place in found if place.widget in inputs]) < len(inputs)


async def test_on_a_narrow_run_screen_a_tab_is_jumped_to(bench: Bench) -> None:
    bench.run("one")
    async with bench.open((80, 24)) as (app, pilot):
        await app.action_go("run")
        await settle(pilot)
        screen = app.screen
        assert isinstance(screen, RunScreen)
        found = places(screen)
        at = next(index for index, place in enumerate(found) if place.action == "pane('log')")
        await pilot.press("ctrl+o")
        await settle(pilot, lambda: isinstance(app.screen, Jump))
        await pilot.press(labels(len(found))[at])
        await settle(pilot, lambda: screen.pane == "log")
