"""One item of an evaluation, whole: `n` and `N` go on in the list it was opened from."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType
from textual.content import Content
from textual.widget import Widget

from nanochat.common.errors import UserError
from nanochat.common.text import sanitize
from tui.actions.items import copy_item
from tui.keys import bindings
from tui.screens.base import ControlScreen
from tui.widgets.evals.item_view import ItemView, Judged

if TYPE_CHECKING:
    from tui.data.evals.item_list import ItemList
    from tui.widgets.evals.item_table import ItemTable


class ItemScreen(ControlScreen):
    """The item under the cursor of `table`, as one or two evaluations judged it."""

    place = "Item"
    groups = ("item", "lines")
    about = (
        "One item: what was asked, the choices with the loss of each, what was chosen, and the transcript of "
        "a sampled answer with its tool calls. {item.next} and {item.previous} go on in the list."
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("item")
    AUTO_FOCUS = "#item"

    def __init__(self, listed: ItemList, table: ItemTable, names: tuple[str, str]) -> None:
        super().__init__()
        self.list, self.table, self.names = listed, table, names
        self.view = ItemView()

    def body(self) -> Iterable[Widget]:
        yield self.view

    def on_mount(self) -> None:
        self._show()

    def default_focus(self) -> Widget:
        return self.view

    def _show(self) -> None:
        self.run_worker(self._read(), group="item", exclusive=True)

    async def _read(self) -> None:
        row = self.table.current
        if row is None:
            return
        listed = self.list
        other = listed.other_row(row)

        def read() -> list[Judged]:
            record = listed.items.record(row)
            if listed.other is None or other is None:
                label = "A" if listed.other is not None else ""
                return [Judged(label, self.names[0], record)]
            second = listed.other.record(other)
            return [Judged("A", self.names[0], record), Judged("B", self.names[1], second)]

        try:
            judged = await asyncio.to_thread(read)
        except UserError as error:  # not the item that was shown before
            self.view.border_title = Content(f"{sanitize(listed.items.task[row], 60)} · unreadable")
            self.view.tell(str(error).replace(f"{self.room.layout.base}/", ""))
            raise
        record = judged[0].record
        parts = [sanitize(record.task, 60), sanitize(record.subject, 60), f"item {record.index}"]
        if record.key:
            parts.append(f"key {sanitize(record.key, 16)}")
        self.view.border_title = Content(" · ".join(part for part in parts if part))
        place = f"{self.table.cursor + 1:,} of {len(self.table.items):,}"
        self.view.border_subtitle = Content(
            place if len(judged) > 1 or not judged[0].label else f"{place} · B has not this item"
        )
        self.view.show(judged)

    def action_jump(self, by: int) -> None:
        to = self.table.cursor + by
        if 0 <= to < len(self.table.items):
            self.table.action_move(by)
            self._show()
        else:
            self.room.say("no further item" if by > 0 else "no item before")

    def action_copy(self) -> None:
        if self.table.current is not None:
            self.room.do(copy_item(self.room, self.list.items, self.table.current))
