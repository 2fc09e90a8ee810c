"""A table of ids: drawn where it is in sight, so that 200,000 rows cost what 30 do."""

from __future__ import annotations

from collections.abc import Sequence

from tui.widgets.table import VirtualTable


class IdTable(VirtualTable[int]):
    """Rows are numbers, in the order in which they come: the screen sorts them, in a thread."""

    _shown_order: tuple[str, bool] | None = None

    def show(self, items: Sequence[int]) -> None:
        """Replaces the rows. The cursor stays on its row, if it is still there; in another order it goes to
        the first one, which is what one sorts for."""
        before, order = self.current, (self.order, self.descending)
        is_same_order = self._shown_order in (None, order)
        self._shown_order = order
        self.items = list(items)
        try:
            self.cursor = 0 if before is None or not is_same_order else self.items.index(before)
        except ValueError:
            self.cursor = 0
        self._resized()
        self._reveal()
        self.refresh()
        if self.current != before:
            self.post_message(self.Highlighted(self, self.current_key))

    def move_to_item(self, item: int) -> bool:
        """Puts the cursor on a row, if it is there."""
        try:
            self.action_move(self.items.index(item) - self.cursor)
        except ValueError:
            return False
        return True

    def rearrange(self) -> None:
        """The order is another: the screen sorts, as `Arranged` follows."""

    def action_reverse(self) -> None:
        if self.order:
            super().action_reverse()
