"""One tokenizer: its name, its figures, and the text in its tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from nanochat.common.text import sanitize
from tui.data.tokenizer.telling import figure_lines
from tui.widgets.tokenizer.split_view import SplitView

if TYPE_CHECKING:
    from tui.data.tokenizer.panes import TokenizerPane


class FigureLines(Widget):
    """Two lines of figures; drawn again only when they say anything else."""

    DEFAULT_CSS = "FigureLines { height: 2; text-wrap: nowrap; text-overflow: ellipsis; }"

    def __init__(self) -> None:
        super().__init__()
        self.lines: tuple[str, str] = ("", "")

    def show(self, lines: tuple[str, str]) -> None:
        if lines != self.lines:
            self.lines = lines
            self.refresh()

    def render(self) -> Content:
        first, second = self.lines
        return Content.assemble((f" {first}", "bold"), "\n", (f" {second}", "$muted"))


class PaneView(Vertical):
    """A pane. `label` is its letter."""

    class Touched(Message):
        """The pane got the focus."""

        def __init__(self, view: PaneView) -> None:
            super().__init__()
            self.view = view

    def __init__(self, pane: TokenizerPane, *, unicode: bool) -> None:
        super().__init__(classes="split-pane")
        self.pane = pane
        self.label = ""
        self.busy = ""
        """What is worked on, while the text that is shown is not the one that is wanted."""
        self.figures = FigureLines()
        self.split = SplitView(unicode=unicode)

    def compose(self) -> ComposeResult:
        yield self.figures
        yield self.split

    def update(self, base: str) -> None:
        """Shows the pane as it is now; `base` is the letter of the pane that it is compared to."""
        pane = self.pane
        self._title()
        shown = pane.shown
        if shown is None or shown.lines is None:
            self.figures.show(("", ""))
            error = pane.error or (shown.error if shown is not None else "")
            told = error or ("splitting …" if pane.splitter is not None else "opening …")
            self.split.tell(told, is_bad=bool(error))
            return
        width = self.figures.size.width or 40
        figures = figure_lines(shown, base if base != self.label else "", width)
        self.figures.show(("splitting …", self.busy) if self.busy else figures)
        self.split.show(shown)

    def _title(self) -> None:
        name = sanitize(self.pane.name, max(8, self.size.width - 8))
        title = f"{self.label}  {name}"
        if self.border_title != title:
            self.border_title = Content(title)
        splitter = self.pane.splitter
        size = (
            ""
            if splitter is None
            else splitter.kind
            if splitter.vocab_size is None
            else f"{splitter.vocab_size:,} ids"
        )
        shown = self.pane.shown
        if shown is not None and shown.split is not None and shown.split.note:
            size = sanitize(f"{shown.split.note} · {size}", max(8, self.size.width - 8))
        if self.border_subtitle != size:
            self.border_subtitle = Content(size)

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        self.post_message(self.Touched(self))
