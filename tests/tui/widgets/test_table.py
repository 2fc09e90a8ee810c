"""The virtual table: aligned at every width, quick at any length, with a cursor that stays on its row."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.app import App, ComposeResult

from remote.runs import RunRow
from tests.tui.conftest import Bench, settle
from tui.column_keys import COLUMN_KEYS
from tui.screens.hosts import COLUMNS as HOST_COLUMNS
from tui.screens.plan import COLUMNS as PLAN_COLUMNS
from tui.widgets.alerts import COLUMNS as ALERT_COLUMNS
from tui.widgets.columns import GAP, Column, fit, fit_cell, layout, most_skipped, wide_layout
from tui.widgets.run_table import COLUMNS, ORDERS, RunTable, ordered
from tui.widgets.table import VirtualTable

TABLES = {"runs": COLUMNS, "hosts": HOST_COLUMNS, "alerts": ALERT_COLUMNS, "plans": PLAN_COLUMNS}
EVERY_TABLE = pytest.mark.parametrize("columns", TABLES.values(), ids=TABLES.keys())


@given(st.text(max_size=60), st.integers(min_value=1, max_value=40), st.sampled_from(["left", "right"]))
def test_a_cell_has_exactly_its_width(text: str, width: int, align: str) -> None:
    clean = "".join(c for c in text if c.isprintable())
    assert cell_len(fit(clean, width, align)) == width


@EVERY_TABLE
def test_columns_fill_the_table_exactly_at_every_width(columns: tuple[Column, ...]) -> None:
    for width in range(75, 260):
        for keep in ("", *(column.name for column in columns)):
            shown = layout(columns, width, keep)
            assert sum(w for _, w in shown) + GAP * (len(shown) - 1) == width, width
            assert not keep or keep in [column.name for column, _ in shown]


@EVERY_TABLE
def test_a_column_has_room_for_its_title_and_the_arrow(columns: tuple[Column, ...]) -> None:
    assert not [column.title for column in columns if column.sort and column.width < len(column.title) + 1]
    for width in (75, 115, 195):
        assert all(size >= column.width for column, size in layout(columns, width))


def test_what_one_looks_for_is_in_sight_at_every_size() -> None:
    """Names are those of the columns; a border, a scroll bar and the margins take five cells."""
    at_80 = [column.name for column, _ in layout(COLUMNS, 80 - 5)]
    assert at_80 == ["status", "name", "stage", "done", "figure", "eta", "started"]
    at_120 = {column.name: width for column, width in layout(COLUMNS, 120 - 5)}
    assert {"status", "name", "stage", "host", "done", "figure", "started", "note"} <= at_120.keys()
    assert at_120["note"] >= 18
    assert len(layout(COLUMNS, 200 - 5)) == len(COLUMNS)


@EVERY_TABLE
def test_the_wide_mode_shows_every_column_in_full_on_some_page(columns: tuple[Column, ...]) -> None:
    for width in (75, 115, 195):
        whole = set()
        for skip in range(most_skipped(columns, width) + 1):
            placed = wide_layout(columns, width, skip)
            assert sum(w for _, w in placed) + GAP * (len(placed) - 1) <= width
            frozen = [column for column in columns if column.frozen]
            assert [column for column, _ in placed][: len(frozen)] == frozen
            whole |= {column.name for column, w in placed if w >= column.full}
        assert whole == {column.name for column in columns}


@pytest.mark.parametrize(("columns", "group"), [(COLUMNS, "columns"), (HOST_COLUMNS, "host_columns")])
def test_every_column_with_an_order_has_a_letter_in_its_title(
    columns: tuple[Column, ...], group: str
) -> None:
    letters = COLUMN_KEYS[group]
    assert letters.keys() == {column.name for column in columns if column.sort}
    for column in columns:
        assert letters.get(column.name, "") in column.title.upper()


def test_a_cell_too_narrow_for_its_text_shows_the_shorter_one() -> None:
    assert fit_cell(("Nov 28 14:02", "muted", "Nov 28"), 8, "right") == "  Nov 28"
    assert fit_cell(("Nov 28 14:02", "muted", "Nov 28"), 12, "right") == "Nov 28 14:02"
    assert fit_cell(("Nov 28 14:02", "muted"), 8, "left") == "Nov 28 …"


class Lines(App[None]):
    def __init__(self) -> None:
        super().__init__()
        self.clicked: list[str] = []

    def on_virtual_table_header_clicked(self, event: VirtualTable.HeaderClicked) -> None:
        self.clicked.append(event.column)

    def compose(self) -> ComposeResult:
        columns = [Column("n", "number", 8, "right"), Column("t", "text", 10, grow=1)]
        yield VirtualTable[int](columns, lambda n: {"n": (str(n), ""), "t": (f"line {n}", "good")}, str)

    @property
    def table(self) -> VirtualTable[int]:
        return self.query_one(VirtualTable)


async def test_a_hundred_thousand_rows_cost_no_more_than_those_in_sight() -> None:
    app = Lines()
    async with app.run_test(size=(60, 20)) as pilot:
        started = time.perf_counter()
        app.table.show(range(100_000))
        await pilot.press("end")
        await settle(pilot, lambda: app.table.scroll_offset.y > 0, timeout=2)
        assert app.table.current == 99_999
        assert "line 99999" in "".join(app.table.render_line(y).text for y in range(20))
        assert time.perf_counter() - started < 2.0


async def test_only_the_rows_that_are_others_are_drawn_again() -> None:
    app = Lines()
    async with app.run_test(size=(60, 20)) as pilot:
        items = [1000 + n for n in range(300)]
        app.table.show(items)
        await pilot.pause()
        drawn: list[int] = []
        row = app.table._row
        app.table._row = lambda index: (drawn.append(index), row(index))[1]  # type: ignore[method-assign]
        same = [*items[:4], int("1004"), *items[5:200], int("1200"), *items[201:]]
        assert same == items and same[4] is not items[4]
        app.table.show(same)
        await pilot.pause(0.1)
        assert set(drawn) == {4}
        await pilot.press("down")
        await pilot.pause(0.1)
        assert set(drawn) == {0, 1, 4}


async def test_the_cursor_stays_on_its_row_when_rows_move() -> None:
    app = Lines()
    async with app.run_test(size=(60, 20)) as pilot:
        app.table.show(range(10))
        await pilot.press("down", "down", "down")
        assert app.table.current == 3
        app.table.show([9, 8, 3, 1])
        assert app.table.current == 3
        app.table.show([9, 8])
        assert app.table.current == 8
        app.table.show([])
        assert app.table.current is None


async def test_a_click_picks_a_row_and_a_title_names_its_column() -> None:
    app = Lines()
    async with app.run_test(size=(60, 20)) as pilot:
        app.table.show(range(10))
        await pilot.click(VirtualTable, offset=(5, 4))
        assert app.table.current == 3
        await pilot.click(VirtualTable, offset=(20, 0))
        await pilot.pause()
        assert app.clicked == ["t"]


def test_every_order_puts_pinned_runs_first_and_keeps_all(bench: Bench) -> None:
    keys = [
        bench.run("a", age=300, status="running"),
        bench.run("bb", age=200, status="failed"),
        bench.run("ccc", age=100),
    ]
    bench.training(keys[0])
    bench.store.pin(keys[1])
    rows = bench.store.runs()
    for column in ORDERS:
        for descending in (False, True):
            shown = [run.key for run in ordered(rows, column, descending)]
            assert shown[0] == keys[1]
            assert sorted(shown) == sorted(keys)
    assert [run.name for run in ordered(rows, "name")] == ["bb", "a", "ccc"]
    assert [run.name for run in ordered(rows, "name", True)] == ["bb", "ccc", "a"]
    assert [run.name for run in ordered(rows, "started")] == ["bb", "a", "ccc"]


def row(name: str, **values: object) -> RunRow:
    return RunRow(f"h/{name}", "h", name, name=name, **values)  # type: ignore[arg-type]


def names(rows: list[RunRow], column: str, descending: bool = False) -> str:
    return " ".join(run.name for run in ordered(rows, column, descending))


def test_results_are_sorted_by_the_figure_that_is_shown_each_kind_by_itself() -> None:
    rows = [
        row("loss-low", latest={"train/loss": 0.1}),
        row("bpb-high", latest={"val/bpb": 1.5, "train/loss": 0.01}),
        row("core-low", results={"core/core": 0.1}, latest={"val/bpb": 0.5}),
        row("nothing"),
        row("core-high", results={"core/core": 0.3}),
        row("bpb-low", latest={"val/bpb": 0.8}),
        row("task", results={"chat/ARC-Easy": 0.4}),
        row("nan", latest={"train/loss": float("nan")}),
    ]
    assert names(rows, "figure") == "core-low core-high bpb-low bpb-high loss-low task nothing nan"
    assert names(rows, "figure", True) == "core-high core-low bpb-high bpb-low loss-low task nothing nan"


@pytest.mark.parametrize("column", [name for name in ORDERS if name != "status"])
@pytest.mark.parametrize("descending", [False, True])
def test_runs_without_a_value_are_last_in_both_directions(column: str, descending: bool) -> None:
    full = row(
        "full",
        stage="base_train",
        status="running",
        step=5,
        total_steps=10,
        plan_name="p",
        eta_s=5.0,
        created_at=1e9,
        started_at=1e9,
        heartbeat=1e9 + 5,
        latest={"val/bpb": 1.0, "train/tok_per_sec": 1.0, "train/mfu": 1.0},
    )
    empty = RunRow("h/", "", "")
    assert [run.key for run in ordered([empty, full], column, descending)] == ["h/full", "h/"]


def test_names_are_in_the_order_in_which_people_count() -> None:
    rows = [row("d12"), row("d4"), row("D20"), row("d4-b"), row("²")]
    assert names(rows, "name") == "d4 d4-b d12 D20 ²"
    assert names(rows, "name", True) == "² D20 d12 d4-b d4"


@pytest.mark.slow
async def test_the_arrow_is_whole_and_tells_the_direction_at_every_size(bench: Bench) -> None:
    for age in range(50):
        plan = {"id": "p", "name": "demo"}
        key = bench.run("x" * (age + 1), age=age, host="box" if age % 2 else "local", plan=plan)
    bench.events(key, [{"kind": "metric", "step": 1, "data": {"train/mfu": 40.0}}])
    bench.run("live", status="running", age=1000)
    for size in ((80, 24), (120, 40)):
        async with bench.open(size=size) as (app, pilot):
            await pilot.press("1")
            await settle(pilot, lambda: bool(app.screen.query(RunTable)))
            table = app.screen.query_one(RunTable)
            titles = {column.name: column.title for column in COLUMNS}
            table.set_order("started")
            assert "created▼" in table.render_line(0).text
            for name in ORDERS:
                table.set_order(name, descending=False)
                await pilot.pause()
                shown = table.render_line(0).text
                assert titles[name] + "▲" in shown
                table.action_reverse()
                assert titles[name] + "▼" in table.render_line(0).text


@pytest.mark.slow
async def test_no_column_goes_when_the_scroll_bar_comes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunTable, "tick", lambda _table, _rows: None)  # it would be told of the app's own run
    for width in (80, 120, 200):
        async with bench.open(size=(width, 40)) as (app, pilot):
            if not app.rows:
                bench.run("x")
                await app.reread()
                await settle(pilot, lambda: len(app.screen_stack) == 2)
            table = app.screen.query_one(RunTable)
            rows = [row(f"r{n}", created_at=1e9 + n) for n in range(200)]
            table.show(rows[:3])
            await pilot.pause()
            assert not table.show_vertical_scrollbar
            before = table.render_line(0).text
            table.show(rows)
            await pilot.pause()
            assert table.show_vertical_scrollbar
            assert table.render_line(0).text == before
