"""Runs, the home screen: the pipeline on top, every run of every host below."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from textual.widget import Widget
from textual.widgets import Input

from nanochat.common.errors import UserError
from tui.actions import run as run_actions
from tui.actions.run_bindings import RunActions
from tui.data import run_filter
from tui.keys import bindings
from tui.screens.base import ControlScreen
from tui.widgets.pipeline_map import PipelineMap
from tui.widgets.run_table import ORDERS, RunTable, ordered
from tui.widgets.table import VirtualTable

if TYPE_CHECKING:
    from remote.runs import Change, RunRow


class RunsScreen(RunActions, ControlScreen):
    """All runs, newest first until sorted otherwise."""

    tab = "runs"
    groups = ("runs", "table")
    about = (
        "Every run of every host, newest first. The boxes on top are the pipeline with the newest run of "
        "each stage; click one for its runs. The filter takes words, key:value (name stage host status plan "
        "tag id has) and -term; all must hold."
    )
    BINDINGS = bindings("runs")
    AUTO_FOCUS = "#runs"

    def __init__(self) -> None:
        super().__init__()
        self.map = PipelineMap(id="pipeline")
        self.table = RunTable(id="runs")
        self.search = Input(placeholder="words, stage:base, host:box, status:running, -word …", id="filter")
        self.search.display = False
        self.search.border_title = "filter"
        self.order = "started"
        self.reverse = False
        self.keep: run_filter.Predicate = lambda run: True

    def body(self) -> Iterable[Widget]:
        yield self.map
        yield self.table
        yield self.search

    def changed(self, changes: frozenset[Change]) -> None:
        rows = self.room.rows
        self.map.show(rows)
        shown = ordered([run for run in rows if self.keep(run)], self.order, self.reverse)
        table = self.table
        table.silent, table.links = self.room.silent_hosts(), self.room.links
        table.show(shown, {self.order: " ▲" if self.reverse else " ▼"})
        count = f"{len(shown)} of {len(rows)}" if len(shown) != len(rows) else f"{len(rows)}"
        table.border_title = f"runs · {count}"
        running = sum(run.status == "running" for run in rows)
        table.border_subtitle = f"{running} running" if running else ""

    def tick(self) -> None:
        if any(run.live for run in self.room.rows):
            self.table.silent, self.table.links = self.room.silent_hosts(), self.room.links
            self.table.refresh()

    def default_focus(self) -> Widget:
        return self.table

    @property
    def chosen_run(self) -> RunRow | None:
        return self.table.current

    def action_open(self) -> None:
        run = self.chosen_run
        if run is not None:
            self.room.open_run(run.key)

    def on_virtual_table_selected(self, event: VirtualTable.Selected) -> None:
        self.room.open_run(event.key)

    def on_virtual_table_header_clicked(self, event: VirtualTable.HeaderClicked) -> None:
        if event.column == self.order:
            self.action_reverse()
        elif event.column in ORDERS:
            self.order, self.reverse = event.column, False
            self.changed(frozenset())

    def on_pipeline_map_picked(self, event: PipelineMap.Picked) -> None:
        self._set_filter(f"stage:{event.stages[0]}")

    def action_filter(self) -> None:
        self.search.display = True
        self.search.focus()

    def _set_filter(self, text: str) -> None:
        self.search.value = text
        self.search.display = bool(text)

    def on_input_changed(self, event: Input.Changed) -> None:
        try:
            self.keep = run_filter.parse(event.value)
        except UserError as error:
            event.input.border_subtitle = str(error)
            return
        event.input.border_subtitle = ""
        self.changed(frozenset())

    def on_input_submitted(self) -> None:
        self.leave_field()

    def leave_field(self) -> bool:
        left = super().leave_field()
        if not self.search.value:
            self.search.display = False
        return left

    def go_back(self) -> bool:
        """Removes the filter first."""
        if self.search.value:
            self._set_filter("")
            return True
        return False

    def action_sort(self) -> None:
        names = [column.name for column in self.table.columns if column.name in ORDERS]
        self.order = names[(names.index(self.order) + 1) % len(names)]
        self.reverse = False
        self.changed(frozenset())

    def action_reverse(self) -> None:
        self.reverse = not self.reverse
        self.changed(frozenset())

    def action_pin(self) -> None:
        run = self.chosen_run
        if run is not None:
            self.room.do(run_actions.pin(self.room, run))
