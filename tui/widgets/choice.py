"""One of a few values, changed in place with left and right. Up and down are left to the form around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widget import Widget


class Choice(Widget, can_focus=True):
    """Shows `‹ value ›`. `shown` gives each value a longer text."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "step(-1)", "previous", show=False),
        Binding("right,space,enter", "step(1)", "next", show=False),
    ]

    class Changed(Message):
        """Another value was chosen."""

        def __init__(self, choice: Choice, value: str) -> None:
            super().__init__()
            self.choice = choice
            self.value = value

        @property
        def control(self) -> Choice:
            return self.choice

    def __init__(
        self, values: Sequence[str], value: str = "", *, shown: Sequence[str] = (), id: str | None = None
    ) -> None:
        super().__init__(id=id)
        self.values = list(values)
        self._shown = list(shown) or [text or "(automatic)" for text in self.values]
        self._at = self.values.index(value) if value in self.values else 0

    @property
    def value(self) -> str:
        """The value chosen."""
        return self.values[self._at] if self.values else ""

    @value.setter
    def value(self, value: str) -> None:
        if value in self.values and value != self.value:
            self._at = self.values.index(value)
            self.refresh()
            self.post_message(self.Changed(self, value))

    def offer(self, values: Sequence[str]) -> None:
        """Other values to choose from; the one chosen stays if it is among them."""
        if list(values) != self.values:
            chosen = self.value
            self.values, self._shown, self._at = list(values), list(values), 0
            if chosen in self.values:
                self._at = self.values.index(chosen)
            self.refresh(layout=True)
            if self.value != chosen:
                self.post_message(self.Changed(self, self.value))

    def action_step(self, by: int) -> None:
        if len(self.values) > 1:
            self.value = self.values[(self._at + by) % len(self.values)]

    def on_click(self, event: events.Click) -> None:
        self.action_step(-1 if event.x < 2 else 1)

    def render(self) -> Content:
        text = self._shown[self._at] if self.values else "(nothing to choose)"
        rest = f"  {self._at + 1}/{len(self.values)}" if len(self.values) > 2 else ""
        arrow = "bold $primary" if self.has_focus else "$muted"
        return Content.assemble(
            ("‹ ", arrow), (text, "bold" if self.has_focus else ""), (" ›", arrow), (rest, "$muted")
        )
