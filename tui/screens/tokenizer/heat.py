"""Compression: texts by tokenizers, as a heat table; corpora, built-in texts, own files and folders."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from nanochat.common.errors import UserError
from nanochat.common.text import amount, sanitize
from nanochat.tokenizer.explore.compression import Stopped
from tui.actions.run import copy_text
from tui.data.tokenizer.compression import FIGURES, Board, Column, as_document, measure, text_sources
from tui.keymap import with_keys
from tui.keys import bindings
from tui.screens.base import ControlScreen
from tui.widgets.table import VirtualTable
from tui.widgets.tokenizer.heat_table import HeatTable

if TYPE_CHECKING:
    from tui.data.tokenizer.chosen import Chosen, ChosenTokenizer

OWN_TEXTS = "tokenizer.texts"
"""The setting that keeps the user's files and folders."""
MOST_TEXTS, MOST_TOKENIZERS = 100, 12
KINDS_TO_WRITE = ("csv", "md", "json")


class HeatScreen(ControlScreen):
    """Every text is measured in a thread, one after the other; the table fills as they come."""

    place = "Compression"
    groups = ("heat", "table")
    about = (
        "How many bytes of text a token stands for, text by text and tokenizer by tokenizer: the figures of "
        "tok_eval and tok_compare. The fuller the bar and the stronger the colour, the better the text is "
        "compressed; a star marks the best of a text. {heat.figure} shows another figure, {heat.tokenizer} "
        "adds a tokenizer, {heat.add} a file or folder of yours, {heat.remove} takes it away again."
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("heat")
    AUTO_FOCUS = "#heat"

    def __init__(self, chosen: Chosen) -> None:
        super().__init__()
        self.board = Board([_column(pane) for pane in chosen.panes])
        self.figure = "bytes"
        self.table = HeatTable(unicode=self.room.unicode, id="heat")
        self.table.empty = "reading the texts …"
        self.note = Static(id="heat-note", markup=False)
        self._stop = False
        self._is_measuring = False
        self._state = ""

    def body(self) -> Iterable[Widget]:
        yield self.table
        yield self.note

    def on_mount(self) -> None:
        self._show()
        self.run_worker(self._begin(), group="begin")

    def on_unmount(self) -> None:
        self._stop = True

    def default_focus(self) -> Widget:
        return self.table

    @property
    def own(self) -> list[str]:
        """The user's files and folders, as kept in the settings."""
        kept = self.room.setting(OWN_TEXTS)
        return [path for path in kept if isinstance(path, str)][:MOST_TEXTS] if isinstance(kept, list) else []

    # ---- measuring -----------------------------------------------------------------------------------

    async def _begin(self) -> None:
        self.board.sources = await asyncio.to_thread(text_sources, self.room.layout, self.own)
        if not self.board.columns:
            self.table.empty = with_keys("no tokenizer yet: {heat.tokenizer} adds one", self.room.keymap)
        self._go_on()

    def _go_on(self) -> None:
        self._show()
        if not self._is_measuring:
            self._is_measuring = True
            self.run_worker(self._measure(), group="measure")

    async def _measure(self) -> None:
        """Measures what is missing, also what is added meanwhile."""
        board = self.board
        try:
            while (found := board.missing()) is not None:
                source, columns = found
                self._state = f"measuring {sanitize(source.name, 40)}"
                self._show()
                try:
                    counts = await asyncio.to_thread(measure, source, columns, lambda: self._stop)
                except UserError as error:
                    board.problems[source.name] = str(error)
                except Stopped:
                    return
                else:
                    board.take(source, columns, counts)
        finally:
            self._is_measuring = False
            self._state = ""
        self._show()

    def _show(self) -> None:
        figure = FIGURES[self.figure]
        self.table.show_rows(self.board.rows(figure), [column.title for column in self.board.columns])
        self.table.border_title = Content(f"compression · {figure.title}")
        done, cells = self.board.done()
        parts = [f"{self._state}, {done} of {cells}"] if self._state else []
        if self.table.hidden:
            parts.append(f"← → {amount(self.table.hidden, 'more column')}")
        parts.append(f"{self.table.best} best of a text")
        self.table.border_subtitle = Content(" · ".join(parts))
        self._show_note()

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)

    def _show_note(self) -> None:
        """About the text under the cursor."""
        row = self.table.current
        line = ""
        if row is not None and row.problem:
            line = f"✗ {row.source.name}: {row.problem}"
        elif row is not None and row.count is not None:
            size = row.count.size
            what = {"built-in": "built in", "corpus": "first row group of the shard", "own": "yours"}
            line = (
                f"{row.source.name}, {what[row.source.group]}: {size.bytes:,} bytes, "
                f"{size.characters:,} characters, {size.words:,} words"
            )
        self.note.update(Content(f" {sanitize(line, 300)}"))

    def on_virtual_table_highlighted(self) -> None:
        self._show_note()

    # ---- keys ----------------------------------------------------------------------------------------

    def action_figure(self, by: int) -> None:
        names = list(FIGURES)
        self.figure = names[(names.index(self.figure) + by) % len(names)]
        self._show()

    def action_sort(self) -> None:
        self.table.action_sort()

    def action_reverse(self) -> None:
        if self.table.order:
            self.table.action_reverse()

    def action_tokenizer(self) -> None:
        self.run_worker(self._add_tokenizer(), group="choose")

    async def _add_tokenizer(self) -> None:
        from tui.screens.tokenizer.opening import choose_tokenizer

        if len(self.board.columns) >= MOST_TOKENIZERS:
            raise UserError(f"there are {MOST_TOKENIZERS} tokenizers already")
        opened = await choose_tokenizer(self, "measure another tokenizer")
        if opened is not None:
            self.board.columns.append(_column(opened))
            self._go_on()

    def action_add(self) -> None:
        self.run_worker(self._add_text(), group="choose")

    async def _add_text(self) -> None:
        """Asks for a file or folder; one that cannot be read is said and not taken."""
        from nanochat.data.measured_texts import own_texts
        from tui.screens.ask import Ask

        path = await self.app.push_screen_wait(Ask("measure a file or folder of yours", "path"))
        if not path:
            return
        own = self.own
        if path in own:
            raise UserError(f"{path} is measured already")
        await asyncio.to_thread(own_texts, [self.room.layout.resolve(path)])
        self.room.remember(OWN_TEXTS, [*own, path])
        await self._take_sources([*own, path])

    async def _take_sources(self, own: list[str]) -> None:
        self.board.sources = await asyncio.to_thread(text_sources, self.room.layout, own)
        self._go_on()

    def action_remove(self) -> None:
        row = self.table.current
        if row is None or row.source.group != "own":
            raise UserError("only files and folders of yours can be taken away")
        number = [one.name for one in self.board.sources if one.group == "own"].index(row.source.name)
        own = [path for at, path in enumerate(self.own) if at != number]
        self.room.remember(OWN_TEXTS, own)
        self.board.forget(row.source)
        self.run_worker(self._take_sources(own), group="remove")

    def action_copy(self) -> None:
        measured = self.board.measured()
        if not measured:
            raise UserError("nothing is measured yet")
        self.room.do(copy_text(self.room, as_document(measured, "md"), "the table"))

    def action_export(self) -> None:
        from tui.screens.export_actions import export_text

        measured = self.board.measured()
        if not measured:
            raise UserError("nothing is measured yet")
        about = "Every figure of the texts that are measured, as tok_compare prints them."
        self.room.do(
            export_text(
                self,
                "write the compression",
                "compression",
                KINDS_TO_WRITE,
                about,
                lambda kind: [as_document(measured, kind)],
            )
        )

    def on_virtual_table_header_clicked(self, event: VirtualTable.HeaderClicked) -> None:
        event.stop()


def _column(pane: ChosenTokenizer) -> Column:
    return Column(pane.splitter, sanitize(pane.splitter.name, 40))
