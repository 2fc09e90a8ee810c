"""Help: what the screen is for, and every key that works on it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.keymap import keys_text
from tui.keys import KEYS

TITLES = {
    "app": "Everywhere",
    "runs": "Runs",
    "run": "Run",
    "log": "Log",
    "alerts": "Alerts",
    "hosts": "Hosts",
    "launch": "Launch",
    "plan": "Run a plan",
    "welcome": "First use",
    "panes": "Panes",
    "plot": "The focused plot",
    "samples": "Samples",
    "sample": "A sample",
    "gpus": "GPUs",
    "table": "Tables",
    "columns": "Sort by a column",
    "host_columns": "Sort by a column",
    "filter": "The filter",
    "plots": "Plots",
}


class Help(ModalScreen[None]):
    """The keys of `groups` and those that work everywhere, with the keymap applied."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,backspace,alt+escape,question_mark,q", "dismiss", "close", show=False)
    ]

    def __init__(self, about: str, groups: Iterable[str], keymap: dict[str, str]) -> None:
        super().__init__()
        self._about = about
        self._groups = [*groups, "app"]
        self._keymap = keymap

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog help") as box:
            box.border_title = "help"
            box.border_subtitle = "esc closes · ctrl+p every action by name"
            yield Static(Content(self._about), classes="about")
            for group in self._groups:
                yield Static(Content.styled(TITLES[group], "bold $primary"), classes="group")
                for key in KEYS[group]:
                    with Horizontal(classes="key"):
                        yield Static(
                            Content.styled(keys_text(key, self._keymap), "bold $accent"), classes="keys"
                        )
                        yield Static(Content(key.help))
