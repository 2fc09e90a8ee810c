"""The console log of a run: follows the end, finds and filters, and never holds more than a window of it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import ClassVar, Literal

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widgets import Input

from nanochat.common.errors import UserError
from nanochat.common.text import size_bytes
from tui.data.console import Console, Fetch, Line
from tui.keys import bindings

NEAR = 40
_WORD = r"(?:^|[\s\[(])[\w.]*(?:{})(?:\s*[:\]]|\s-\s)"
ERROR = re.compile(r"^\s*Traceback|" + _WORD.format("error|exception|fatal|critical"), re.IGNORECASE)
"""A line that tells an error as programs write them; prose that only speaks of one does not."""
WARNING = re.compile(_WORD.format("warn|warning"), re.IGNORECASE)


class LogView(ScrollView, can_focus=True):
    """Lines of a `Console`. The pane around it owns the text field."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"log--match", "log--bad", "log--warn", "log--muted"}
    BINDINGS = bindings("log")

    class Ask(Message):
        """A text to find or to filter by is wanted."""

        def __init__(self, what: Literal["find", "filter"]) -> None:
            super().__init__()
            self.what = what

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.console: Console | None = None
        self.follow = True
        self.needle = ""
        self.only = ""
        self.note = self.trouble = ""
        self._lines: list[Line] = []
        self._turn = asyncio.Lock()
        self._match = -1

    # ---- what is shown -------------------------------------------------------------------------------

    def open(self, fetch: Fetch) -> None:
        """Shows another log from its end."""
        self.console = Console(fetch)
        self.follow, self._match, self.note, self.trouble = True, -1, "", ""
        self._lines = []
        self._again()
        self._work(self._to_end)

    def poll(self) -> None:
        """Reads on, if the end is being followed."""
        if self.follow and not self._turn.locked():
            self._work(self._read_on)

    async def _to_end(self, console: Console) -> None:
        await console.to_end()
        self.follow = True
        self._again()
        await self._fill(console)

    async def _read_on(self, console: Console) -> None:
        await console.newer()
        self._again()

    async def _fill(self, console: Console) -> None:
        """With a filter on, reads back until the screen is full or the start is reached."""
        while self.only and len(self._lines) < self.size.height and not console.at_start:
            self.note = f"looking back, {size_bytes(console.start)} to go"
            await console.older()
            self._again()
        self.note = ""
        self._again()

    def _work(self, step: Callable[[Console], Awaitable[None]]) -> None:
        """Runs a reading step after those before it."""
        if self.console is not None:
            self.run_worker(self._guarded(step, self.console), group="log")

    async def _guarded(self, step: Callable[[Console], Awaitable[None]], console: Console) -> None:
        async with self._turn:
            if console is not self.console:
                return
            try:
                await step(console)
                self.trouble = ""
            except UserError as error:
                self.trouble = str(error)
            self._again()

    def _again(self) -> None:
        lines = self.console.shown if self.console else []
        if self.only:
            text = self.only.lower()
            lines = [line for line in lines if text in line.text.lower()]
        self._lines = lines
        width = max((cell_len(line.text) for line in lines[-400:]), default=0)
        self.virtual_size = Size(width, len(lines))
        if self.follow:
            self.scroll_to(y=max(0, len(lines) - self.size.height), animate=False, force=True)
        self._tell()
        self.refresh()

    def on_resize(self) -> None:
        if self.follow:
            self.scroll_to(y=max(0, len(self._lines) - self.size.height), animate=False, force=True)

    def _tell(self) -> None:
        parent = self.parent
        if not isinstance(parent, LogPane) or self.console is None:
            return
        parts = [words for words in (self.trouble, self.note) if words]
        if self.only:
            parts.append(f"only lines with “{self.only}”")
        if self.needle:
            parts.append(f"“{self.needle}”")
        if not self.console.at_start or not self.console.at_end:
            parts.append(f"{size_bytes(self._offset())} of {size_bytes(self.console.size)}")
        parts.append("follow" if self.follow else "paused, f follows")
        parent.border_subtitle = " · ".join(parts)

    def _offset(self) -> int:
        bottom = min(len(self._lines), self.scroll_offset.y + self.size.height) - 1
        return self._lines[bottom].offset if 0 <= bottom < len(self._lines) else 0

    def render_line(self, y: int) -> Strip:
        index = self.scroll_offset.y + y
        width = self.scrollable_content_region.width
        base = self.rich_style
        if index >= len(self._lines):
            text = "nothing printed yet" if not self._lines and y == 0 and not self.only else ""
            return Strip([Segment(text, base + self._look("muted"))]).adjust_cell_length(width, base)
        text = self._lines[index].text
        strip = Strip(self._segments(text, base + self._level(text), index == self._match))
        left = self.scroll_offset.x
        return strip.crop(left, left + width).adjust_cell_length(width, base)

    def _segments(self, text: str, style: Style, current: bool) -> list[Segment]:
        needle = self.needle.lower()
        folded = text.lower()
        if not needle or needle not in folded or len(folded) != len(text):
            return [Segment(text, style)]
        mark = style + self._look("match") + Style(reverse=current)
        segments, at = [], 0
        while (found := folded.find(needle, at)) >= 0:
            segments += [Segment(text[at:found], style), Segment(text[found : found + len(needle)], mark)]
            at = found + len(needle)
        return [*segments, Segment(text[at:], style)]

    def _level(self, text: str) -> Style:
        start = text[:200]
        if ERROR.search(start):
            return self._look("bad")
        return self._look("warn") if WARNING.search(start) else Style.null()

    def _look(self, name: str) -> Style:
        return self.get_component_rich_style(f"log--{name}", partial=True)

    # ---- moving --------------------------------------------------------------------------------------

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if new_value < old_value and self.follow and new_value < self.max_scroll_y:
            self.follow = False
        if self._turn.locked():
            return
        if new_value < NEAR and new_value < old_value:
            self._work(self._read_back)
        elif new_value > old_value and self.max_scroll_y - new_value < NEAR:
            self._work(self._read_forward)
        self._tell()

    async def _read_back(self, console: Console) -> None:
        before = len(self._lines)
        if not await console.older():
            return
        self._again()
        self.scroll_to(y=self.scroll_offset.y + len(self._lines) - before, animate=False, force=True)

    async def _read_forward(self, console: Console) -> None:
        if not console.at_end:
            gone = await console.newer()
            self._again()
            if gone and not self.only:
                self.scroll_to(y=self.scroll_offset.y - gone, animate=False, force=True)

    def action_scroll_lines(self, by: int) -> None:
        self.scroll_relative(y=by, animate=False, force=True)

    def action_scroll_pages(self, by: int) -> None:
        self.scroll_relative(y=by * max(1, self.size.height - 1), animate=False, force=True)

    def action_scroll_columns(self, by: int) -> None:
        self.scroll_relative(x=by, animate=False, force=True)

    def action_follow(self) -> None:
        if self.follow:
            self.follow = False
            self._tell()
        else:
            self.action_bottom()

    def action_bottom(self) -> None:
        self.follow = True
        self._work(self._to_end)

    def action_top(self) -> None:
        self.follow = False
        self._work(self._to_start)

    async def _to_start(self, console: Console) -> None:
        await console.to_start()
        self._again()
        self.scroll_to(y=0, animate=False, force=True)

    # ---- find and filter -----------------------------------------------------------------------------

    def action_find(self) -> None:
        self.post_message(self.Ask("find"))

    def action_filter(self) -> None:
        self.post_message(self.Ask("filter"))

    def set_only(self, text: str) -> None:
        """Shows only lines that hold `text`; empty shows all."""
        self.only, self._match = text, -1
        self._again()
        if self.console is not None and text:
            self._work(self._fill)

    def set_needle(self, text: str) -> None:
        """Marks `text` and goes to its nearest match towards the start."""
        self.needle, self._match = text, -1
        self.refresh()
        if text:
            self.action_match(-1)
        self._tell()

    def action_match(self, direction: int) -> None:
        if self.needle:
            self._work(lambda console: self._find(console, direction))

    async def _find(self, console: Console, direction: int) -> None:
        """Goes to the next match in `direction`, reading on until one is found or the log ends."""
        self.follow = False
        at = self._match if self._match >= 0 else self._edge(direction)
        while True:
            found = self._scan(at + direction, direction)
            if found >= 0:
                self._match, self.note = found, ""
                self._show_line(found)
                return
            before = len(self._lines)
            if direction < 0 and not console.at_start:
                self.note = f"searching back, {size_bytes(console.start)} to go"
                await console.older()
                self._again()
                at = len(self._lines) - before
            elif direction > 0 and not console.at_end:
                self.note = f"searching, {size_bytes(console.size - console.end)} to go"
                gone = await console.newer()
                self._again()
                at = before - gone - 1
            else:
                self.note = f"no more “{self.needle}” towards the {'start' if direction < 0 else 'end'}"
                self._tell()
                return

    def _edge(self, direction: int) -> int:
        bottom = min(len(self._lines), self.scroll_offset.y + self.size.height)
        return bottom if direction < 0 else self.scroll_offset.y - 1

    def _scan(self, at: int, direction: int) -> int:
        needle = self.needle.lower()
        while 0 <= at < len(self._lines):
            if needle in self._lines[at].text.lower():
                return at
            at += direction
        return -1

    def _show_line(self, index: int) -> None:
        top, height = self.scroll_offset.y, self.size.height
        if not top <= index < top + height:
            self.scroll_to(y=max(0, index - height // 2), animate=False, force=True)
        self._tell()
        self.refresh()


class LogPane(Vertical):
    """The log with its text field, which is there only while it is used."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.border_title = "log"
        self.view = LogView(id="log-lines")
        self._what: Literal["find", "filter"] = "find"

    def compose(self) -> ComposeResult:
        yield self.view
        field = Input(id="log-field")
        field.display = False
        yield field

    def on_log_view_ask(self, event: LogView.Ask) -> None:
        self._what = event.what
        field = self.query_one(Input)
        field.border_title = "find in the log" if event.what == "find" else "only lines that hold"
        field.value = self.view.needle if event.what == "find" else self.view.only
        field.display = True
        field.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if self._what == "find":
            self.view.set_needle(event.value)
        else:
            self.view.set_only(event.value)
        self.close_field()

    def close_field(self) -> None:
        """Puts the text field away and gives focus back to the lines."""
        self.query_one(Input).display = False
        self.view.focus()
