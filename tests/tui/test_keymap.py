"""Remapped keys: what clashes is told, nothing is lost, and every screen writes the keys as they are now."""

from pathlib import Path

import pytest

from remote.cli.doctor import _keymap
from tests.tui.conftest import Bench, settle
from tui.command_palette import Actions
from tui.keymap import hint, is_key, key_name, keys_of, keys_text, problems, with_keys, without_clashes
from tui.keys import BY_ID, KEYS
from tui.screens.base import ControlScreen
from tui.screens.help import Help
from tui.screens.panes import PaneScreen
from tui.screens.runs import RunsScreen
from tui.widgets.bars import KeyBar
from tui.widgets.pane_tabs import PaneTabs
from tui.widgets.run_table import RunTable


def test_a_key_taken_from_another_action_is_refused_and_both_are_named() -> None:
    kept, told = without_clashes({"runs.open": "o"})
    assert kept == {}
    (line,) = told
    assert "'o'" in line
    assert "runs.sort" in line
    assert "runs.open keeps enter" in line


def test_two_actions_may_swap_their_keys() -> None:
    swapped = {"runs.open": "o", "runs.sort": "enter"}
    assert without_clashes(swapped) == (swapped, [])


def test_of_two_lines_that_want_one_key_the_first_gets_it() -> None:
    kept, told = without_clashes({"runs.stop": "ctrl+x", "runs.resume": "ctrl+x"})
    assert kept == {"runs.stop": "ctrl+x"}
    assert "runs.resume keeps r" in told[0]


def test_a_line_that_yields_makes_no_new_clash() -> None:
    """runs.sort gives its key up for one that is taken: then the line that wanted its key yields too."""
    kept, told = without_clashes({"runs.open": "o", "runs.sort": "s"})
    assert kept == {}
    assert len(told) == 2


def test_keys_of_plots_and_of_their_screen_are_bound_in_one_place() -> None:
    kept, told = without_clashes({"run.smooth": "a"})
    assert kept == {}
    assert "plots.axis" in told[0]


def test_a_key_that_hides_another_ones_is_applied_and_told() -> None:
    kept, told = without_clashes({"log.follow": "e", "app.freeze": "s"})
    assert kept == {"log.follow": "e", "app.freeze": "s"}
    assert any("log.follow" in line and "run.smooth" in line for line in told)
    assert any("app.freeze" in line and "runs.stop" in line for line in told)


def test_the_table_itself_and_keys_written_as_characters_are_no_clash() -> None:
    assert without_clashes({}) == ({}, [])
    assert without_clashes({"app.help": "?", "log.find": "/", "runs.stop": "ctrl+x, f9"})[1] == []


@pytest.mark.parametrize(
    ("key", "known"),
    [
        *((key, False) for key in ("F9", "ctrl-x", "ctlr+x", "", "x,")),
        *((key, True) for key in ("f9", "ctrl+x", "?", "question_mark", "shift+left", "pageup", "ä", "x, y")),
    ],
)
def test_a_key_that_no_terminal_sends_is_told(key: str, known: bool) -> None:
    kept, told = without_clashes({"app.help": key})
    assert (kept != {}) == known
    assert any("there is no key" in line for line in told) != known


@pytest.mark.parametrize("key", [key for group in KEYS.values() for key in group], ids=lambda key: key.id)
def test_the_tables_own_keys_are_keys(key) -> None:  # type: ignore[no-untyped-def]
    assert all(is_key(name) for name in keys_of(key, {}))


def test_a_key_is_written_one_way() -> None:
    assert [key_name(key) for key in ("ctrl+s", "shift+left", "slash", "f1", "F", "enter", "ctrl+slash")] == [
        "ctrl+s",
        "shift+←",
        "/",
        "F1",
        "F",
        "⏎",
        "ctrl+/",
    ]
    assert keys_text(BY_ID["app.back"], {}) == "esc backspace"
    assert keys_text(BY_ID["runs.stop"], {"runs.stop": "ctrl+x,f9"}) == "ctrl+x F9"
    assert hint("launch.start", {}) == "ctrl+s"
    assert hint("launch.start", {"launch.start": "f5"}) == "F5"


def test_doctor_names_the_clashes_of_the_keymap_file(tmp_path: Path) -> None:
    path = tmp_path / "keymap.toml"
    assert list(_keymap(path)) == []
    path.write_text('"runs.open" = "o"\n')
    (check,) = _keymap(path)
    assert check.level == "warn"
    assert "runs.open" in check.what
    assert "runs.sort" in check.what
    path.write_text('"runs.opne" = "o"\n')
    assert "did you mean 'runs.open'" in problems(path)[0]


async def test_bar_help_and_palette_show_the_keys_as_remapped(bench: Bench) -> None:
    bench.run("one")
    (bench.layout.base / "keymap.toml").write_text('"runs.stop" = "ctrl+x"\n"app.theme" = "f9"\n')
    async with bench.open() as (app, pilot):
        bar = str(app.screen.query_one(KeyBar).render())
        assert "ctrl+x" in bar
        assert " s " not in bar
        palette = {key.id: keys for _, keys, key in Actions(app.screen)._actions()}
        assert palette["runs.stop"] == "ctrl+x"
        assert palette["app.theme"] == "F9"
        await pilot.press("question_mark")
        await settle(pilot, lambda: type(app.screen).__name__ == "Help")
        shown = " ".join(str(widget.render()) for widget in app.screen.query("Static"))
        assert "ctrl+x" in shown
        assert "F9" in shown


async def test_texts_on_screen_name_the_keys_as_remapped(bench: Bench) -> None:
    """The help page's text, hints on borders and tabs, what an empty table says."""
    (bench.layout.base / "keymap.toml").write_text(
        '"run.smooth" = "ctrl+x"\n"run.log" = "f9"\n"runs.launch" = "ctrl+n"\n"app.palette" = "f10"\n'
    )
    bench.training(bench.run("one", status="running"), steps=5)
    async with bench.open((80, 24)) as (app, pilot):
        assert "F9: next" in str(app.screen.query_one(PaneTabs).render())
        await pilot.press("question_mark")
        await settle(pilot, lambda: isinstance(app.screen, Help))
        assert "Curves are smoothed (ctrl+x)" in str(app.screen.query(".about").first().render())
        assert "F10 every action" in str(app.screen.query_one(".help").border_subtitle)
        await pilot.press("escape", "1")
        await settle(pilot, lambda: isinstance(app.screen, RunsScreen))
        assert app.screen.query_one(RunTable).empty.startswith("no runs here yet: ctrl+n launches")


@pytest.mark.parametrize("screen", ControlScreen.__subclasses__() + PaneScreen.__subclasses__())
def test_every_action_that_a_screens_text_names_exists(screen: type[ControlScreen]) -> None:
    assert "{" not in with_keys(screen.about, {})


async def test_a_clash_is_said_in_the_app_and_both_actions_keep_a_key(bench: Bench) -> None:
    bench.run("one")
    (bench.layout.base / "keymap.toml").write_text('"runs.open" = "o"\n"runs.stop" = "ctrl+x"\n')
    async with bench.open() as (app, pilot):
        await settle(pilot)
        bar = str(app.screen.query_one(KeyBar).render())
        assert "⏎ open" in bar
        assert "o sort" in bar
        assert "ctrl+x stop" in bar
        assert any("runs.open" in said.text and "runs.sort" in said.text for said in app.messages)
