"""All messages of this session, the newest first, to read in full and to copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from nanochat.common.text import clock
from tui.actions.run import copy_text
from tui.room import Said
from tui.screens.base import Dialog

if TYPE_CHECKING:
    from tui.room import Room

ROLES = {"information": "", "warning": "$warning", "error": "$error"}


class MessageList(Dialog[None]):
    """What was said, with the time of day; `y` copies all of it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,backspace,alt+escape,f8,q", "dismiss", "close", show=False),
        Binding("y", "copy", "copy", show=False),
    ]

    def __init__(self, said: list[Said]) -> None:
        super().__init__()
        self._said = said

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog messages") as box:
            box.border_title = "messages"
            box.border_subtitle = "y copies · esc closes"
            yield Static(self._content())

    def _content(self) -> Content:
        if not self._said:
            return Content.styled("nothing was said yet", "$muted")
        lines = [
            Content.assemble(
                (f"{clock(said.at)} ", "$muted"), (f"{said.glyph} {said.text}", ROLES[said.severity])
            )
            for said in reversed(self._said)
        ]
        return Content("\n").join(lines)

    def action_copy(self) -> None:
        room = cast("Room", self.app)
        text = "\n".join(f"{clock(said.at)} {said.glyph} {said.text}" for said in self._said)
        room.do(copy_text(room, text, "the list of messages"))
