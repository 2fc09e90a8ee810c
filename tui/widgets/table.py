"""A table that draws only the visible rows, so that its length costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, TypeVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.keys import bindings

Item = TypeVar("Item")
Cell = tuple[str, str]
GAP = 2


@dataclass(frozen=True)
class Column:
    """A column of `width` cells. Cells left over are shared out by `grow`.

    A table narrower than `min_table_width` cells leaves the column out.
    """

    name: str
    title: str
    width: int
    align: Literal["left", "right"] = "left"
    grow: int = 0
    min_table_width: int = 0


def fit(text: str, width: int, align: str = "left") -> str:
    """`text` in exactly `width` cells, cut with an ellipsis when it is longer."""
    if width <= 0:
        return ""
    length = cell_len(text)
    if length > width:
        return set_cell_size(text, width - 1) + "…"
    return " " * (width - length) + text if align == "right" else text + " " * (width - length)


def layout(columns: Sequence[Column], width: int) -> list[tuple[Column, int]]:
    """The columns that fit into `width` cells with their widths; what is left goes to those that grow."""
    shown = [column for column in columns if width >= column.min_table_width]
    left = width - sum(column.width for column in shown) - GAP * (len(shown) - 1)
    shares = sum(column.grow for column in shown)
    widths = []
    for column in shown:
        extra = left * column.grow // shares if left > 0 and shares else 0
        left, shares = left - extra, shares - column.grow
        widths.append((column, column.width + extra))
    return widths


class VirtualTable(ScrollView, Generic[Item], can_focus=True):
    """Rows of `Item`s under a fixed header; the cursor stays on its item when rows move.

    `cells` gives an item's cells as `{column name: (text, role)}`; `key` identifies an item.
    """

    ROLES: ClassVar[tuple[str, ...]] = ("good", "live", "warn", "bad", "muted", "accent", "strong")
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "table--header",
        "table--cursor",
        "table--cursor-blurred",
        *(f"table--{role}" for role in ROLES),
    }
    BINDINGS = bindings("table")
    DEFAULT_CSS = """
    VirtualTable { height: 1fr; scrollbar-size-vertical: 1; scrollbar-size-horizontal: 0; }
    """

    class Highlighted(Message):
        """The cursor is on another item."""

        def __init__(self, table: VirtualTable[Any], key: str) -> None:
            super().__init__()
            self.table = table
            self.key = key

        @property
        def control(self) -> VirtualTable[Any]:
            return self.table

    class Selected(Highlighted):
        """A row was clicked twice."""

    class HeaderClicked(Message):
        """A column's title was clicked."""

        def __init__(self, table: VirtualTable[Any], column: str) -> None:
            super().__init__()
            self.table = table
            self.column = column

    def __init__(
        self,
        columns: Sequence[Column],
        cells: Callable[[Item], Mapping[str, Cell]],
        key: Callable[[Item], str],
        *,
        empty: str = "",
        id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self.columns = list(columns)
        self.items: list[Item] = []
        self.cursor = 0
        self.empty = empty
        self.marks: dict[str, str] = {}
        self._cells = cells
        self._key = key

    @property
    def current(self) -> Item | None:
        """The item under the cursor."""
        return self.items[self.cursor] if 0 <= self.cursor < len(self.items) else None

    @property
    def current_key(self) -> str:
        """The key of the item under the cursor, or ""."""
        item = self.current
        return "" if item is None else self._key(item)

    def show(self, items: Sequence[Item], marks: Mapping[str, str] | None = None) -> None:
        """Replaces the rows, keeping the cursor on its item. `marks` are put behind column titles."""
        before = self.current_key
        self.items = list(items)
        self.marks = dict(marks or {})
        keys = [self._key(item) for item in self.items]
        self.cursor = keys.index(before) if before in keys else max(0, min(self.cursor, len(keys) - 1))
        self._resized()
        self.refresh()
        if self.current_key != before:
            self.post_message(self.Highlighted(self, self.current_key))

    def move_to_key(self, key: str) -> None:
        """Puts the cursor on the item named `key`, if it is there."""
        for index, item in enumerate(self.items):
            if self._key(item) == key:
                self._move_to(index)
                return

    def _resized(self) -> None:
        self.virtual_size = Size(self.size.width, len(self.items) + 1)

    def on_resize(self) -> None:
        self._resized()
        self._reveal()

    def _move_to(self, index: int) -> None:
        index = max(0, min(index, len(self.items) - 1))
        if index != self.cursor and self.items:
            self.cursor = index
            self._reveal()
            self.refresh()
            self.post_message(self.Highlighted(self, self.current_key))

    def _reveal(self) -> None:
        height = max(1, self.size.height - 1)
        top = self.scroll_offset.y
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, force=True)
        elif self.cursor >= top + height:
            self.scroll_to(y=self.cursor - height + 1, animate=False, force=True)

    def action_move(self, by: int) -> None:
        self._move_to(self.cursor + by)

    def action_page(self, by: int) -> None:
        self._move_to(self.cursor + by * max(1, self.size.height - 2))

    def action_select(self) -> None:
        if self.current is not None:
            self.post_message(self.Selected(self, self.current_key))

    def action_first(self) -> None:
        self._move_to(0)

    def action_last(self) -> None:
        self._move_to(len(self.items) - 1)

    def on_click(self, event: events.Click) -> None:
        if event.y == 0:
            column = self._column_at(event.x)
            if column:
                self.post_message(self.HeaderClicked(self, column))
            return
        index = self.scroll_offset.y + event.y - 1
        if index < len(self.items):
            self._move_to(index)
            if event.chain == 2:
                self.post_message(self.Selected(self, self.current_key))

    def _column_at(self, x: int) -> str:
        left = 1
        for column, width in layout(self.columns, self._inner_width):
            if x < left + width + GAP:
                return column.name
            left += width + GAP
        return ""

    @property
    def _inner_width(self) -> int:
        return max(0, self.scrollable_content_region.width - 2)

    def _role(self, role: str) -> Style:
        return (
            self.get_component_rich_style(f"table--{role}", partial=True)
            if role in self.ROLES
            else Style.null()
        )

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        if y == 0:
            return self._header().adjust_cell_length(width, self._style("header"))
        index = self.scroll_offset.y + y - 1
        if index >= len(self.items):
            text = self.empty if not self.items and y == 2 else ""
            return Strip([Segment("  " + text, self._style("muted"))]).adjust_cell_length(
                width, self.rich_style
            )
        return self._row(index).adjust_cell_length(width, self.rich_style)

    def _style(self, name: str) -> Style:
        return self.rich_style + self.get_component_rich_style(f"table--{name}", partial=True)

    def _header(self) -> Strip:
        titles = [
            fit(column.title + self.marks.get(column.name, ""), width, column.align)
            for column, width in layout(self.columns, self._inner_width)
        ]
        return Strip([Segment(" " + (" " * GAP).join(titles) + " ", self._style("header"))])

    def _row(self, index: int) -> Strip:
        item = self.items[index]
        cells = self._cells(item)
        base = self.rich_style
        if index == self.cursor:
            base += self.get_component_rich_style(
                "table--cursor" if self.has_focus else "table--cursor-blurred", partial=True
            )
        segments = [
            Segment("▌" if index == self.cursor and self.has_focus else " ", base + self._role("live"))
        ]
        for place, (column, width) in enumerate(layout(self.columns, self._inner_width)):
            text, role = cells.get(column.name, ("", ""))
            if place:
                segments.append(Segment(" " * GAP, base))
            segments.append(Segment(fit(text, width, column.align), base + self._role(role)))
        segments.append(Segment(" ", base))
        return Strip(segments)
