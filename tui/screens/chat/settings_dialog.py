"""What the answers of a pane are sampled with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Input, Static

from nanochat.common.errors import UserError
from nanochat.common.fields import parse_int
from nanochat.serve.conversation import AnswerSettings
from tui.screens.base import Dialog

MOST = 1 << 20
SEEDS = (1 << 63) - 1
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
        try:
            answers = AnswerSettings(
                temperature=self._real("temperature", 0, 2),
                top_k=self._whole("top_k", 0, MOST),
                top_p=self._real("top_p", 1e-6, 1),
                min_p=self._real("min_p", 0, 1),
                max_tokens=self._whole("max_tokens", 1, MOST),
                seed=self._whole("seed", 0, SEEDS) if self._text("seed") else None,
            )
        except UserError as error:
            self.query_one("#problem", Static).update(Content.styled(f"✗ {error}", "$error"))
            return
        self.dismiss(PaneSettings(answers, self.query_one("#system", Input).value.strip(), to_all))

    def _text(self, name: str) -> str:
        return self.query_one(f"#{name}", Input).value.strip()

    def _real(self, name: str, low: float, high: float) -> float:
        try:
            value = float(self._text(name))
        except ValueError:
            value = -1.0
        if not low <= value <= high:
            self._wrong(name, f"from {low:g} to {high:g}")
        return value

    def _whole(self, name: str, low: int, high: int) -> int:
        try:
            value = parse_int(self._text(name))
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            self._wrong(name, f"a whole number from {low} to {high:,}")
        return value

    def _wrong(self, name: str, bounds: str) -> None:
        self.query_one(f"#{name}", Input).focus()
        raise UserError(f"{name.replace('_', ' ')}: {bounds}")
