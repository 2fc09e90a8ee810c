"""A dialog with a table of things to choose from, and a field above it that finds them."""

from __future__ import annotations

from typing import Any, ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.screen import ScreenResultType
from textual.widgets import Input

from tui.screens.base import Dialog
from tui.widgets.table import VirtualTable


class FindDialog(Dialog[ScreenResultType]):
    """The field keeps the focus, and the arrows move in the table. `find` shows what the words in the field
    leave, `choose` ends the dialog with what the cursor is on. None when it is cancelled."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,alt+escape", "dismiss(None)", "cancel", show=False),
        Binding("up", "move(-1)", show=False),
        Binding("down", "move(1)", show=False),
        Binding("pageup", "move(-8)", show=False),
        Binding("pagedown", "move(8)", show=False),
    ]

    def __init__(self, table: VirtualTable[Any], placeholder: str) -> None:
        super().__init__()
        self.table = table
        self.search = Input(placeholder=placeholder)
        self.search.cursor_blink = False  # nothing moves by itself: over SSH that flickers

    def find(self, words: list[str]) -> None:
        """Shows the rows in which all of these words, in small letters, are."""
        raise NotImplementedError

    def choose(self) -> None:
        """Ends the dialog with the row under the cursor; nothing where there is none."""
        raise NotImplementedError

    def on_mount(self) -> None:
        self.table.can_focus = False
        self.search.focus()
        self.find([])

    def on_input_changed(self, event: Input.Changed) -> None:
        self.find(event.value.lower().split())

    def on_input_submitted(self) -> None:
        self.choose()

    def on_click(self, event: events.Click) -> None:
        if event.widget is self.table and event.chain == 2:
            self.choose()

    def action_move(self, by: int) -> None:
        self.table.action_move(by)
