"""Runs, the home screen: the pipeline on top, every run of every host below."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from textual.containers import Container
from textual.content import Content
from textual.widget import Widget

from remote.comparison import MOST_RUNS
from tui.actions import marks
from tui.actions.mark_bindings import MarkActions
from tui.actions.run_bindings import RunActions
from tui.data.run_view import GROUPINGS
from tui.keymap import hint, with_keys
from tui.keys import bindings
from tui.screens.curve_preview import CurvePreview
from tui.screens.export_actions import ExportActions
from tui.screens.run_columns import SECONDS, ChosenColumns
from tui.widgets.filter_field import FilterField, Offers
from tui.widgets.pipeline_map import PipelineMap
from tui.widgets.run_table import EMPTY, RunTable
from tui.widgets.table import VirtualTable

if TYPE_CHECKING:
    from remote.runs import Change, RunRow
    from tui.room import Room

SETTING = "runs"
MAP_SECONDS = 2.0
"""The pipeline is drawn again at most this often while data comes in; the rows of runs at every delivery."""
ASKED_AGAIN = 5.0
"""Seconds after which a filter or an order that depends on the time is applied again."""


class RunsScreen(MarkActions, RunActions, ExportActions, CurvePreview):
    """All runs but archived ones, newest first until sorted otherwise."""

    tab = "runs"
    groups = ("runs", "table", "columns", "filter")
    about = (
        "Every run of every host, newest first. The boxes on top are the pipeline with the newest run of "
        "each stage; click one for its runs. {runs.mark} marks runs, {runs.compare} sets two to six marked "
        "ones side by side. The filter takes words, field:value, comparisons such as loss<2 "
        "and config.depth>12, and, or, not and parentheses; tab completes. Fields: name stage host status "
        "plan tag note reason id, has: (alerts note tags pin plan reason problem), is: (live ended pinned "
        "archived any), step done speed mfu eta time age attempt alerts, created ended, every metric, "
        "config.OPTION. {runs.columns} makes any of them a column, {runs.preview} shows or hides the curve "
        "of the run under the cursor, {runs.export_run} writes runs as tables."
    )
    BINDINGS = bindings("runs")
    pace = 0.5
    AUTO_FOCUS = "#runs"

    def __init__(self) -> None:
        super().__init__()
        self.map = PipelineMap(id="pipeline")
        self.table = RunTable(id="runs")
        self.table.empty = with_keys(EMPTY, self.room.keymap)
        self.columns = ChosenColumns(self.table)
        self.offers = Offers(id="offers")
        self.search = FilterField(lambda: self.room.rows, self.offers, id="filter")
        self.search.display = False
        self._marked: frozenset[str] = frozenset()
        self._asked = 0.0
        self._mapped = 0.0
        self._map_due = False
        self._read = 0.0

    def body(self) -> Iterable[Widget]:
        yield self.map
        yield Container(self.table, id="runs-and-curve")
        yield self.search
        yield self.offers

    def on_mount(self) -> None:
        kept = self.room.setting(SETTING)
        if not isinstance(kept, dict):
            return
        table = self.table
        self.map.display = kept.get("header") is not False
        table.wide = kept.get("wide") is True
        self.with_curve = kept.get("preview") is not False
        if kept.get("group") in GROUPINGS:
            table.view.group_by = kept["group"]
        self.columns.load(kept.get("columns"))
        order, descending = kept.get("order"), kept.get("descending") is True
        if isinstance(order, str) and order in table.orders:
            table.set_order(order, descending)
        elif isinstance(order, str):
            table.pending = (order, descending)
        if isinstance(kept.get("filter"), str):
            self._set_filter(kept["filter"])

    def remember(self) -> None:
        """Keeps how the table is looked at for the next start."""
        table = self.table
        order, descending = table.wanted_order
        kept = {
            "order": order,
            "descending": descending,
            "wide": table.wide,
            "group": table.view.group_by,
            "header": bool(self.map.display),
            "filter": self.search.value,
            "columns": self.columns.kept(),
            "preview": self.with_curve,
        }
        if kept != self.room.setting(SETTING):
            self.room.remember(SETTING, kept)

    def changed(self, changes: frozenset[Change]) -> None:
        rows = self.room.rows
        self._map_due = True
        if not changes or time.monotonic() - self._mapped >= MAP_SECONDS:
            self._show_map()
        table = self.table
        table.silent, table.links = self.room.silent_hosts(), self.room.links
        table.facts.links = table.links
        table.facts.set_hosts(self.room.hosts)
        table.show(rows)
        self.show_curve()
        self._titles()
        if not changes or (rows and self.columns.unasked):
            self._read_columns()

    def _show_map(self) -> None:
        if self.map.display:
            self._mapped, self._map_due = time.monotonic(), False
            self.map.show([run for run in self.room.rows if run.live or not run.archived])

    def _titles(self) -> None:
        rows, kept, table = self.room.rows, len(self.table.view.kept), self.table
        count = f"{kept} of {len(rows)}" if kept != len(rows) else f"{kept}"
        words = [f"runs · the newest {count}, reading all" if self.room.partial else f"runs · {count}"]
        if table.view.group_by:
            words.append(f"by {table.view.group_by}")
        if self._marked:
            words.append(f"{len(self._marked)} marked")
            if 1 < len(self._marked) <= MOST_RUNS:
                words.append(with_keys("{runs.compare} compares them", self.room.keymap))
        if table.wide:
            words.append("wide")
        title = " · ".join(words)
        if table.border_title != title:
            table.border_title = Content(title)
        running = [run.status for run in rows].count("running")
        subtitle = " · ".join(filter(None, (f"{running} running" if running else "", self.columns.sum)))
        if table.border_subtitle != subtitle:
            table.border_subtitle = Content(subtitle)

    def tick(self) -> None:
        table = self.table
        if table.view.filter.timed and time.monotonic() - self._asked > ASKED_AGAIN:
            self._asked = time.monotonic()
            table.view.forget()
            self.changed(frozenset())
        if self.search.has_class("-wrong"):  # a run may have got the metric by now that none had
            self._apply_filter()
        if self._map_due and time.monotonic() - self._mapped >= MAP_SECONDS:
            self._show_map()
        if time.monotonic() - self._read > SECONDS:
            self._read_columns()
        silent = self.room.silent_hosts()
        if silent != table.silent:
            table.silent = silent
            table.refresh()
        table.links = self.room.links
        table.tick(self.room.rows)

    def default_focus(self) -> Widget:
        return self.table

    @property
    def chosen_run(self) -> RunRow | None:
        return self.table.run

    @property
    def chosen_runs(self) -> list[RunRow]:
        """The marked runs that are shown, else what is under the cursor."""
        return self.table.chosen_runs

    # ---- opening -------------------------------------------------------------------------------------

    def action_open(self) -> None:
        group, run = self.table.group, self.table.run
        if group is not None:
            self.table.view.fold(group.key)
            self.table.rearrange()
        elif run is not None:
            self.room.open_run(run.key)

    def on_virtual_table_selected(self, event: VirtualTable.Selected) -> None:
        self.action_open()

    def on_pipeline_map_picked(self, event: PipelineMap.Picked) -> None:
        self._set_filter(f"stage:{event.stages[0]}")
        self.remember()

    def action_header(self) -> None:
        self.map.display = not self.map.display
        self.remember()
        self.changed(frozenset())

    # ---- filter --------------------------------------------------------------------------------------

    def action_filter(self) -> None:
        self.search.display = True
        self.set_focus(self.search)  # at once: what is typed next is for the field

    def _set_filter(self, text: str) -> None:
        self.search.value = text
        self.search.display = bool(text)

    def on_input_changed(self) -> None:
        self._apply_filter()
        self.search.show_offers()

    def _apply_filter(self) -> None:
        """Applies the filter; what it does not understand is said in a line and left out."""
        from remote.filter.run_filter import understood

        keep, error = understood(self.search.value, self.search.vocabulary())
        self.search.border_subtitle = Content(str(error) if error is not None else "")
        self.search.set_class(error is not None, "-wrong")
        if keep.text != self.table.view.filter.text:
            self.table.view.filter = keep
            self.table.empty = (
                f"no run matches {keep.text}: {hint('app.back', self.room.keymap)} takes the filter away"
                if keep.text
                else with_keys(EMPTY, self.room.keymap)
            )
            self.table.show(self.room.rows)
            self.table.refresh()  # also where no row came or went: an empty table says something else
            self.show_curve()
            self._titles()
            self._read_columns()

    def on_offers_taken(self, event: Offers.Taken) -> None:
        self.search.take(event.at)
        self.set_focus(self.search)

    def on_input_submitted(self) -> None:
        self.leave_field()

    def leave_field(self) -> bool:
        left = super().leave_field()
        if not self.search.value:
            self.search.display = False
        self.remember()
        return left

    def go_back(self) -> bool:
        """Takes marks away first, then the filter."""
        if self._marked:
            self._mark(frozenset())
            return True
        if self.search.value:
            self._set_filter("")
            self.remember()
            return True
        return False

    # ---- columns -------------------------------------------------------------------------------------

    def action_columns(self) -> None:
        self.run_worker(self._choose_columns(), group="choose")

    async def _choose_columns(self) -> None:
        from tui.screens.column_dialog import ColumnDialog, Offer

        def toggle(offer: Offer) -> set[str]:
            shown = self.columns.toggle(offer.name)
            self._read_columns()
            self.remember()
            return shown

        # Of ten thousand runs the names of all options and metrics take a while to gather.
        offers = await asyncio.to_thread(self.columns.offers, list(self.room.rows), self.table.run)
        if self.app.screen is self:
            self.app.push_screen(ColumnDialog(offers, self.columns.shown, toggle))

    def _read_columns(self) -> None:
        """Reads what the columns need and what the runs in sight cost; soon again where rows are others."""
        self._read = time.monotonic()
        self.run_worker(self._columns_read(), group="columns")

    async def _columns_read(self) -> None:
        if await self.columns.read(self.room, self._summed):
            self._titles()

    def _summed(self) -> list[RunRow]:
        """The marked runs that are shown, else all that are shown."""
        kept = self.table.view.kept
        return [run for run in kept if run.key in self._marked] or list(kept)

    # ---- order and groups ----------------------------------------------------------------------------

    def action_sort(self) -> None:
        self.table.action_sort()

    def action_reverse(self) -> None:
        self.table.action_reverse()

    def on_virtual_table_arranged(self) -> None:
        self.remember()
        self._titles()

    def action_group(self) -> None:
        by = self.table.view.next_grouping()
        self.table.rearrange()
        self.room.say(f"grouped by {by}; enter folds a group, B all of them" if by else "not grouped")
        self.remember()
        self._titles()

    def action_fold(self) -> None:
        if self.table.view.group_by:
            self.table.view.fold_all()
            self.table.rearrange()
        else:
            self.room.say("no groups to fold: b groups the runs", "warning")

    # ---- marks ---------------------------------------------------------------------------------------

    def action_mark(self) -> None:
        self.on_virtual_table_marked()
        self.table.action_move(1)

    def on_virtual_table_marked(self) -> None:
        """Marks what is under the cursor, or takes its mark away."""
        group, run = self.table.group, self.table.run
        keys = (
            {run.key for run in group.runs} if group is not None else {run.key} if run is not None else set()
        )
        self._mark(self._marked - keys if keys <= self._marked else self._marked | keys)

    def action_mark_all(self) -> None:
        shown = frozenset(run.key for run in self.table.view.kept)
        self._mark(frozenset() if shown <= self._marked else shown)

    def _mark(self, keys: frozenset[str]) -> None:
        self._marked = self.table.chosen = keys
        self.table.refresh()
        self._titles()
        self._read_columns()

    def _of_chosen(self, work: Callable[[Room, Sequence[RunRow]], Coroutine[Any, Any, None]]) -> None:
        if self.chosen_runs:
            self.room.do(work(self.room, self.chosen_runs))

    def action_stop(self) -> None:
        from tui.actions.several import stop

        self._of_chosen(stop)

    def action_resume(self) -> None:
        from tui.actions.several import resume

        self._of_chosen(resume)

    def action_compare(self) -> None:
        from tui.actions.compare import compare

        oldest_first = sorted(self.chosen_runs, key=lambda run: run.created_at)
        self.room.do(compare(self.room, oldest_first))

    def action_copy(self) -> None:
        from tui.actions.several import copy_commands

        self._of_chosen(copy_commands)

    def action_pin(self) -> None:
        self._of_chosen(marks.pin)

    def action_archive(self) -> None:
        self._of_chosen(marks.archive)
