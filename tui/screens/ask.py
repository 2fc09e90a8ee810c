"""A small dialog that asks for one line of text."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input

from tui.screens.base import Dialog


class Ask(Dialog[str | None]):
    """Returns the text entered, or None when it is cancelled."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,alt+escape", "dismiss(None)", "cancel", show=False)
    ]

    def __init__(self, title: str, placeholder: str = "", value: str = "") -> None:
        super().__init__()
        self._value = value
        self._title = title
        self._placeholder = placeholder

    def compose(self) -> ComposeResult:
        with Vertical(classes="ask"):
            field = Input(self._value, placeholder=self._placeholder, select_on_focus=False)
            field.border_title = Content(self._title)
            field.border_subtitle = "enter: accept · esc: cancel"
            yield field

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip())
