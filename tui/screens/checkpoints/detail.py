"""All about one checkpoint, in full."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from nanochat.common.text import sanitize, size_bytes
from tui.screens.base import Dialog

if TYPE_CHECKING:
    from remote.checkpoints.table import Row


class CheckpointDetail(Dialog[None]):
    """What is known of a checkpoint, its files too."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,alt+escape,enter,q", "dismiss(None)", "close", show=False),
        Binding("up,k", "scroll(-1)", show=False),
        Binding("down,j", "scroll(1)", show=False),
    ]

    def __init__(self, row: Row, told: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self._row, self._told = row, told

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog wide", can_focus=False) as box:
            box.border_title = Content(sanitize(str(self._row.one.name), 120))
            box.border_subtitle = "↑ ↓ · esc"
            yield Static(Content("\n".join(self._lines())))

    def _lines(self) -> list[str]:
        one = self._row.one
        lines = []
        for heading, text in self._told:
            if heading:
                lines.append(f"{heading}")
            lines.append(f"  {sanitize(text, 2_000)}")
        lines.append("files")
        lines += [
            f"  {size_bytes(size):>6}  {sanitize(name, 200)}" for name, size in sorted(one.files.items())
        ]
        if one.figures:
            lines.append("figures in its metadata")
            lines += [f"  {sanitize(name, 60):<32} {value:.6g}" for name, value in one.figures.items()]
        return lines

    def action_scroll(self, by: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)
