"""One token in full: its facts, and its whole merge tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from tui.screens.base import Dialog
from tui.widgets.tokenizer.token_detail import fact_lines, tree_texts

if TYPE_CHECKING:
    from tui.data.tokenizer.characters import Glyphs
    from tui.data.tokenizer.facts import TokenFacts

TALLEST = 400
BORDER = 8


class TokenDialog(Dialog[None]):
    """Closed by any of the usual keys."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,backspace,alt+escape,enter,q", "dismiss", "close", show=False)
    ]

    def __init__(self, facts: TokenFacts, glyphs: Glyphs, pane: str, count: str) -> None:
        super().__init__()
        self._facts, self._glyphs, self._pane, self._count = facts, glyphs, pane, count

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog token") as box:
            box.border_title = Content(f"token {self._facts.index + 1:,} · {self._pane}")
            box.border_subtitle = "esc closes"
            yield Static(self._content(), markup=False)

    def _content(self) -> Content:
        width = max(20, int(self.app.size.width * 0.96) - BORDER)
        tree = tree_texts(self._facts, self._glyphs, width, TALLEST)
        return Content("\n").join([*fact_lines(self._facts, self._count), Content(""), *tree])
