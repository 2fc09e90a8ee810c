"""The console log of a run: follows the end, searches and filters, and holds only a window of it."""

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
"""Matches a line that reports an error the way programs do, not prose that mentions one."""
WARNING = re.compile(_WORD.format("warn|warning"), re.IGNORECASE)


class LogView(ScrollView, can_focus=True):
    """Lines of a `Console`. The pane around it owns the text field."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"log--match", "log--bad", "log--warn", "log--muted"}
    BINDINGS = bindings("log")

    class Ask(Message):
        """The user wants to enter a text to find or to filter by."""

        def __init__(self, what: Literal["find", "filter"]) -> None:
            super().__init__()
            self.what = what

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.console: Console | None = None
        self.follow = True
        self.search = ""
        self.filter = ""
        self.note = self.error = ""
        self._lines: list[Line] = []
        self._lock = asyncio.Lock()
        self._match = -1

    # ---- what is shown -------------------------------------------------------------------------------

    def open(self, fetch: Fetch) -> None:
        """Shows another log from its end."""
        self.console = Console(fetch)
        self.follow, self._match, self.note, self.error = True, -1, "", ""
        self._lines = []
        self._refresh_lines()
        self._schedule(self._to_end)

    def poll(self) -> None:
        """Reads further, if the end is being followed."""
        if self.follow and not self._lock.locked():
            self._schedule(self._read_on)

    async def _to_end(self, console: Console) -> None:
        await console.to_end()
        self.follow = True
        self._refresh_lines()
        await self._fill(console)

    async def _read_on(self, console: Console) -> None:
        await console.newer()
        self._refresh_lines()

    async def _fill(self, console: Console) -> None:
        """With a filter on, reads backwards until the screen is full or the start is reached."""
        while self.filter and len(self._lines) < self.size.height and not console.at_start:
            self.note = f"reading back, {size_bytes(console.start)} to go"
            await console.older()
            self._refresh_lines()
        self.note = ""
        self._refresh_lines()

    def _schedule(self, step: Callable[[Console], Awaitable[None]]) -> None:
        """Runs `step` in the background, after those scheduled before it."""
        if self.console is not None:
            self.run_worker(self._guarded(step, self.console), group="log")

    async def _guarded(self, step: Callable[[Console], Awaitable[None]], console: Console) -> None:
        async with self._lock:
            if console is not self.console:
                return
            try:
                await step(console)
                self.error = ""
            except UserError as error:
                self.error = str(error)
            self._refresh_lines()

    def _refresh_lines(self) -> None:
        lines = self.console.shown if self.console else []
        if self.filter:
            text = self.filter.lower()
            lines = [line for line in lines if text in line.text.lower()]
        self._lines = lines
        width = max((cell_len(line.text) for line in lines[-400:]), default=0)
        self.virtual_size = Size(width, len(lines))
        if self.follow:
            self.scroll_to(y=max(0, len(lines) - self.size.height), animate=False, force=True)
        self._show_state()
        self.refresh()

    def on_resize(self) -> None:
        if self.follow:
            self.scroll_to(y=max(0, len(self._lines) - self.size.height), animate=False, force=True)

    def _show_state(self) -> None:
        parent = self.parent
        if not isinstance(parent, LogPane) or self.console is None:
            return
        parts = [words for words in (self.error, self.note) if words]
        if self.filter:
            parts.append(f"only lines with “{self.filter}”")
        if self.search:
            parts.append(f"“{self.search}”")
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
            text = "nothing printed yet" if not self._lines and y == 0 and not self.filter else ""
            return Strip([Segment(text, base + self._style("muted"))]).adjust_cell_length(width, base)
        text = self._lines[index].text
        strip = Strip(self._segments(text, base + self._level(text), index == self._match))
        left = self.scroll_offset.x
        return strip.crop(left, left + width).adjust_cell_length(width, base)

    def _segments(self, text: str, style: Style, current: bool) -> list[Segment]:
        needle = self.search.lower()
        folded = text.lower()
        if not needle or needle not in folded or len(folded) != len(text):
            return [Segment(text, style)]
        mark = style + self._style("match") + Style(reverse=current)
        segments, at = [], 0
        while (found := folded.find(needle, at)) >= 0:
            segments += [Segment(text[at:found], style), Segment(text[found : found + len(needle)], mark)]
            at = found + len(needle)
        return [*segments, Segment(text[at:], style)]

    def _level(self, text: str) -> Style:
        start = text[:200]
        if ERROR.search(start):
            return self._style("bad")
        return self._style("warn") if WARNING.search(start) else Style.null()

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"log--{name}", partial=True)

    # ---- moving --------------------------------------------------------------------------------------

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if new_value < old_value and self.follow and new_value < self.max_scroll_y:
            self.follow = False
        if self._lock.locked():
            return
        if new_value < NEAR and new_value < old_value:
            self._schedule(self._read_back)
        elif new_value > old_value and self.max_scroll_y - new_value < NEAR:
            self._schedule(self._read_forward)
        self._show_state()

    async def _read_back(self, console: Console) -> None:
        before = len(self._lines)
        if not await console.older():
            return
        self._refresh_lines()
        self.scroll_to(y=self.scroll_offset.y + len(self._lines) - before, animate=False, force=True)

    async def _read_forward(self, console: Console) -> None:
        if not console.at_end:
            dropped = await console.newer()
            self._refresh_lines()
            if dropped and not self.filter:
                self.scroll_to(y=self.scroll_offset.y - dropped, animate=False, force=True)

    def action_scroll_lines(self, by: int) -> None:
        self.scroll_relative(y=by, animate=False, force=True)

    def action_scroll_pages(self, by: int) -> None:
        self.scroll_relative(y=by * max(1, self.size.height - 1), animate=False, force=True)

    def action_scroll_columns(self, by: int) -> None:
        self.scroll_relative(x=by, animate=False, force=True)

    def action_follow(self) -> None:
        if self.follow:
            self.follow = False
            self._show_state()
        else:
            self.action_bottom()

    def action_bottom(self) -> None:
        self.follow = True
        self._schedule(self._to_end)

    def action_top(self) -> None:
        self.follow = False
        self._schedule(self._to_start)

    async def _to_start(self, console: Console) -> None:
        await console.to_start()
        self._refresh_lines()
        self.scroll_to(y=0, animate=False, force=True)

    # ---- find and filter -----------------------------------------------------------------------------

    def action_find(self) -> None:
        self.post_message(self.Ask("find"))

    def action_filter(self) -> None:
        self.post_message(self.Ask("filter"))

    def set_filter(self, text: str) -> None:
        """Shows only lines that contain `text`; empty shows all."""
        self.filter, self._match = text, -1
        self._refresh_lines()
        if self.console is not None and text:
            self._schedule(self._fill)

    def set_search(self, text: str) -> None:
        """Highlights `text` and goes to its nearest match towards the start."""
        self.search, self._match = text, -1
        self.refresh()
        if text:
            self.action_match(-1)
        self._show_state()

    def action_match(self, direction: int) -> None:
        if self.search:
            self._schedule(lambda console: self._find(console, direction))

    async def _find(self, console: Console, direction: int) -> None:
        """Goes to the next match in `direction`, reading further until one is found or the log ends."""
        self.follow = False
        at = self._match if self._match >= 0 else self._search_from(direction)
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
                self._refresh_lines()
                at = len(self._lines) - before
            elif direction > 0 and not console.at_end:
                self.note = f"searching, {size_bytes(console.size - console.end)} to go"
                dropped = await console.newer()
                self._refresh_lines()
                at = before - dropped - 1
            else:
                self.note = f"no more “{self.search}” towards the {'start' if direction < 0 else 'end'}"
                self._show_state()
                return

    def _search_from(self, direction: int) -> int:
        bottom = min(len(self._lines), self.scroll_offset.y + self.size.height)
        return bottom if direction < 0 else self.scroll_offset.y - 1

    def _scan(self, at: int, direction: int) -> int:
        needle = self.search.lower()
        while 0 <= at < len(self._lines):
            if needle in self._lines[at].text.lower():
                return at
            at += direction
        return -1

    def _show_line(self, index: int) -> None:
        top, height = self.scroll_offset.y, self.size.height
        if not top <= index < top + height:
            self.scroll_to(y=max(0, index - height // 2), animate=False, force=True)
        self._show_state()
        self.refresh()


class LogPane(Vertical):
    """The log with its text field, which is shown only while it is used."""

    ALLOW_SELECT = False  # its border is dragged to size it

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
        field.border_title = "find in the log" if event.what == "find" else "only lines that contain"
        field.value = self.view.search if event.what == "find" else self.view.filter
        field.display = True
        field.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if self._what == "find":
            self.view.set_search(event.value)
        else:
            self.view.set_filter(event.value)
        self.close_field()

    def close_field(self) -> None:
        """Hides the text field and gives focus back to the lines."""
        self.query_one(Input).display = False
        self.view.focus()
