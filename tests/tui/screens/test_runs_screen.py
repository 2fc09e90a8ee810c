"""Runs: its filter, order, groups, marks, tags, notes and archive, as they are used by key."""

import asyncio

import pytest

from remote.runs import RunRow
from tests.tui.conftest import Bench, settle
from tui.app import ControlRoom
from tui.data.run_view import RunGroup
from tui.screens.ask import Ask
from tui.screens.confirm import Confirm
from tui.screens.runs import RunsScreen
from tui.widgets.filter_field import FilterField, Offers
from tui.widgets.pipeline_map import PipelineMap
from tui.widgets.run_table import RunTable

FAILED = "CUDA out of memory"


@pytest.fixture
def three(bench: Bench) -> list[str]:
    """Three ended runs; the newest first."""
    return [
        bench.run("new", age=100),
        bench.run("broken", age=200, status="failed", state={"reason": FAILED}, options={"depth": 20}),
        bench.run("oldest", "tok_train", age=300, options={"depth": 4}),
    ]


def table(app: ControlRoom) -> RunTable:
    return app.screen_stack[1].query_one(RunTable)


def shown(app: ControlRoom) -> list[str]:
    return [line.name for line in table(app).items]


def text(app: ControlRoom) -> str:
    return "\n".join(table(app).render_line(y).text for y in range(table(app).size.height))


def offers(app: ControlRoom) -> str:
    return str(app.screen.query_one(Offers).render())


async def typed(pilot, words: str) -> None:  # type: ignore[no-untyped-def]
    names = {" ": "space", ":": "colon", "<": "less_than_sign", ">": "greater_than_sign", ".": "full_stop"}
    await pilot.press(*(names.get(letter, letter) for letter in words))
    await settle(pilot)


async def test_a_date_and_the_reason_of_a_failure_are_in_sight_at_120_by_40(
    bench: Bench, three: list[str], frozen_clock: float
) -> None:
    async with bench.open(size=(120, 40)) as (app, _):
        assert FAILED in text(app)
        assert "14:11" in text(app)
        assert "created▼" in text(app)


async def test_a_filter_that_is_not_understood_says_so_and_leaves_the_rows(
    bench: Bench, three: list[str]
) -> None:
    async with bench.open() as (app, pilot):
        await pilot.press("slash")
        await typed(pilot, "status:failed")
        assert shown(app) == ["broken"]
        field = app.screen.query_one(FilterField)
        for words, told in ((" lsos<2", "did you mean 'loss'"), (" depht:", "no field 'depht'")):
            before = field.value
            await typed(pilot, words)
            assert told in str(field.border_subtitle)
            assert shown(app) == ["broken"]
            field.value = before
            await settle(pilot)
            assert not field.border_subtitle
        field.value = "statsu:failed"
        await settle(pilot)
        assert "did you mean 'status'" in str(field.border_subtitle)
        assert shown(app) == ["new", "broken", "oldest"]


async def test_comparisons_and_words_filter_as_the_language_says(bench: Bench, three: list[str]) -> None:
    async with bench.open() as (app, pilot):
        field = app.screen.query_one(FilterField)
        for words, names in (
            ("config.depth>12", ["broken"]),
            ("new or oldest", ["new", "oldest"]),
            ("not status:failed", ["new", "oldest"]),
            ("tok or (base status:failed)", ["broken", "oldest"]),
            ("nothing at all", []),
        ):
            field.value = words
            await settle(pilot)
            assert shown(app) == names, words
        for words in ("nothing at all", "nothing here"):
            field.value = words
            await settle(pilot)
            painted = "".join(strip.text for strip in app.screen._compositor.render_strips())
            assert f"no run matches {words}" in painted


async def test_tab_completes_fields_and_values_that_are_shown_under_the_field(
    bench: Bench, three: list[str]
) -> None:
    async with bench.open() as (app, pilot):
        await pilot.press("slash")
        await settle(pilot)
        assert "stage:" in offers(app)
        await typed(pilot, "sta")
        assert "status:" in offers(app)
        await pilot.press("tab")
        field = app.screen.query_one(FilterField)
        assert field.value == "stage:"
        await pilot.press("tab")
        assert field.value == "status:"
        await pilot.press("shift+tab")
        assert field.value == "stage:"
        await typed(pilot, "t")
        assert "stage:tok_train" in offers(app)
        await pilot.press("tab")
        await settle(pilot)
        assert field.value == "stage:tok_train"
        assert shown(app) == ["oldest"]
        await pilot.press("enter")
        await settle(pilot)
        assert not app.screen.query_one(Offers).display
        assert app.focused is table(app)


