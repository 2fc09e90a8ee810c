"""A question before anything is stopped, removed or overwritten: answered by a second key or a typed word."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from tui.screens.base import Dialog


class Confirm(Dialog[bool]):
    """Returns True when `key` is pressed, or `word` typed and entered; False otherwise."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,alt+escape", "dismiss(False)", "no", show=False)]

    def __init__(
        self, question: str, detail: str, *, key: str = "", word: str = "", verb: str = "do it"
    ) -> None:
        super().__init__()
        self._question = question
        self._detail = detail
        self._key = key
        self._word = word
        self._verb = verb

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = "please confirm"
            yield Static(Content.styled(self._question, "bold"), classes="question")
            yield Static(Content(self._detail), classes="detail")
            if self._word:
                yield Input(placeholder=f"type {self._word} to {self._verb}", id="word")
            yield Static(self._choices(), classes="choices")

    def _choices(self) -> Content:
        how = f" {self._key} " if self._key else f" {self._word} ⏎ "
        return Content.assemble(
            (how, "bold $error"), f"{self._verb}    ", (" esc ", "bold $accent"), "cancel"
        )

    def on_key(self, event: events.Key) -> None:
        if self._key and event.key == self._key:
            event.stop()
            self.dismiss(True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.value.strip() == self._word:
            self.dismiss(True)
        else:
            event.input.border_subtitle = Content(f"that is not {self._word}")
