"""Tabs over panes that do not fit side by side."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from tui.keymap import hint, keymap_of


class PaneTabs(Widget):
    """One line of pane names; a click chooses one."""

    class Picked(Message):
        """A pane's name was clicked."""

        def __init__(self, pane: str) -> None:
            super().__init__()
            self.pane = pane

    def __init__(
        self, panes: Sequence[tuple[str, str]], id: str | None = None, next_key: str = "run.log"
    ) -> None:
        super().__init__(id=id)
        self._panes = list(panes)
        self._current = self._panes[0][0] if panes else ""
        self._next_key = next_key

    def set_panes(self, panes: Sequence[tuple[str, str]]) -> None:
        """Shows other panes: the name of each, and its title."""
        if list(panes) != self._panes:
            self._panes = list(panes)
            self.refresh()

    def show(self, pane: str) -> None:
        """Marks `pane` as the visible one."""
        if pane != self._current:
            self._current = pane
            self.refresh()

    def render(self) -> Content:
        parts: list[tuple[str, str]] = [(" ", "")]
        for name, title in self._panes:
            parts += [
                (f" {title} ", "bold underline $primary" if name == self._current else "$muted"),
                (" ", ""),
            ]
        keymap = keymap_of(self)
        return Content.assemble(*parts, (f"  {hint(self._next_key, keymap)}: next", "$muted"))

    def places(self) -> list[tuple[int, str]]:
        """The column of each pane's name, and the screen's action that shows it, for the jump labels."""
        found, left = [], 1
        for name, title in self._panes:
            found.append((left, f"pane('{name}')"))
            left += cell_len(title) + 3
        return found

    def on_click(self, event: events.Click) -> None:
        left = 1
        for name, title in self._panes:
            if left <= event.x < left + cell_len(title) + 2:
                self.post_message(self.Picked(name))
                return
            left += cell_len(title) + 3
