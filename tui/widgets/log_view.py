"""The console log of a run: follows the end, searches and filters, and holds only a window of it.

Find and filter go over the whole log, by byte offset and where the log lies: the window only shows.
"""

from __future__ import annotations

import asyncio
import re
from bisect import bisect_left
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.containers import Vertical
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from nanochat.common.errors import UserError
from nanochat.common.text import size_bytes
from tui.data.console import Console, Line
from tui.data.console_source import LogSource
from tui.data.log_matches import MOST, Matches
from tui.keymap import hint, keymap_of
from tui.keys import bindings

if TYPE_CHECKING:
    from remote.runs import Found

Window: TypeAlias = Console | Matches
"""What is held of a log: its lines, or with a filter those that match."""

NEAR = 40
_WORD = r"(?:^|[\s\[(])[\w.]*(?:{})(?:\s*[:\]]|\s-\s)"
ERROR = re.compile(r"^\s*Traceback|" + _WORD.format("error|exception|fatal|critical"), re.IGNORECASE)
"""Matches a line that reports an error the way programs do, not prose that mentions one."""
WARNING = re.compile(_WORD.format("warn|warning"), re.IGNORECASE)


class LogView(ScrollView, can_focus=True):
    """Lines of a log, or those of them that match. The pane around it owns the text field."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"log--match", "log--bad", "log--warn", "log--muted"}
    BINDINGS = bindings("log")

    class Ask(Message):
        """The user wants to enter a text to find or to filter by."""

        def __init__(self, what: Literal["find", "filter"]) -> None:
            super().__init__()
            self.what = what

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.console: Window | None = None
        self.follow = True
        self.search = ""
        self.filter = ""
        self.note = self.error = ""
        self._lines: list[Line] = []
        self._lock = asyncio.Lock()
        self._source: LogSource | None = None
        self._match_at = -1
        self._asked = 0

    # ---- what is shown -------------------------------------------------------------------------------

    def open(self, source: LogSource) -> None:
        """Shows another log from its end, with the filter as it is."""
        self._source = source
        self.follow, self._match_at, self.note, self.error = True, -1, "", ""
        self._show_window()
        self._schedule(self._to_end)

    def _show_window(self) -> None:
        """Begins a window anew over all lines, or over those of the filter."""
        if self._source is not None:
            self.cancel()
            self.console = Matches(self._source, self.filter) if self.filter else Console(self._source.fetch)
            self._lines = []
            self._refresh_lines()

    def cancel(self) -> bool:
        """Ends a search that is under way; False when there is none."""
        searching = bool(self.note) and self._lock.locked()
        self._asked += 1
        self.note = ""
        return searching

    def poll(self) -> None:
        """Reads further, if the end is being followed."""
        if self.follow and not self._lock.locked():
            self._schedule(self._read_on)

    async def _to_end(self, console: Window) -> None:
        await console.to_end()
        self.follow = True
        self._refresh_lines()
        await self._fill(console)

    async def _read_on(self, console: Window) -> None:
        await console.newer()
        self._refresh_lines()

    async def _fill(self, console: Window) -> None:
        """With a filter on, searches backwards until the screen is full or the start is reached."""
        asked = self._asked
        while self.filter and len(self._lines) < self.size.height and not console.at_start:
            if asked != self._asked:
                return
            self.note = f"searching back, {size_bytes(console.start)} to go, esc ends"
            self._show_state()
            await console.older()
            self._refresh_lines()
        self.note = ""
        self._refresh_lines()

    def _schedule(self, step: Callable[[Window], Awaitable[None]]) -> None:
        """Runs `step` in the background, after those scheduled before it."""
        if self.console is not None:
            self.run_worker(self._guarded(step, self.console), group="log")

    async def _guarded(self, step: Callable[[Window], Awaitable[None]], console: Window) -> None:
        async with self._lock:
            if console is not self.console:
                return
            try:
                await step(console)
                self.error = ""
            except UserError as error:
                self.error, self.note = str(error), ""
            self._refresh_lines()

    def _refresh_lines(self) -> None:
        self._lines = lines = self.console.shown if self.console else []
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
        if not isinstance(parent, Vertical) or self.console is None:
            return
        parts = [words for words in (self.error, self.note) if words]
        if self.filter:
            parts.append(f"only lines with “{self.filter}”")
        if self.search:
            parts.append(f"“{self.search}”")
        if not self.console.at_start or not self.console.at_end:
            parts.append(f"{size_bytes(self._offset())} of {size_bytes(self.console.size)}")
        follow = hint("log.follow", keymap_of(self))
        parts.append("follow" if self.follow else f"paused, {follow} follows")
        parent.border_subtitle = Content(" · ".join(parts))

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

    async def _read_back(self, console: Window) -> None:
        before = len(self._lines)
        if not await console.older():
            return
        self._refresh_lines()
        self.scroll_to(y=self.scroll_offset.y + len(self._lines) - before, animate=False, force=True)

    async def _read_forward(self, console: Window) -> None:
        if not console.at_end:
            dropped = await console.newer()
            self._refresh_lines()
            if dropped:
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
        self.cancel()
        self.follow = True
        self._schedule(self._to_end)

    def action_top(self) -> None:
        self.cancel()
        self.follow = False
        self._schedule(self._to_start)

    async def _to_start(self, console: Window) -> None:
        await console.to_start()
        self._refresh_lines()
        self.scroll_to(y=0, animate=False, force=True)

    # ---- find and filter -----------------------------------------------------------------------------

    def action_find(self) -> None:
        self.post_message(self.Ask("find"))

    def action_filter(self) -> None:
        self.post_message(self.Ask("filter"))

    def set_filter(self, text: str) -> None:
        """Shows only lines that contain `text`; empty shows all, around the line that was in sight."""
        if text == self.filter:
            return
        here = None if self.follow else self._offset()
        self.filter, self._match_at = text, -1
        self._show_window()
        if here is None:
            self._schedule(self._to_end)
        else:
            self._schedule(lambda window: self._to_offset(window, here))

    async def _to_offset(self, window: Window, offset: int) -> None:
        await window.around(offset)
        self._refresh_lines()
        await self._fill(window)
        self._show_line(min(self._index(offset), max(0, len(self._lines) - 1)))

    def set_search(self, text: str) -> None:
        """Highlights `text` and goes to its nearest match towards the start."""
        self.search, self._match_at = text, -1
        self.refresh()
        if text:
            self.action_match(-1)
        self._show_state()

    def action_match(self, direction: int) -> None:
        if self.search:
            self.cancel()
            asked = self._asked
            self._schedule(lambda window: self._find(window, direction, asked))

    @property
    def _match(self) -> int:
        """The index of the line that was found last; -1 when it is not in the window."""
        index = self._index(self._match_at)
        known = self._match_at >= 0 and index < len(self._lines)
        return index if known and self._lines[index].offset == self._match_at else -1

    def _index(self, offset: int) -> int:
        """The first line that begins at byte `offset` or after it."""
        return bisect_left(self._lines, offset, key=lambda line: line.offset)

    async def _find(self, window: Window, direction: int, asked: int) -> None:
        """Goes to the next match in `direction`, however far it is, and moves the window there."""
        self.follow = False
        source, back = self._source, direction < 0
        at = self._search_from(back)
        while source is not None:
            found = await source.search(self.search, at, back, MOST if self.filter else 1)
            if asked != self._asked:
                return
            offset = self._found(found, at, back)
            if offset is not None:
                self._match_at, self.note = offset, ""
                if self._match < 0:
                    await window.around(offset)
                    self._refresh_lines()
                self._show_line(max(0, self._match))
                return
            at = found.start if back else found.end
            left = at if back else found.whole - at
            if left <= 0:
                self.note = f"no more “{self.search}” towards the {'start' if back else 'end'}"
                self._show_state()
                return
            if not found.lines:
                self.note = f"searching{' back' if back else ''}, {size_bytes(left)} to go, esc ends"
                self._show_state()

    def _found(self, found: Found, at: int, back: bool) -> int | None:
        """Where the line begins that was searched for; with a filter on it has to hold that too."""
        lines = list(found.lines)
        torn = found.torn  # it lies after all others: the first one going back, the last one going on
        if torn is not None and back and (at < 0 or torn[0] < at):
            lines = [torn, *lines]
        elif torn is not None and not back and torn[0] >= at and found.end >= found.whole:
            lines.append(torn)
        kept = self.filter.lower()
        return next((offset for offset, text in lines if kept in text.lower()), None)

    def _search_from(self, back: bool) -> int:
        """The byte before which, or from which on, a line has to begin: by the last match, or in sight."""
        if self._match_at >= 0:
            return self._match_at if back else self._match_at + 1
        if not self._lines:
            return -1 if back else 0
        bottom = min(len(self._lines), self.scroll_offset.y + self.size.height) - 1
        index = bottom if back else min(self.scroll_offset.y, len(self._lines) - 1)
        return self._lines[index].offset + (1 if back else 0)

    def _show_line(self, index: int) -> None:
        top, height = self.scroll_offset.y, self.size.height
        if not top <= index < top + height:
            self.scroll_to(y=max(0, index - height // 2), animate=False, force=True)
        self._show_state()
        self.refresh()