async def test_options_and_marks_by_mouse(bench: Bench, three: list[str]) -> None:
    async with bench.open() as (app, pilot):
        await pilot.press("slash")
        await typed(pilot, "stage:")
        await pilot.click(Offers, offset=(offers(app).index("stage:tok_train") + 2, 0))
        await settle(pilot, lambda: app.screen.query_one(FilterField).value == "stage:tok_train")
        assert isinstance(app.focused, FilterField)
        await pilot.press("escape", "escape")
        await settle(pilot, lambda: len(shown(app)) == 3)
        await pilot.click(RunTable, offset=(10, 3), control=True)
        await settle(pilot, lambda: "1 marked" in str(table(app).border_title))
        assert [run.name for run in table(app).chosen_runs] == ["broken"]
        header = text(app).splitlines()[0]
        await pilot.click(RunTable, offset=(1 + header.index("name"), 1))
        assert "name▲" in text(app)


async def test_shift_and_a_columns_letter_sort_by_it(bench: Bench, three: list[str]) -> None:
    async with bench.open() as (app, pilot):
        await pilot.press("N")
        assert shown(app) == ["broken", "new", "oldest"]
        await pilot.press("N")
        assert shown(app) == ["oldest", "new", "broken"]
        await pilot.press("U")
        assert shown(app)[0] == "broken"
        await pilot.press("C")
        assert shown(app) == ["new", "broken", "oldest"]


async def test_order_wide_mode_and_groups_hold_after_the_next_start(bench: Bench, three: list[str]) -> None:
    async with bench.open() as (app, pilot):
        await pilot.press("N", "ctrl+w", "b", "ctrl+e", "slash")
        await typed(pilot, "config.depth>5")
        await pilot.press("enter")
        await settle(pilot, lambda: (app.settings.get("runs") or {}).get("filter") == "config.depth>5")
        assert not app.screen.query_one(PipelineMap).display
    async with bench.open() as (app, _):
        assert (table(app).order, table(app).descending, table(app).wide) == ("name", False, True)
        assert table(app).view.group_by == "plan"
        assert [line.name for line in table(app).items] == ["", "broken"]
        assert app.screen.query_one(FilterField).display and app.focused is table(app)
        assert not app.screen.query_one(PipelineMap).display


async def test_the_wide_mode_scrolls_through_every_column(bench: Bench, three: list[str]) -> None:
    async with bench.open(size=(80, 24)) as (app, pilot):
        before = text(app)
        assert FAILED not in before
        await pilot.press("ctrl+w")
        seen = text(app)
        for _ in range(14):
            await pilot.press("right")
            seen += text(app)
        assert "step" in seen and FAILED in seen and "created" in seen
        assert "broken" in text(app), "the name stays"
        await pilot.press("ctrl+w")
        assert text(app) == before


async def test_tags_and_notes_are_written_by_key_kept_and_found(bench: Bench, three: list[str]) -> None:
    async with bench.open(size=(160, 40)) as (app, pilot):
        await pilot.press("t")
        await settle(pilot, lambda: isinstance(app.screen, Ask))
        await typed(pilot, "paper #best")
        await pilot.press("enter")
        await settle(pilot, lambda: app.rows[0].tags == ("best", "paper"))
        await settle(pilot, lambda: "#best #paper" in text(app))
        await pilot.press("w")
        await settle(pilot, lambda: isinstance(app.screen, Ask))
        await typed(pilot, "the one")
        await pilot.press("enter")
        await settle(pilot, lambda: "the one" in text(app))
        await pilot.press("t")
        await settle(pilot, lambda: isinstance(app.screen, Ask))
        assert app.screen.query_one("Input").value == "best paper"  # type: ignore[attr-defined]
        await pilot.press("ctrl+u")
        await typed(pilot, "paper")
        await pilot.press("enter")
        await settle(pilot, lambda: app.rows[0].tags == ("paper",))
        app.screen.query_one(FilterField).value = "tag:paper has:note"
        await settle(pilot)
        assert shown(app) == ["new"]
        await pilot.press("enter")
        await settle(pilot, lambda: type(app.screen).__name__ == "RunScreen")
        header = str(app.screen.query_one("#header").render())
        assert "#paper" in header and "the one" in header
    row = bench.store.run(three[0])
    assert row is not None and (row.tags, row.note) == (("paper",), "the one")


