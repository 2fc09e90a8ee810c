"""Two tokenizers compared: tokens that only one has, ids that moved, and what each makes of texts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import ClassVar

from textual.binding import BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static

from nanochat.common.errors import UserError
from nanochat.common.text import sanitize
from nanochat.tokenizer.explore.differing_tables import MOVED, ONLY_A, ONLY_B, PARTS
from nanochat.tokenizer.explore.search import parse_search
from tui.actions.run import copy_text
from tui.data.tokenizer.chosen import Chosen, ChosenTokenizer
from tui.data.tokenizer.comparison import COPIED, MARKDOWN, Pair, compare
from tui.keymap import with_keys
from tui.keys import bindings
from tui.screens.base import ControlScreen
from tui.widgets.pane_tabs import PaneTabs
from tui.widgets.table import VirtualTable
from tui.widgets.tokenizer.differing_table import DifferingTable

KINDS_TO_WRITE = ("csv", "md", "json")
TITLES = {ONLY_A: "only in A", ONLY_B: "only in B", MOVED: "moved"}


class CompareVocabularies(ControlScreen):
    """A is the tokenizer of the first pane, B that of the second; both can be chosen anew."""

    place = "Compare tokenizers"
    groups = ("vocabularies", "table")
    about = (
        "Two tokenizers, A and B: the tokens that only one of them has, and those that have another id in "
        "the other. {vocabularies.next} goes to the next table, {vocabularies.find} searches it, as in the "
        "vocabulary. {vocabularies.texts} shows what each makes of texts, as a heat table. "
        "{vocabularies.other} compares with another tokenizer, {vocabularies.export} writes every token that "
        "differs."
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("vocabularies")
    AUTO_FOCUS = "#differing"

    def __init__(self, chosen: Chosen) -> None:
        super().__init__()
        panes = chosen.panes
        here = chosen.here
        self.a: ChosenTokenizer | None = here
        self.b: ChosenTokenizer | None = next((pane for pane in panes if pane is not here), None)
        self.pair: Pair | None = None
        self.part: str = PARTS[0]
        self.tabs = PaneTabs(
            [(part, TITLES[part]) for part in PARTS], id="compare-tabs", next_key="vocabularies.next"
        )
        self.summary = Static(id="compare-summary", markup=False)
        self.search = Input(placeholder="ing   len:8-   #100-200   is:special", id="differing-find")
        self.search.cursor_blink = False
        self.search.display = False
        self.table = DifferingTable(id="differing")

    def body(self) -> Iterable[Widget]:
        yield self.summary
        yield self.tabs
        yield self.table
        yield self.search

    def on_mount(self) -> None:
        self._compare()

    def default_focus(self) -> Widget:
        return self.table

    # ---- comparing -----------------------------------------------------------------------------------

    def _compare(self) -> None:
        self.pair = None
        self.table.show_part(None, self.part)
        self.table.show(())
        if self.a is None or self.b is None:
            self.table.empty = with_keys(
                "there is one tokenizer: {vocabularies.other} chooses another", self.room.keymap
            )
            return
        self.table.empty = "comparing …"
        self._show()
        self.run_worker(self._compare_on(self.a, self.b), group="compare", exclusive=True)

    async def _compare_on(self, a: ChosenTokenizer, b: ChosenTokenizer) -> None:
        try:
            pair = await asyncio.to_thread(compare, a.splitter, b.splitter)
        except UserError as error:
            self.table.empty = f"✗ {sanitize(str(error), 300)}"
            return
        if (a, b) == (self.a, self.b):
            self.pair = pair
            self._list()

    def _list(self) -> None:
        self.run_worker(self._list_on(), group="list", exclusive=True)

    async def _list_on(self) -> None:
        pair, part = self.pair, self.part
        if pair is None:
            return
        if self.table.part != part or self.table.pair is not pair:
            self.table.show_part(pair, part)
        try:
            search = parse_search(self.search.value)
            if search.pattern or search.needs_counts:
                raise UserError("patterns and counts are searched for in the vocabulary")
            order = self.table.order, self.table.descending
            rows = await asyncio.to_thread(pair.listed, part, search, order)
        except UserError as error:
            self.search.border_subtitle = Content(sanitize(str(error), 200))
            self.search.add_class("-wrong")
            return
        self.search.border_subtitle = ""
        self.search.remove_class("-wrong")
        self.table.empty = "no such token"
        self.table.show(rows)
        self._show()

    def _show(self) -> None:
        pair = self.pair
        counts = {} if pair is None else pair.counts()
        self.tabs.set_panes(
            [(part, f"{TITLES[part]} {counts[part]:,}" if counts else TITLES[part]) for part in PARTS]
        )
        self.tabs.show(self.part)
        lines = [] if pair is None else pair.found.summary()
        self.summary.update(Content("\n".join(f" {sanitize(line, 200)}" for line in lines)))
        self.table.border_title = Content(f"{TITLES[self.part]} · {len(self.table.items):,}")

    # ---- keys ----------------------------------------------------------------------------------------

    def action_next(self, by: int) -> None:
        self.action_pane(PARTS[(PARTS.index(self.part) + by) % len(PARTS)])

    def action_pane(self, part: str) -> None:
        self.part = part
        self.table.show_part(self.pair, part)
        self.table.show(())
        self._show()
        self._list()

    def on_pane_tabs_picked(self, event: PaneTabs.Picked) -> None:
        self.action_pane(event.pane)

    def action_find(self) -> None:
        self.search.display = True
        self.search.border_title = "find"
        self.set_focus(self.search)

    def on_input_changed(self) -> None:
        self._list()

    def on_input_submitted(self) -> None:
        self.leave_field()

    def go_back(self) -> bool:
        if self.search.display:
            self.search.value = ""
            self.search.display = False
            return True
        return False

    def on_virtual_table_arranged(self) -> None:
        self._list()

    def action_sort(self) -> None:
        self.table.action_sort()

    def action_reverse(self) -> None:
        self.table.action_reverse()

    def action_swap(self) -> None:
        self.a, self.b = self.b, self.a
        self._compare()

    def action_other(self) -> None:
        self.run_worker(self._choose(), group="choose")

    async def _choose(self) -> None:
        from tui.screens.tokenizer.opening import choose_tokenizer

        opened = await choose_tokenizer(self, "compare A with")
        if opened is None:
            return
        if self.a is None:
            self.a = opened
        else:
            self.b = opened
        self._compare()

    def on_virtual_table_selected(self, event: VirtualTable.Selected) -> None:
        self.action_open()

    def action_open(self) -> None:
        """The token under the cursor, in the tokenizer that has it."""
        from tui.screens.tokenizer.token import TokenScreen

        token = self.table.current
        pane = self.b if self.part == ONLY_B else self.a
        if token is not None and pane is not None:
            self.app.push_screen(TokenScreen(pane.splitter, token, None, 0))

    def action_texts(self) -> None:
        from tui.screens.tokenizer.heat import HeatScreen

        panes = tuple(pane for pane in (self.a, self.b) if pane is not None)
        self.app.push_screen(HeatScreen(Chosen(panes)))

    def action_copy(self) -> None:
        if self.pair is None:
            raise UserError("there is nothing to copy yet")
        what = f"the comparison, with {COPIED} tokens of each table"
        self.room.do(copy_text(self.room, self.pair.copied(), what))

    def action_export(self) -> None:
        from tui.screens.export_actions import export_text

        pair = self.pair
        if pair is None:
            raise UserError("there is nothing to write yet")
        stem = f"{pair.found.a.name}-{pair.found.b.name}"
        about = (
            "Every token that only one of the two has, or that has another id; in Markdown the first "
            f"{MARKDOWN:,} of each table."
        )
        self.room.do(export_text(self, "write the comparison", stem, KINDS_TO_WRITE, about, pair.written))
