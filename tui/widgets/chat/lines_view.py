"""Long texts in sections, of which only the lines in sight are drawn.

Sections work in slices: a moment at once, what is left in the background, so that the event loop is never
held and the end of a text, where one reads, is there first.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from time import perf_counter
from typing import TYPE_CHECKING

from rich.segment import Segment
from textual import events
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from tui.keys import bindings
from tui.widgets.chat.looks import Looks
from tui.widgets.chat.paint_turns import turns_of
from tui.widgets.chat.sections import Section

if TYPE_CHECKING:
    from rich.style import Style

    from tui.widgets.chat.markdown_blocks import Span

AT_ONCE = 0.004
"""Seconds of work that are done when something is shown."""
IN_BACKGROUND = 0.004
"""Seconds of work between two looks at the keyboard."""
WAIT = 0.005
"""Seconds between two looks whether it is our turn to move lines."""
LEAP = 2
"""Lines of a move from which on a text comes quickly, and takes turns with others."""
FEW = 10
"""Lines that can change without taking a turn."""
GUTTER = 1
KEPT = 150
"""Drawn lines that are kept, those in sight and some: each is a dozen objects for the garbage collector."""


class LinesView(ScrollView, can_focus=True):
    """Sections one below the other. While `follow` is on, the end stays in sight."""

    BINDINGS = bindings("lines")
    DEFAULT_CSS = """
    LinesView {
        height: 1fr; overflow: hidden scroll; scrollbar-size-vertical: 1; scrollbar-size-horizontal: 0;
    }
    """
    ALLOW_SELECT = False

    def __init__(self, id: str | None = None, *, follow: bool = False) -> None:
        super().__init__(id=id)
        self.follow = follow
        self.sections: list[Section] = []
        self._starts: list[int] = [0]
        self._pending: list[Section] = []
        self._leap = LEAP
        """By how many lines the last move was."""
        self._is_working = False
        self._looks: Looks | None = None
        self._places: dict[int, int] = {}
        """The index of each section, by its identity."""
        self._reading: tuple[int, float] | None = None
        """While lines are made anew for another width: the section that was being read, and how far in it."""
        self._strips: dict[tuple[int, int], Strip] = {}
        """Lines that were drawn and will not change, by section and line."""

    # ---- sections ------------------------------------------------------------------------------------

    @property
    def text_width(self) -> int:
        """Cells that a line may take."""
        return max(8, self.scrollable_content_region.width - GUTTER - 1)

    def set_sections(self, sections: Sequence[Section], fresh: Iterable[Section]) -> None:
        """Shows these sections, of which `fresh` have something to do."""
        self.sections = list(sections)
        self._places = {id(section): index for index, section in enumerate(self.sections)}
        self._strips.clear()
        waiting = {id(section) for section in self._pending} | {id(section) for section in fresh}
        self._pending = [section for section in self.sections if id(section) in waiting]
        self._lay_out(self._anchor(), 0)
        self._work()

    def touch(self, *sections: Section) -> None:
        """These sections have something to do."""
        for section in sections:
            if not any(section is other for other in self._pending):
                self._pending.append(section)
        self._work()

    @property
    def is_laid_out(self) -> bool:
        """Whether every section is as it shall be."""
        return not self._pending

    def _work(self) -> None:
        # What moves by a line at a time waits for nobody: a token is to be seen at once.
        done = (self._leap < LEAP or turns_of(self).take(self)) and self._step(AT_ONCE)
        if not done and not self._is_working:
            self._is_working = True
            self.run_worker(self._work_on(), group="lines")

    async def _work_on(self) -> None:
        turns = turns_of(self)
        try:
            while not self.is_laid_out:
                if is_ours := turns.take(self):
                    self._step(IN_BACKGROUND)
                await asyncio.sleep(0 if is_ours else WAIT)
        finally:
            self._is_working = False
            turns.leave(self)

    def _step(self, seconds: float) -> bool:
        """Lets the last sections work first; True when nothing is left to do."""
        until = perf_counter() + seconds
        anchor = self._anchor()
        changed = self._starts[-1]
        while self._pending:
            section = self._pending[-1]
            at = self._places.get(id(section))
            if at is not None:
                changed = min(changed, self._starts[at] + section.fixed)
            section.version += 1
            if section.advance():
                self._pending.pop()
            if perf_counter() > until:
                break
        self._lay_out(anchor, changed)
        if self.is_laid_out:
            self._reading = None
        return self.is_laid_out

    def _anchor(self) -> tuple[Section | None, int]:
        """The section at the upper edge, and which of its lines stands there."""
        top = self.scroll_offset.y
        index = bisect_right(self._starts, top) - 1
        if 0 <= index < len(self._starts) - 1 and index < len(self.sections):
            return self.sections[index], top - self._starts[index]
        return None, 0

    def _lay_out(self, anchor: tuple[Section | None, int], changed: int) -> None:
        """Counts the lines again, and draws those from `changed` on."""
        before = self._starts[-1]
        self._starts = [0, *accumulate(len(section.lines) for section in self.sections)]
        self._set_height(self._starts[-1])
        top = self.scroll_offset.y
        at = self._places.get(id(anchor[0]))
        if self.follow:
            to = self.end
        elif self._reading is not None and self._reading[0] < len(self.sections):
            index, share = self._reading
            to = self._starts[index] + round(share * len(self.sections[index].lines))
        else:
            to = self._starts[at] + anchor[1] if at is not None else top
        to = min(to, self.end)
        if to != top:
            self._leap = abs(to - top)
            self.scroll_to(y=to, animate=False, force=True)
        width, height = self.size
        line, end = max(0, changed - to), min(height, max(before, self._starts[-1]) - to)
        if line < end:
            self.refresh(Region(0, line, width, end - line))
        if to != top or end - line > FEW:
            turns_of(self).moved(self)
        self.lines_changed()

    def lines_changed(self) -> None:
        """Called when there may be other lines than before."""

    def _set_height(self, lines: int) -> None:
        """Says how many lines there are. (Assigned, `virtual_size` lays out and paints the whole screen.)"""
        size = Size(self.scrollable_content_region.width, lines)
        if size != self.virtual_size:
            self.set_reactive(Widget.virtual_size, size)
            self.vertical_scrollbar.window_virtual_size = lines

    @property
    def end(self) -> int:
        """The line at the upper edge when the last one is in sight."""
        return max(0, self._starts[-1] - self.size.height)

    def line_at(self, y: int) -> tuple[int, int] | None:
        """The section, and its line, that stands on line `y` of all; None below the last one."""
        index = bisect_right(self._starts, y) - 1
        return (index, y - self._starts[index]) if 0 <= index < len(self.sections) else None

    def start_of(self, section: Section) -> int:
        """The line of all on which a section begins."""
        return self._starts[self._places.get(id(section), 0)]

    def reveal(self, line: int, margin: int = 2) -> None:
        """Brings a line into sight."""
        top, height = self.scroll_offset.y, self.size.height
        if line < top + margin:
            self._scroll(max(0, line - margin))
        elif line >= top + height - margin:
            self._scroll(line - height + margin + 1)

    def _scroll(self, y: int) -> None:
        self._reading = None
        self.follow = y >= self.end
        self.scroll_to(y=y, animate=False, force=True)

    def rebuild(self) -> None:
        """Makes the sections anew, as many and in the same order, for another width."""

    def keep_place(self) -> None:
        """Before lines are made anew: what stands at the upper edge is to stand there afterwards."""
        section, line = self._anchor()
        if section is not None and not self.follow and self._reading is None:
            self._reading = self._places[id(section)], line / max(1, len(section.lines))

    def on_resize(self, event: events.Resize) -> None:
        self.keep_place()
        self.rebuild()

    # ---- moving --------------------------------------------------------------------------------------

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if self._reading is not None:
            return  # nobody scrolled: there are fewer lines for a moment
        if new_value < old_value and new_value < self.end:
            self.follow = False
        elif new_value >= self.end:
            self.follow = True

    def action_scroll_lines(self, by: int) -> None:
        self._scroll(max(0, min(self.scroll_offset.y + by, self.end)))

    def action_scroll_pages(self, by: int) -> None:
        self.action_scroll_lines(by * max(1, self.size.height - 1))

    def action_top(self) -> None:
        self._scroll(0)

    def action_bottom(self) -> None:
        self._scroll(self.end)

    # ---- drawing -------------------------------------------------------------------------------------

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._looks = None
        self._strips.clear()

    @property
    def looks(self) -> Looks:
        """The styles of the theme."""
        if self._looks is None:
            self._looks = Looks(self.app.theme_variables, self.background_colors[1])
        return self._looks

    def render_line(self, y: int) -> Strip:
        turns_of(self).painted(self)  # Textual asks only for lines that it does not have from before
        width = self.scrollable_content_region.width
        looks = self.looks
        found = self.line_at(self.scroll_offset.y + y)
        if found is None:
            return Strip.blank(width, looks.base)
        key = id(self.sections[found[0]]), found[1]
        strip = self._strips.get(key)
        if strip is None:
            strip = self._line(*found).adjust_cell_length(width, looks.base)
            if found[1] < self.sections[found[0]].fixed and self.is_steady(*found):
                if len(self._strips) >= KEPT:
                    self._strips.clear()
                self._strips[key] = strip
        return strip

    def _line(self, section: int, line: int) -> Strip:
        segments = [self.line_mark(section)]
        segments += [
            Segment(text, self.span_style(section, look)) for text, look in self._spans(section, line)
        ]
        return Strip(segments)

    def is_steady(self, section: int, line: int) -> bool:
        """Whether a line looks the same wherever a cursor is."""
        return True

    def _spans(self, section: int, line: int) -> tuple[Span, ...]:
        lines = self.sections[section].lines
        return lines[line] if line < len(lines) else ()  # it waits for its turn to be laid out with fewer

    def line_mark(self, section: int) -> Segment:
        """What stands before every line of a section."""
        return Segment(" " * GUTTER, self.looks.base)

    def span_style(self, section: int, look: str) -> Style:
        """The style of a span of a section."""
        return self.looks.style(look)
