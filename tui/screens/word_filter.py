"""A screen whose table is filtered by words: the field opens by key and is there while it holds something."""

from __future__ import annotations

from abc import abstractmethod

from textual.widgets import Input

from tui.screens.base import ControlScreen


class WordFilter(ControlScreen):
    """`search` is the field, for `body`."""

    def __init__(self) -> None:
        super().__init__()
        self.search = Input()
        self.search.cursor_blink = False
        self.search.display = False

    @abstractmethod
    def show_filtered(self) -> None:
        """Shows the rows that hold what `search` says."""

    def is_narrowed(self) -> bool:
        """Whether less than everything is shown, or something is marked: what going back takes away first."""
        return bool(self.search.value)

    def widen(self) -> None:
        """Takes that away, all but the words."""

    def action_filter(self) -> None:
        self.search.display = True
        self.set_focus(self.search)

    def on_input_changed(self) -> None:
        self.show_filtered()

    def on_input_submitted(self) -> None:
        self.leave_field()

    def leave_field(self) -> bool:
        left = super().leave_field()
        self.search.display = bool(self.search.value)
        return left

    def go_back(self) -> bool:
        if not self.is_narrowed():
            return False
        self.search.value = ""
        self.widen()
        self.search.display = False
        self.show_filtered()
        return True
