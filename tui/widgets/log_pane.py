"""The log of a run with its text field."""

from __future__ import annotations

from typing import Literal

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input

from tui.widgets.log_view import LogView


class LogPane(Vertical):
    """The log with its text field, which is shown only while it is used."""

    ALLOW_SELECT = False  # its border is dragged to size it

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.border_title = "log"
        self.view = LogView(id="log-lines")
        self._what: Literal["find", "filter"] = "find"

    def compose(self) -> ComposeResult:
        yield self.view
        field = Input(id="log-field")
        field.display = False
        yield field

    def on_log_view_ask(self, event: LogView.Ask) -> None:
        self._what = event.what
        field = self.query_one(Input)
        field.border_title = Content("find in the log" if event.what == "find" else "only lines that contain")
        field.value = self.view.search if event.what == "find" else self.view.filter
        field.display = True
        field.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if self._what == "find":
            self.view.set_search(event.value)
        else:
            self.view.set_filter(event.value)
        self.close_field()

    def close_field(self) -> None:
        """Hides the text field and gives focus back to the lines."""
        self.query_one(Input).display = False
        self.view.focus()
