"""A table that draws only the visible rows, so that its length costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.column_keys import COLUMN_KEYS
from tui.data.ordering import arranged
from tui.keys import bindings
from tui.widgets.columns import (
    DOWN,
    GAP,
    UP,
    Cell,
    Column,
    Placed,
    fit,
    fit_cell,
    layout,
    most_skipped,
    wide_layout,
)

Item = TypeVar("Item")
CURSOR, CHOSEN = "▌", "◆"


class VirtualTable(ScrollView, Generic[Item], can_focus=True):
    """Rows of `Item`s under a fixed header; the cursor stays on its item when rows move.

    `cells` gives an item's cells as `{column name: (text, role)}`; `key` identifies an item. The rows stand
    in the order in which they are given, or in that of the column `order`; `keys` is the group of keys that
    sort by a column. `chosen` are the keys of rows that are marked.
    """

    HEADER_LINES: ClassVar[int] = 1
    """Lines above the rows."""
    ROLES: ClassVar[tuple[str, ...]] = ("good", "live", "warn", "bad", "muted", "accent", "strong")
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "table--header",
        "table--cursor",
        "table--cursor-blurred",
        *(f"table--{role}" for role in ROLES),
    }
    BINDINGS = bindings("table")
    DEFAULT_CSS = """
    VirtualTable {
        height: 1fr; scrollbar-size-vertical: 1; scrollbar-size-horizontal: 0; scrollbar-gutter: stable;
    }
    """

    class Arranged(Message):
        """The order, or which columns are shown, is another."""

        def __init__(self, table: VirtualTable[Any]) -> None:
            super().__init__()
            self.table = table

        @property
        def control(self) -> VirtualTable[Any]:
            return self.table

    class Highlighted(Arranged):
        """The cursor is on another item."""

        def __init__(self, table: VirtualTable[Any], key: str) -> None:
            super().__init__(table)
            self.key = key

    class Selected(Highlighted):
        """A row was clicked twice."""

    class Marked(Highlighted):
        """A row was clicked with ctrl held."""

    class HeaderClicked(Arranged):
        """A column's title was clicked; the rows are sorted by it already if it has an order."""

        def __init__(self, table: VirtualTable[Any], column: str) -> None:
            super().__init__(table)
            self.column = column

    def __init__(
        self,
        columns: Sequence[Column],
        cells: Callable[[Item], Mapping[str, Cell]],
        key: Callable[[Item], str],
        *,
        empty: str = "",
        order: str = "",
        keys: str = "",
        id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self.columns = list(columns)
        self.items: list[Item] = []
        self.cursor = 0
        self._empty = empty
        self.order = order
        self.descending = any(column.descending for column in columns if column.name == order)
        self.wide = False
        self.chosen: Collection[str] = frozenset()
        self._skip = 0
        self._looks: dict[str, Style] = {}
        self._given: Sequence[Item] = ()
        self._cells = cells
        self._key = key
        self._keys = keys
        self._letters = dict(COLUMN_KEYS.get(keys, {}))

    @property
    def empty(self) -> str:
        """What stands where there is no row; painted when it changes."""
        return self._empty

    @empty.setter
    def empty(self, text: str) -> None:
        if text != self._empty:
            self._empty = text
            if not self.items:
                self.refresh()

    def on_mount(self) -> None:
        remapped: Mapping[str, str] = getattr(self.app, "keymap", {})
        for name in self._letters:
            self._letters[name] = remapped.get(f"{self._keys}.{name}", self._letters[name])

    @property
    def current(self) -> Item | None:
        """The item under the cursor."""
        return self.items[self.cursor] if 0 <= self.cursor < len(self.items) else None

    @property
    def current_key(self) -> str:
        """The key of the item under the cursor, or ""."""
        item = self.current
        return "" if item is None else self._key(item)

    def show(self, items: Sequence[Item]) -> None:
        """Replaces the rows, keeping the cursor on its item; redraws the rows that are other than before."""
        before, was = self.current_key, self.items
        self._given = items
        self.items = self.in_order(items)
        if len(self.items) == len(was):
            others = [
                at for at, (item, old) in enumerate(zip(self.items, was, strict=True)) if item is not old
            ]
            if all(self._key(self.items[at]) == self._key(was[at]) for at in others):
                self.redraw(others)
                return
        keys = [self._key(item) for item in self.items]
        self.cursor = keys.index(before) if before in keys else max(0, min(self.cursor, len(keys) - 1))
        self._resized()
        self.refresh()
        if self.current_key != before:
            self.post_message(self.Highlighted(self, self.current_key))

    def in_order(self, items: Sequence[Item]) -> list[Item]:
        """`items` in the order of the column that is sorted by."""
        column = self._column(self.order)
        if column is None or column.sort is None:
            return list(items)
        return arranged(items, column.sort, self.descending)

    def in_sight(self) -> Iterable[tuple[int, Item]]:
        """The rows in sight with their places."""
        top = self.scroll_offset.y
        return enumerate(self.items[top : top + self.rows_in_sight], top)

    @property
    def rows_in_sight(self) -> int:
        """How many rows fit below the header."""
        return max(0, self.size.height - self.HEADER_LINES)

    def redraw(self, indices: Iterable[int]) -> None:
        """Draws these rows again, those that are in sight."""
        top, width, above = self.scroll_offset.y, self.size.width, self.HEADER_LINES
        seen = range(top, top + self.rows_in_sight)
        lines = [Region(0, index - top + above, width, 1) for index in indices if index in seen]
        if lines:
            self.refresh(*lines)

    def move_to_key(self, key: str) -> None:
        """Puts the cursor on the item named `key`, if it is there."""
        for index, item in enumerate(self.items):
            if self._key(item) == key:
                self._move_to(index)
                return

    def _resized(self) -> None:
        self.virtual_size = Size(self.size.width, len(self.items) + self.HEADER_LINES)

    def on_resize(self) -> None:
        self._resized()
        self._reveal()

    def _move_to(self, index: int) -> None:
        index = max(0, min(index, len(self.items) - 1))
        if index != self.cursor and self.items:
            left, self.cursor = self.cursor, index
            self._reveal()
            self.redraw((left, index))
            self.post_message(self.Highlighted(self, self.current_key))

    def _reveal(self) -> None:
        height = max(1, self.rows_in_sight)
        top = self.scroll_offset.y
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, force=True)
        elif self.cursor >= top + height:
            self.scroll_to(y=self.cursor - height + 1, animate=False, force=True)

    def action_move(self, by: int) -> None:
        self._move_to(self.cursor + by)

    def action_page(self, by: int) -> None:
        self._move_to(self.cursor + by * max(1, self.rows_in_sight - 1))

    def action_select(self) -> None:
        if self.current is not None:
            self.post_message(self.Selected(self, self.current_key))

    def action_first(self) -> None:
        self._move_to(0)

    def action_last(self) -> None:
        self._move_to(len(self.items) - 1)

    # ---- order ---------------------------------------------------------------------------------------

    def _column(self, name: str) -> Column | None:
        return next((column for column in self.columns if column.name == name), None)

    def set_order(self, name: str, descending: bool | None = None) -> None:
        """Sorts by a column, in the direction it has at first unless one is given."""
        column = self._column(name)
        if column is not None and column.sort is not None:
            self.order = name
            self.descending = column.descending if descending is None else descending
            self.rearrange()
            self.post_message(self.Arranged(self))

    def rearrange(self) -> None:
        """Puts the rows into order anew and draws all of them."""
        self.show(self._given)
        self.refresh()

    def action_sort_by(self, name: str) -> None:
        """Sorts by a column; by the one that is sorted by already, in the other direction."""
        if name == self.order:
            self.action_reverse()
        else:
            self.set_order(name)

    def action_sort(self) -> None:
        """Sorts by the next column that has an order."""
        names = [column.name for column in self.columns if column.sort is not None]
        if names:
            self.set_order(
                names[(names.index(self.order) + 1) % len(names)] if self.order in names else names[0]
            )

    def action_reverse(self) -> None:
        self.set_order(self.order, not self.descending)

    # ---- columns -------------------------------------------------------------------------------------

    def action_wide(self) -> None:
        """Shows every column in full, or those that fit."""
        self.wide, self._skip = not self.wide, 0
        self.refresh()
        self.post_message(self.Arranged(self))

    def action_columns(self, by: int) -> None:
        """In the wide mode, goes to the columns further right or left."""
        if self.wide:
            most = most_skipped(self.columns, self._inner_width)
            self._skip = max(0, min(self._skip + by, most))
            self.refresh()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self.wide if action == "columns" else True

    def _placed(self) -> Placed:
        width = self._inner_width
        if self.wide:
            return wide_layout(self.columns, width, self._skip)
        return layout(self.columns, width, self.order)

    def on_click(self, event: events.Click) -> None:
        at = event.get_content_offset(self)  # a border is no row
        if at is None:
            return
        if at.y < self.HEADER_LINES:
            column = self._column_at(at.x)
            if column:
                self.action_sort_by(column)
                self.post_message(self.HeaderClicked(self, column))
            return
        index = self.scroll_offset.y + at.y - self.HEADER_LINES
        if index < len(self.items):
            self._move_to(index)
            if event.ctrl:
                self.post_message(self.Marked(self, self.current_key))
            elif event.chain == 2:
                self.post_message(self.Selected(self, self.current_key))

    def _column_at(self, x: int) -> str:
        left = 1
        for column, width in self._placed():
            if x < left + width + GAP:
                return column.name
            left += width + GAP
        return ""

    @property
    def _inner_width(self) -> int:
        return max(0, self.scrollable_content_region.width - 2)

    # ---- drawing -------------------------------------------------------------------------------------

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._looks = {}

    def _look(self, name: str) -> Style:
        """The style of a component, or of the table itself for "": asked for several times a cell."""
        look = self._looks.get(name)
        if look is None:
            look = self.get_component_rich_style(f"table--{name}", partial=True) if name else self.rich_style
            self._looks[name] = look
        return look

    def _role(self, role: str) -> Style:
        return self._look(role) if role in self.ROLES else Style.null()

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        if y < self.HEADER_LINES:
            return self._header(y).adjust_cell_length(width, self._style("header"))
        index = self.scroll_offset.y + y - self.HEADER_LINES
        if index >= len(self.items):
            text = self._empty if not self.items and y == self.HEADER_LINES + 1 else ""
            return Strip([Segment("  " + text, self._style("muted"))]).adjust_cell_length(
                width, self._look("")
            )
        return self._row(index).adjust_cell_length(width, self._look(""))

    def _style(self, name: str) -> Style:
        return self._look("") + self._look(name)

    def _header(self, line: int) -> Strip:
        style = self._style("header")
        segments = [Segment(" ", style)]
        for place, (column, width) in enumerate(self._placed()):
            if place:
                segments.append(Segment(" " * GAP, style))
            segments += self._title(column, width, style)
        return Strip([*segments, Segment(" ", style)])

    def _title(self, column: Column, width: int, style: Style) -> list[Segment]:
        """A title with its arrow; the letter that sorts by the column, together with shift, is underlined."""
        arrow = (DOWN if self.descending else UP) if column.name == self.order else ""
        text = fit(column.title, min(cell_len(column.title), max(0, width - len(arrow)))) + arrow
        letter = self._letters.get(column.name, "")
        at = text.upper().find(letter) if len(letter) == 1 and column.sort is not None else -1
        pad = Segment(" " * max(0, width - cell_len(text)), style)
        if at < 0:
            parts = [Segment(text, style)]
        else:
            underlined = style + Style(underline=True)
            parts = [Segment(text[:at], style), Segment(text[at], underlined), Segment(text[at + 1 :], style)]
        return [pad, *parts] if column.align == "right" else [*parts, pad]

    def _row(self, index: int) -> Strip:
        item = self.items[index]
        cells = self._cells(item)
        base = self._look("")
        if index == self.cursor:
            base += self._look("cursor" if self.has_focus else "cursor-blurred")
        chosen = bool(self.chosen) and self._key(item) in self.chosen
        gutter = CHOSEN if chosen else CURSOR if index == self.cursor and self.has_focus else " "
        segments = [Segment(gutter, base + self._role("accent" if chosen else "live"))]
        for place, (column, width) in enumerate(self._placed()):
            cell = cells.get(column.name, ("", ""))
            if place:
                segments.append(Segment(" " * GAP, base))
            segments += self._cell(cell, column, width, base)
        segments.append(Segment(" ", base))
        return Strip(segments)

    def _cell(self, cell: Cell, column: Column, width: int, base: Style) -> list[Segment]:
        """A cell of a row in exactly `width` cells."""
        return [Segment(fit_cell(cell, width, column.align), base + self._role(cell[1]))]
