"""The field that questions are written in: several lines, with those asked before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.keys import KEY_NAME_REPLACEMENTS
from textual.message import Message
from textual.widgets import TextArea

from tui.keys import bindings

MOST_ROWS = 8
KEPT = 100
"""Questions that are kept."""
LONGEST = 20_000
"""Characters of a question that is kept when others follow it, or for the next start: half a question would
be asked as if it were whole."""
MOST_PASTED = 400_000
SIGNS = frozenset(KEY_NAME_REPLACEMENTS.values())


class QuestionField(TextArea):
    """Enter sends; the arrow keys bring earlier questions back from the first and the last line."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("question")

    class Sent(Message):
        """The question is to be asked."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class TooLong(Message):
        """A text was pasted that is too long for a question."""

        def __init__(self, characters: int) -> None:
            super().__init__()
            self.characters = characters

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id, show_line_numbers=False, highlight_cursor_line=False)
        self.cursor_blink = False  # nothing moves by itself: over SSH that flickers
        self.questions: list[str] = []
        self._at: int | None = None
        self._draft = ""
        self._aside: str | None = None

    def on_mount(self) -> None:
        self._fit()

    def on_text_area_changed(self) -> None:
        self._fit()

    def on_resize(self) -> None:
        self._fit()

    def _fit(self) -> None:
        """As many rows as the text has, up to `MOST_ROWS`."""
        rows = max(1, min(self.wrapped_document.height, MOST_ROWS)) + 2
        if self.styles.height is None or self.styles.height.value != rows:
            self.styles.height = rows

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            event.prevent_default()  # the text area would make a new line of it before any binding is asked

    def check_consume_key(self, key: str, character: str | None = None) -> bool:
        """Every key that is a letter or a sign is text here, and is not told in the key bar."""
        return super().check_consume_key(key, character) or key in SIGNS

    async def _on_paste(self, event: events.Paste) -> None:
        if len(event.text) > MOST_PASTED:
            event.prevent_default()
            event.stop()
            self.post_message(self.TooLong(len(event.text)))

    # ---- keys ----------------------------------------------------------------------------------------

    def action_send(self) -> None:
        text = self.text.strip("\n")
        if text.strip():
            self.post_message(self.Sent(text))

    def action_newline(self) -> None:
        self.insert("\n")

    def action_copy_or_stop(self) -> None:
        """Copies what is selected; with nothing selected, ends the answers that are coming."""
        if self.selected_text:
            self.action_copy()
        else:
            self.call_later(self.screen.run_action, "stop_answers")

    def action_cursor_up(self, select: bool = False) -> None:
        if select or not self.navigator.is_first_wrapped_line(self.cursor_location):
            super().action_cursor_up(select)
        else:
            self._recall(-1)

    def action_cursor_down(self, select: bool = False) -> None:
        if select or not self.navigator.is_last_wrapped_line(self.cursor_location):
            super().action_cursor_down(select)
        else:
            self._recall(1)

    # ---- earlier questions ---------------------------------------------------------------------------

    def keep(self, question: str) -> None:
        """Puts a question that was sent behind the others, once, and takes it out of the field.

        What was typed behind it meanwhile stays, and what was set aside comes back.
        """
        before = (kept for kept in self.questions if kept != question and len(kept) <= LONGEST)
        self.questions = [*before, question][-KEPT:]
        self._at = None
        self._draft = ""
        written = self.text.lstrip("\n")
        rest = written.removeprefix(question).lstrip("\n") if written.startswith(question) else self.text
        self.text = (self._aside or "") + rest
        self._aside = None
        self.move_cursor(self.document.end)

    def set_aside(self, text: str) -> None:
        """Shows `text` instead of what is written, which comes back with `take_back` or `keep`."""
        if self._aside is None:
            self._aside = self.text
        self.text = text
        self.move_cursor(self.document.end)

    def take_back(self) -> None:
        """Shows again what was set aside."""
        if self._aside is not None:
            self.text, self._aside = self._aside, None
            self.move_cursor(self.document.end)

    @property
    def lasting(self) -> list[str]:
        """The questions to keep for the next start."""
        return [kept for kept in self.questions if len(kept) <= LONGEST]

    def set_questions(self, questions: Sequence[object]) -> None:
        """The questions of an earlier start."""
        self.questions = [kept for kept in questions if isinstance(kept, str)][-KEPT:]

    def _recall(self, by: int) -> None:
        if self._at is None:
            if by > 0 or not self.questions:
                return
            self._draft, self._at = self.text, len(self.questions)
        self._at = max(0, self._at + by)
        if self._at >= len(self.questions):
            self.text, self._at = self._draft, None
        else:
            self.text = self.questions[self._at]
        self.move_cursor(self.document.end)
