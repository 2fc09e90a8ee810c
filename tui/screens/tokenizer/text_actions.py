"""Where the text comes from: it is written, pasted, opened, or a sample."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from textual import events
from textual.widgets import TextArea

from nanochat.common.text import clean_text
from tui.data.tokenizer.document import Document, document, read_document
from tui.screens.tokenizer.sample_picker import Sample, SamplePicker
from tui.widgets.tokenizer.text_field import TextField, pasted_text

if TYPE_CHECKING:
    from tui.screens.tokenizer.live import LiveSplit

    class TextPart(LiveSplit):
        """The Tokenizer screen as this part uses it."""

        field: TextField
        written: str

        def action_to_panes(self) -> None: ...
        def action_write(self) -> None: ...

else:
    TextPart = object


SHOWN = 1_000
"""Characters of a text that is not edited here that stand in the field."""
BELOW = "\n… all of it is below"


class TextActions(TextPart):
    """The field, and texts that it does not hold."""

    def write(self, text: Document) -> None:
        """Shows a text: in the field, or where that does not take it, only split."""
        self.document = text
        shown = clean_text(text.text[:SHOWN]) + BELOW if text.why else text.text
        self.field.read_only = bool(text.why)
        if self.field.text != shown:
            with self.field.prevent(TextArea.Changed):
                self.field.load_text(shown)
                if not text.why:
                    self.field.move_cursor(self.field.document.end)
        self.tell()
        self.split_again()
        self.remember()

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        event.stop()
        text = self.field.text
        if not self.document.why and text != self.document.text:
            self.document = Document(text)
            self.written = text
            self.tell()
            self.split_again()
            self.remember()

    def on_text_area_selection_changed(self, event: TextArea.SelectionChanged) -> None:
        event.stop()
        if self.result.text == self.document.text:
            self.follow_field()
            self.show_token()

    def on_text_field_pasted(self, event: TextField.Pasted) -> None:
        event.stop()
        self._take_pasted(event.text)

    def on_paste(self, event: events.Paste) -> None:
        """Pasted beside the field: a new text."""
        if self.focused is not self.field:
            self._take_pasted(pasted_text(event.text))

    def _take_pasted(self, text: str) -> None:
        found = document(text)
        self.write(document(text, "pasted") if found.why else found)
        self.written = self.written if found.why else text
        if found.why:
            self.action_to_panes()

    def action_write(self) -> None:
        if self.document.why:
            self.write(Document(self.written))
        self.field.focus()
        if self.document.name:  # a sample: what is typed replaces it
            self.field.select_whole()

    # ---- files and samples ---------------------------------------------------------------------------

    def action_open(self) -> None:
        self.room.do(self._ask_file())

    async def _ask_file(self) -> None:
        path = await self.room.ask("open a text file", "its path", self.document.file)
        if path is not None and path.strip():
            self.open_file(path.strip())

    def open_file(self, path: str) -> None:
        """Shows a file."""
        self.run_worker(self._open_file(path), group="file", exclusive=True)

    async def _open_file(self, path: str) -> None:
        text = await asyncio.to_thread(read_document, Path(path))
        self.write(text)
        if text.why:
            self.action_to_panes()

    def action_sample(self) -> None:
        self.app.push_screen(SamplePicker(self.written), self._sample_chosen)

    def _sample_chosen(self, sample: Sample | None) -> None:
        if sample is not None:
            self.write(document(sample.text, "" if sample.text == self.written else sample.name))
