"""The items of an evaluation: a list of any length, searched in slices, alone or beside another one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static

from nanochat.common.errors import UserError
from nanochat.common.text import amount, percent, sanitize, when
from tui.actions.items import copy_item
from tui.data.evals import board
from tui.data.evals.item_list import ONLY, ONLY_OF_TWO, ItemList, Search, Wanted, next_row
from tui.data.evals.item_source import ItemSource
from tui.keymap import with_keys
from tui.keys import bindings
from tui.screens.base import ControlScreen
from tui.widgets.evals.item_table import ItemTable, prompt_end
from tui.widgets.table import VirtualTable

if TYPE_CHECKING:
    from remote.store.evaluations import Evaluation

PROMPTS_KEPT = 2_000


class ItemsScreen(ControlScreen):
    """The items of `one`, of a task and a subject ("": of all); `others` can be shown beside it. `source` has
    read some of them already."""

    place = "Items"
    groups = ("items", "table")
    about = (
        "The items of an evaluation. {items.open} shows one whole; {items.only} keeps only wrong ones, and "
        "of two evaluations those they differ in. {items.find} searches prompts, choices and answers, "
        "{items.next} and {items.previous} go from match to match. {items.with} shows another evaluation of "
        "the same items beside this one."
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("items")
    AUTO_FOCUS = "#items"

    def __init__(
        self,
        one: Evaluation,
        task: str,
        subject: str,
        others: Sequence[Evaluation],
        other: Evaluation | None = None,
        source: ItemSource | None = None,
    ) -> None:
        super().__init__()
        self.one, self.other = one, other
        self.others = list(others)
        self.wanted = Wanted(task, subject, "differing" if other is not None else "all")
        self._first_task = task
        self.table = ItemTable(id="items")
        self.table.empty = "reading the items …"
        self.note = Static(id="items-note", markup=False)
        self.search = Input(placeholder="text in prompts, choices and answers", id="items-find")
        self.search.cursor_blink = False
        self.search.display = False
        tell = self._tell_progress
        self.source = source.telling(tell) if source else ItemSource(lambda: self.room.fleet, tell)
        self.list: ItemList | None = None
        self.found: Search | None = None
        self._notes: list[str] = []
        self._places: list[int] = []
        """The rows of the table that were found, rising."""
        self._state = ""
        self._is_due = False
        self._is_reading = False

    def body(self) -> Iterable[Widget]:
        yield self.table
        yield self.note
        yield self.search

    def on_mount(self) -> None:
        self._show_titles()
        self.run_worker(self._open(), group="open", exclusive=True)

    # ---- reading -------------------------------------------------------------------------------------

    def _tell_progress(self, text: str) -> None:
        self._state = text
        if self.is_attached:
            self._show_titles()

    async def _open(self) -> None:
        """Reads the items, those of the other evaluation first where there is one, and shows them."""
        try:
            listed, self._notes = await self.source.open(self.one, self.other)
        except UserError as error:
            self._state = ""
            if self.list is None:
                line = str(error).replace(f"{self.room.layout.base}/", "")
                self.table.empty = f"✗ {sanitize(line, 300)}"
            else:  # what was there stays
                self.other = None
            self._show_titles()
            raise
        self._notes += await self._as_of()
        self.list, self._state = listed, ""
        tasks = listed.items.tasks()
        if self.wanted.task and self.wanted.task not in tasks:
            self._notes.insert(
                0, f"no items of {sanitize(self.wanted.task, 60)} were kept: those of all tasks"
            )
            self.wanted = replace(self.wanted, task="", subject="")
        self.table.open(listed, 2 if not self.wanted.task else 1, self._names())
        await self._list()

    async def _as_of(self) -> list[str]:
        """Of when the items are that were fetched from a host that is out of reach now."""
        lines = []
        for one in (self.one, *([self.other] if self.other is not None else [])):
            link = self.room.links.get(one.host)
            if link is not None and link.status != "up":
                fetched = await self.room.fleet.evaluations.fetched_at(one)
                if fetched is not None:
                    host, at = sanitize(one.host, 40), when(fetched, time.time())
                    lines.append(f"host '{host}' is out of reach: its items as of {at}")
        return lines

    async def _list(self) -> None:
        """Works out in a thread which rows are listed, and shows them."""
        listed, wanted = self.list, self.wanted
        if listed is None:
            return
        rows = await asyncio.to_thread(listed.rows, wanted)
        if listed is self.list and wanted == self.wanted:
            self.table.empty = "no such item"
            self.table.show(rows)
            self.table.refresh()
            self._find_places()
            self._show_titles()
            self._read_prompts()

    def _relist(self) -> None:
        self.run_worker(self._list(), group="list", exclusive=True)

    def _names(self) -> tuple[str, str]:
        return board.title(self.one), "" if self.other is None else board.title(self.other)

    def _show_titles(self) -> None:
        first, second = self._names()
        parts = [f"A {first} · B {second}" if second else first]
        wanted = self.wanted
        parts.append(sanitize(wanted.task, 40) or "all tasks")
        if wanted.subject:
            parts.append(sanitize(wanted.subject, 40))
        if self.list is not None:
            kept = len(self.table.items)
            parts.append(amount(kept, "item") + ("" if wanted.only == "all" else f", only {wanted.only}"))
        self.table.border_title = Content(" · ".join(parts))
        self.table.border_subtitle = Content(self._state or self._found_words())
        self.note.update("\n".join(f" {sanitize(line, 300)}" for line in self._notes[:4]))

    def _found_words(self) -> str:
        if self.found is None:
            return ""
        text = sanitize(self.found.text, 30)
        if not self.found.is_done:
            return f"searching “{text}” {percent(self.found.share)}, esc ends"
        places = len(self._places)
        if not places:
            elsewhere = len(self.found.found)
            more = f", {amount(elsewhere, 'match')} in others" if elsewhere else ""
            return f"no “{text}” here{more}"
        at = self._places.index(self.table.cursor) + 1 if self.table.cursor in self._places else 0
        return f"“{text}” {at} of {places:,}" if at else f"“{text}” in {places:,}"

    # ---- prompts of the rows in sight ----------------------------------------------------------------

    def _read_prompts(self) -> None:
        """Reads once more when a reading is under way: other rows may have come into sight meanwhile."""
        self._is_due = True
        if not self._is_reading:
            self._is_reading = True
            self.run_worker(self._read_prompts_on(), group="prompts")

    async def _read_prompts_on(self) -> None:
        try:
            while self._is_due:
                self._is_due = False
                await self._read_prompts_in_sight()
        finally:
            self._is_reading = False

    async def _read_prompts_in_sight(self) -> None:
        """Reads the prompts of the rows in sight in a thread: the list has the short fields only."""
        listed, table = self.list, self.table
        if listed is None:
            return
        rows = [row for _, row in table.in_sight() if row not in table.prompts]
        if not rows:
            return

        def read() -> dict[int, str]:
            return {row: prompt_end(listed.prompt(row)) for row in rows}

        told = await asyncio.to_thread(read)
        if listed is self.list:
            if len(table.prompts) > PROMPTS_KEPT:
                table.prompts.clear()
            table.prompts.update(told)
            table.refresh()

    def on_item_table_scrolled(self) -> None:
        self._read_prompts()

    def on_resize(self) -> None:
        self.call_after_refresh(self._read_prompts)

    def on_virtual_table_highlighted(self) -> None:
        if self.found is not None:
            self._show_titles()

    # ---- which rows ----------------------------------------------------------------------------------

    def default_focus(self) -> Widget:
        return self.table

    def action_only(self) -> None:
        order = ONLY_OF_TWO if self.other is not None else ONLY
        at = order.index(self.wanted.only) if self.wanted.only in order else 0
        self.wanted = replace(self.wanted, only=order[(at + 1) % len(order)])
        self._relist()

    def action_task(self) -> None:
        """The items of all tasks, or of the one under the cursor."""
        row, listed = self.table.current, self.list
        if listed is None:
            return
        if self.wanted.task:
            self.wanted = replace(self.wanted, task="", subject="")
        else:
            task = self._first_task if row is None else listed.items.task[row]
            self.wanted = replace(self.wanted, task=task)
        self.table.open(listed, 2 if not self.wanted.task else 1, self._names())
        self._relist()

    def action_with(self) -> None:
        from tui.screens.evals.chooser import EvaluationPicker

        if self.other is not None:
            self.other = None
            self.wanted = replace(self.wanted, only="all")
            self.run_worker(self._open(), group="open", exclusive=True)
            return
        known = [other for other in self.others if other.items is not None]
        if not known:
            raise UserError("there is no other evaluation with items", "evaluate another checkpoint")

        def chosen(other: Evaluation | None) -> None:
            if other is not None:
                self.other = other
                self.run_worker(self._open(), group="open", exclusive=True)

        self.app.push_screen(EvaluationPicker(known, f"beside {board.title(self.one)}"), chosen)

    def action_sort(self) -> None:
        self.table.action_sort()

    def action_reverse(self) -> None:
        self.table.action_reverse()

    def on_virtual_table_arranged(self) -> None:
        self.wanted = replace(self.wanted, order=self.table.order, descending=self.table.descending)
        self._relist()

    # ---- search --------------------------------------------------------------------------------------

    def action_find(self) -> None:
        self.search.display = True
        self.set_focus(self.search)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.leave_field()
        self._search(event.value)

    def _search(self, text: str) -> None:
        self.found, self._places, self.table.found = None, [], frozenset()
        if text and self.list is not None:
            self.found = Search(self.list.items, text)
            self.run_worker(self._search_on(self.found), group="search", exclusive=True)
        self.table.refresh()
        self._show_titles()

    async def _search_on(self, search: Search) -> None:
        """Searches in a thread, slice by slice; then goes to the first match from the cursor on."""
        while not search.is_done and search is self.found:
            try:
                await asyncio.to_thread(search.step)
            except UserError:  # the file is gone, or another one
                if search is self.found:
                    self._search("")
                raise
            self._show_titles()
        if search is self.found:
            self.table.found = search.found
            self._find_places()
            if self._places and self.table.cursor not in self._places:
                self.action_jump(1)
            self.table.refresh()
            self._show_titles()

    def _find_places(self) -> None:
        found = self.found.found if self.found is not None else frozenset()
        self._places = [place for place, row in enumerate(self.table.items) if row in found] if found else []

    def action_jump(self, by: int) -> None:
        is_match: Callable[[int], bool]
        if self.found is not None:
            is_match = self.found.found.__contains__
        elif self.list is not None and self.list.other is not None:
            is_match = self.list.differs
        else:
            raise UserError(with_keys("nothing is searched for: {items.find} finds", self.room.keymap))
        to = next_row(self.table.items, self.table.cursor, by, is_match)
        if to is None:
            self.room.say("no match here" if self.found is not None else "the two differ in no item here")
        else:
            self.table.action_move(to - self.table.cursor)

    def leave_field(self) -> bool:
        left = super().leave_field()
        self.search.display = False
        return left

    def go_back(self) -> bool:
        if self.found is not None:
            self.search.value = ""
            self._search("")
            return True
        return False

    # ---- one item ------------------------------------------------------------------------------------

    def on_virtual_table_selected(self, event: VirtualTable.Selected) -> None:
        self.action_open()

    def action_open(self) -> None:
        from tui.screens.evals.item import ItemScreen

        if self.list is not None and self.table.current is not None:
            self.app.push_screen(ItemScreen(self.list, self.table, self._names()))

    def action_copy(self) -> None:
        if self.list is not None and self.table.current is not None:
            self.room.do(copy_item(self.room, self.list.items, self.table.current))
