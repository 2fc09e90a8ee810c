"""A report that was written, to read in the app; its page is for a browser."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from textual.widget import Widget
from textual.widgets import Static

from nanochat.serve.conversation import Part
from tui.actions.report import has_display, open_page
from tui.actions.run import copy_text
from tui.keys import bindings
from tui.screens.base import ControlScreen
from tui.widgets.chat.lines_view import LinesView
from tui.widgets.chat.sections import AnswerSection

if TYPE_CHECKING:
    from remote.report.write import Written


class ReportView(LinesView):
    """The report from its beginning."""

    def __init__(self, text: str) -> None:
        super().__init__(id="report")
        self.text = text

    def rebuild(self) -> None:
        """Breaks the text into lines of another width."""
        if self.size.width:
            section = AnswerSection(self.text_width)
            section.show([Part("text", self.text)])
            self.set_sections([section], [section])

    @property
    def chapters(self) -> list[int]:
        """The lines on which chapters begin. (A line of code has a mark before it.)"""
        lines = self.sections[0].lines if self.sections else []
        return [
            at for at, line in enumerate(lines) if "".join(text for text, _ in line[:2]).startswith("## ")
        ]

    def chapter(self, by: int) -> bool:
        """Goes to the next chapter or the one before; False where there is none."""
        top = self.scroll_offset.y
        ahead = [line for line in self.chapters if (line > top if by > 0 else line < top)]
        if not ahead or (by > 0 and top >= self.end):
            return False
        self.scroll_to(y=ahead[0] if by > 0 else ahead[-1], animate=False, force=True)
        return True


class ReportScreen(ControlScreen):
    """The Markdown of a report."""

    place = "Report"
    groups = ("report", "lines")
    about = (
        "The report of a plan or a run as it was just written: report.md and report.html in one folder. "
        "{report.copy} copies where the page lies, {report.browse} opens it where there is a display, "
        "{report.next} and {report.previous} go from chapter to chapter. nanochat report writes the same."
    )
    BINDINGS = bindings("report")
    AUTO_FOCUS = "#report"

    def __init__(self, written: Written) -> None:
        super().__init__()
        self.written = written
        self.head = Static(id="report-head", markup=False)
        self.view = ReportView(written.text)

    def body(self) -> Iterable[Widget]:
        yield self.head
        yield self.view

    def on_mount(self) -> None:
        self.head.update(f" {self.written.html}")

    def default_focus(self) -> Widget:
        return self.view

    def action_copy(self) -> None:
        self.room.do(copy_text(self.room, str(self.written.html), "the path"))

    def action_chapter(self, by: int) -> None:
        if not self.view.chapter(by):
            self.room.say("no further chapter" if by > 0 else "no chapter before")

    def action_browse(self) -> None:
        if not has_display():
            self.room.say(f"no display here: open {self.written.html} in a browser", "warning")
            return
        self.room.do(self._browse())

    async def _browse(self) -> None:
        if not await asyncio.to_thread(open_page, self.written.html):
            self.room.say(f"no browser was found: open {self.written.html}", "warning")
