"""The command palette finds an action by its id, its initials or a word, and the best one first."""

import pytest
from textual.command import CommandPalette

from tests.tui.conftest import Bench, settle
from tui.command_palette import Actions, rank
from tui.keys import KEYS
from tui.screens.base import ControlScreen
from tui.screens.hosts import HostsScreen
from tui.screens.launch import LaunchScreen
from tui.screens.plan import PlanScreen
from tui.screens.run import RunScreen
from tui.screens.runs import RunsScreen
from tui.screens.welcome import Welcome


def best(query: str, groups: tuple[str, ...] = RunsScreen.groups) -> str:
    keys = [key for group in (*groups, "app") for key in KEYS[group]]
    return max(enumerate(keys), key=lambda item: (rank(query, item[1]), -item[0]))[1].id


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("thm", "app.theme"),
        ("theme", "app.theme"),
        ("nt", "app.theme"),  # initials of its description
        ("app.theme", "app.theme"),
        ("ro", "runs.open"),  # initials of its id
        ("quit", "app.quit"),
        ("help", "app.help"),
        ("Sort", "runs.sort"),
        ("resume", "runs.resume"),
        ("resume ended", "runs.resume"),
        ("frz", "app.freeze"),
        ("shell", "runs.shell"),
    ],
)
def test_the_best_answer_comes_first(query: str, wanted: str) -> None:
    assert best(query) == wanted


@pytest.mark.parametrize("screen", [RunsScreen, RunScreen, HostsScreen, LaunchScreen, PlanScreen, Welcome])
def test_thm_is_next_theme_on_every_screen(screen: type[ControlScreen]) -> None:
    assert best("thm", screen.groups) == "app.theme"


def test_what_has_no_letters_in_order_is_no_answer() -> None:
    assert not any(rank("zzq", key) for keys in KEYS.values() for key in keys)
    assert not any(rank(" ", key) for keys in KEYS.values() for key in keys)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_it_is_a_dialog_like_the_others_with_a_line_an_action(
    bench: Bench, size: tuple[int, int]
) -> None:
    bench.run("one")
    async with bench.open(size) as (app, pilot):
        await pilot.press("ctrl+p", *"thm")
        await settle(pilot, lambda: isinstance(app.screen, CommandPalette))
        options = app.screen.query_one("CommandList")
        first = lambda: str(options.get_option_at_index(0).prompt) if options.option_count else ""  # type: ignore[attr-defined]  # noqa: E731
        await settle(pilot, lambda: first().startswith("Next theme"))
        assert first().endswith("T")
        assert "\n" not in first()
        assert options.region.width <= 92
        assert not app.screen.query_one("SearchIcon").display
        await pilot.press("enter")
        await settle(pilot, lambda: app.theme == "light")


async def test_the_list_before_anything_is_typed_has_the_same_lines(bench: Bench) -> None:
    bench.run("one")
    async with bench.open() as (app, _):
        provider = Actions(app.screen)
        shown = {hit.text: str(hit.prompt) async for hit in provider.discover()}
        found = {hit.text: str(hit.prompt) async for hit in provider.search("theme")}
        assert found
        assert all(shown[text] == line for text, line in found.items())
