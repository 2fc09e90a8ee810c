"""What the answers of a pane are sampled with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Input, Static

from nanochat.common.errors import UserError
from nanochat.serve.conversation import AnswerSettings
from tui.data.chat.pane_settings import NAMES, parse_setting
from tui.screens.base import Dialog

FIELDS = (
    ("temperature", "temperature", "0 to 2; 0 takes the likeliest always"),
    ("top_k", "top-k", "of so many likeliest tokens; 0: of all"),
    ("top_p", "top-p", "of the likeliest with so much together"),
    ("min_p", "min-p", "of those as likely, next to the likeliest"),
    ("max_tokens", "max tokens", "the most tokens of an answer"),
    ("seed", "seed", "the same answer again; empty: a new one"),
    ("system", "system", "told first; empty: nothing"),
)


@dataclass(frozen=True)
class PaneSettings:
    """The settings of a pane, and whether all panes shall have them."""

    answers: AnswerSettings
    system: str
    to_all: bool


class SettingsDialog(Dialog[PaneSettings | None]):
    """Returns the settings; None when they stay as they are."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,alt+escape", "dismiss(None)", "cancel", show=False),
        Binding("up", "app.focus_previous", show=False),
        Binding("down", "app.focus_next", show=False),
        Binding("ctrl+s", "accept(True)", "all panes", show=False),
    ]

    def __init__(self, label: str, settings: AnswerSettings, system: str, panes: int) -> None:
        super().__init__()
        self._label = label
        self._panes = panes
        seed = "" if settings.seed is None else str(settings.seed)
        self._first = {
            "temperature": f"{settings.temperature:g}",
            "top_k": str(settings.top_k),
            "top_p": f"{settings.top_p:g}",
            "min_p": f"{settings.min_p:g}",
            "max_tokens": str(settings.max_tokens),
            "seed": seed,
            "system": system,
        }

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog chat-settings") as box:
            box.border_title = Content(f"settings of pane {self._label}")
            every = " · ctrl+s: for all panes" if self._panes > 1 else ""
            box.border_subtitle = Content(f"⏎ take them{every} · ↑ ↓ · esc")
            for name, title, about in FIELDS:
                with Horizontal(classes="field"):
                    yield Static(title, classes="label")
                    yield Input(
                        self._first[name],
                        id=name,
                        placeholder=about if name in ("seed", "system") else "",
                        compact=True,
                    )
                    if name != "system":  # it may be long
                        yield Static(Content.styled(about, "$muted"), classes="note")
            yield Static(id="problem")

    def on_mount(self) -> None:
        self.query_one("#temperature", Input).focus()

    def on_input_submitted(self) -> None:
        self.action_accept(False)

    def action_accept(self, to_all: bool) -> None:
        """Takes what was typed, or says what is wrong with it and goes there."""
        values: dict[str, Any] = {}
        for name in NAMES:
            field = self.query_one(f"#{name}", Input)
            try:
                values[name] = parse_setting(name, field.value)
            except UserError as error:
                field.focus()
                self.query_one("#problem", Static).update(Content.styled(f"✗ {error}", "$error"))
                return
        system = self.query_one("#system", Input).value.strip()
        self.dismiss(PaneSettings(AnswerSettings(**values), system, to_all))
