"""The vote of blind mode: which answer is better."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from tui.data.chat.blind import Verdict
from tui.screens.base import Dialog


class VoteDialog(Dialog[Verdict | None]):
    """Returns the number of the better answer, "tie" or "all_bad"; None when there is no vote."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,alt+escape", "dismiss(None)", "no vote", show=False),
        Binding("t", "dismiss('tie')", "tie", show=False),
        Binding("x", "dismiss('all_bad')", "all bad", show=False),
    ]

    def __init__(self, labels: Sequence[str]) -> None:
        super().__init__()
        self._labels = [label.lower() for label in labels]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = "which answer is better?"
            yield Static(self._choices())

    def _choices(self) -> Content:
        parts: list[str | tuple[str, str]] = []
        for label in self._labels:
            parts += [(f" {label} ", "bold $accent"), f"{label.upper()} is better\n"]
        parts += [(" t ", "bold $accent"), "a tie\n", (" x ", "bold $accent"), "all are bad\n"]
        parts += [(" esc ", "bold $accent"), "no vote"]
        return Content.assemble(*parts)

    def on_key(self, event: events.Key) -> None:
        if event.key in self._labels:
            event.stop()
            self.dismiss(self._labels.index(event.key))
