"""The field that the text is written in."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.keys import KEY_NAME_REPLACEMENTS
from textual.message import Message
from textual.widgets import TextArea
from textual.widgets.text_area import Selection

from tui.data.tokenizer.document import why_not_written
from tui.keys import bindings

SIGNS = frozenset(KEY_NAME_REPLACEMENTS.values())


def pasted_text(text: str) -> str:
    """A text as it was copied: terminals paste line ends as the enter key sends them."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


class TextField(TextArea):
    """A text of several lines. What it cannot hold is handed over whole: see `Pasted`."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("text")

    class Pasted(Message):
        """A text was pasted that the field does not take."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id, show_line_numbers=False, highlight_cursor_line=False, tab_behavior="focus")
        self.cursor_blink = False  # nothing moves by itself: over SSH that flickers

    def check_consume_key(self, key: str, character: str | None = None) -> bool:
        """Every key that is a letter or a sign is text here, and is not told in the key bar."""
        return super().check_consume_key(key, character) or key in SIGNS

    async def _on_paste(self, event: events.Paste) -> None:
        event.text = pasted_text(event.text)
        if self.read_only:  # what stands here is the beginning of another text
            text = event.text
        else:
            start, end = sorted(self.selection)
            before = self.get_text_range(self.document.start, start)
            text = before + event.text + self.get_text_range(end, self.document.end)
            if not why_not_written(text):
                return  # the text area puts it in
        event.prevent_default()
        event.stop()
        self.post_message(self.Pasted(text))

    @property
    def at(self) -> int:
        """The character at which the cursor stands."""
        row, column = self.cursor_location
        end = len(self.document.newline)
        return sum(len(self.document.get_line(line)) + end for line in range(row)) + column

    def select_whole(self) -> None:
        """Selects all, the cursor at the beginning: that is what is in sight, and typing replaces it."""
        self.selection = Selection(self.document.end, self.document.start)

    def action_leave(self) -> None:
        """To the panes."""
        self.call_later(self.screen.run_action, "to_panes")