async def test_what_is_no_tag_is_told_and_changes_nothing(bench: Bench, three: list[str]) -> None:
    async with bench.open() as (app, pilot):
        said: list[str] = []
        app.say = lambda words, severity="information": said.append(words)  # type: ignore[method-assign]
        await pilot.press("t")
        await settle(pilot, lambda: isinstance(app.screen, Ask))
        app.screen.query_one("Input").value = 'good b"d'  # type: ignore[attr-defined]
        await pilot.press("enter")
        await settle(pilot, lambda: bool(said) or bool(bench.store.runs()[0].tags))
    assert not bench.store.runs()[0].tags


async def test_archived_runs_leave_the_list_and_come_back(bench: Bench, three: list[str]) -> None:
    bench.run("live", age=50, status="running")
    async with bench.open() as (app, pilot):
        await pilot.press("1")
        await settle(pilot, lambda: isinstance(app.screen, RunsScreen))
        await pilot.press("x")
        await settle(pilot)
        assert "live" in shown(app), "a live run is not archived"
        await pilot.press("down", "x")
        await settle(pilot, lambda: shown(app) == ["live", "broken", "oldest"])
        assert "3 of 4" in str(table(app).border_title)
        app.screen.query_one(FilterField).value = "is:archived"
        await settle(pilot, lambda: shown(app) == ["new"])
        await pilot.press("x")
        await settle(pilot, lambda: shown(app) == [])
        await pilot.press("escape")
        await settle(pilot, lambda: shown(app) == ["live", "new", "broken", "oldest"])


async def test_marked_runs_are_treated_together(bench: Bench, three: list[str]) -> None:
    live = [bench.run("x" * n, age=n, status="running") for n in (1, 2)]
    async with bench.open() as (app, pilot):
        await pilot.press("1")
        await settle(pilot, lambda: isinstance(app.screen, RunsScreen))
        await pilot.press("space", "space")
        assert "2 marked" in str(table(app).border_title)
        assert text(app).count("◆") == 2
        await pilot.press("s")
        await settle(pilot, lambda: isinstance(app.screen, Confirm))
        assert "Stop 2 runs?" in str(app.screen.query_one(".question").render())
        await pilot.press("y")
        await settle(pilot, lambda: sum(what == "stop" for what, _ in bench.fleet.asked) == 2)
        assert {value for what, value in bench.fleet.asked if what == "stop"} == set(live)
        await pilot.press("P")
        await settle(pilot, lambda: sum(run.pinned for run in app.rows) == 2)
        await pilot.press("escape")
        assert text(app).count("◆") == 0
        await pilot.press("ctrl+a")
        assert text(app).count("◆") == 5


async def test_runs_are_grouped_and_groups_fold(bench: Bench, three: list[str]) -> None:
    plan = {"id": "p", "name": "speedrun"}
    bench.run("s1", "tok_train", age=30, plan=plan)
    bench.run("s22", age=20, plan=plan)
    async with bench.open() as (app, pilot):
        await pilot.press("b")
        lines = table(app).items
        assert isinstance(lines[0], RunGroup) and lines[0].name == "speedrun"
        assert [len(line.runs) for line in lines if isinstance(line, RunGroup)] == [2, 3]
        assert "▾ speedrun" in text(app) and "2 runs" in text(app)
        await pilot.press("home", "enter")
        assert "▸ speedrun" in text(app)
        assert shown(app)[:2] == ["speedrun", ""]
        await pilot.press("B")
        assert shown(app) == ["speedrun", ""]
        await pilot.press("s")
        await settle(pilot)
        await pilot.press("b", "b", "b", "b")
        assert shown(app) == ["s22", "s1", "new", "broken", "oldest"]


async def test_what_another_program_writes_into_the_store_is_shown(bench: Bench, three: list[str]) -> None:
    from remote.store.store import Store

    async with bench.open() as (app, pilot):
        with Store(bench.layout.store) as other:
            await asyncio.to_thread(other.note, three[2], "by command")
        await app.reread()
        await settle(pilot, lambda: "by command" in text(app))
        rows: list[RunRow] = app.rows
        await app.reread()
        assert all(now is then for now, then in zip(app.rows, rows, strict=True))
