"""The virtual table: aligned at every width, quick at any length, with a cursor that stays on its row."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.app import App, ComposeResult

from tests.tui.conftest import Bench, settle
from tui.screens.hosts import COLUMNS as HOST_COLUMNS
from tui.widgets.alerts import COLUMNS as ALERT_COLUMNS
from tui.widgets.run_table import COLUMNS, ORDERS, ordered
from tui.widgets.table import GAP, Column, VirtualTable, fit, layout


@given(st.text(max_size=60), st.integers(min_value=1, max_value=40), st.sampled_from(["left", "right"]))
def test_a_cell_has_exactly_its_width(text: str, width: int, align: str) -> None:
    clean = "".join(c for c in text if c.isprintable())
    assert cell_len(fit(clean, width, align)) == width


@pytest.mark.parametrize("columns", [COLUMNS, HOST_COLUMNS, ALERT_COLUMNS], ids=["runs", "hosts", "alerts"])
def test_columns_fill_the_table_exactly_at_every_width(columns: tuple[Column, ...]) -> None:
    for width in range(76, 260):
        shown = layout(columns, width)
        assert sum(w for _, w in shown) + GAP * (len(shown) - 1) == width, width


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
        for reverse in (False, True):
            shown = [run.key for run in ordered(rows, column, reverse)]
            assert shown[0] == keys[1]
            assert sorted(shown) == sorted(keys)
    assert [run.name for run in ordered(rows, "name")] == ["bb", "a", "ccc"]
    assert [run.name for run in ordered(rows, "started", reverse=True)] == ["bb", "a", "ccc"]
