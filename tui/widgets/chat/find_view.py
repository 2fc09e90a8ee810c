"""Long texts in which a text can be found: every place is marked, the one that is looked at twice."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from textual.message import Message

from tui.data.chat.finding import Match, find_in_lines, marked, pattern
from tui.widgets.chat.lines_view import LinesView
from tui.widgets.chat.sections import Section

if TYPE_CHECKING:
    import re

    from tui.widgets.chat.markdown_blocks import Span
    from tui.widgets.chat.wrapping import Line

MOST = 5_000
"""Places that are marked."""
PAUSE = 0.1
"""Seconds between two searches of a text that grows."""


class _Searched(NamedTuple):
    """What was found in a section as it was at `version`."""

    section: Section
    version: int
    matches: list[Match]


Asked = tuple[Section, int, list["Line"]]


def _search(asked: Sequence[Asked], wanted: re.Pattern[str]) -> list[_Searched]:
    return [_Searched(section, at, find_in_lines(lines, wanted, MOST + 1)) for section, at, lines in asked]


class FindView(LinesView):
    """Lines that are searched while they come, in a thread. `FoundChanged` tells of every change."""

    class FoundChanged(Message):
        """The search stands otherwise than before."""

    def __init__(self, id: str | None = None, *, follow: bool = False) -> None:
        super().__init__(id=id, follow=follow)
        self.search = ""
        """What is searched for; "" for nothing."""
        self.matches: list[tuple[Section, Match]] = []
        """Where it stands, in order."""
        self.here = -1
        """The one that is looked at; -1 for none."""
        self._wanted: re.Pattern[str] | None = None
        self._known: dict[int, _Searched] = {}
        self._marks: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
        """By section and line: from, to, and which match it is."""
        self._begun_at = 0
        self._note = ""
        self._is_due = self._is_searching = False

    # ---- what is asked for ---------------------------------------------------------------------------

    def begin_find(self) -> None:
        """Another search begins: it looks for the match nearest to what is in sight, towards the start."""
        self._begun_at = self.scroll_offset.y + self.size.height - 1

    def find(self, text: str) -> None:
        """Searches for `text`; "" ends the search."""
        if text == self.search:
            return
        self.search, self._wanted, self._note = text, pattern(text), ""
        self._known.clear()
        self.here = -1
        if self._wanted is None:
            self._show([])
        else:
            self._search_soon()
        self.post_message(self.FoundChanged())
        self.screen.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return bool(self.search) if action == "match" else super().check_action(action, parameters)

    def action_match(self, by: int) -> None:
        """Goes to the next match, towards the end, or to the one before."""
        to = self.here + by
        if 0 <= to < len(self.matches):
            self._go(to)
        elif self.matches:
            self._note = " · none further on" if by > 0 else " · none before"
            self.post_message(self.FoundChanged())

    @property
    def found_words(self) -> str:
        """Which match of how many is looked at: `3 of 17`; "" without a search."""
        if self._wanted is None:
            return ""
        if not self.matches:
            return (
                "searching …" if self._is_due or self._is_searching or not self.is_laid_out else "not found"
            )
        count = f"{MOST:,}+" if len(self.matches) > MOST else f"{len(self.matches):,}"
        return f"{self.here + 1:,} of {count}{self._note}"

    # ---- searching -----------------------------------------------------------------------------------

    def searchable(self, section: Section) -> bool:
        """Whether a section is searched."""
        return True

    def lines_changed(self) -> None:
        if self._wanted is not None:
            self._search_soon()

    def _search_soon(self) -> None:
        self._is_due = True
        if not self._is_searching:
            self._is_searching = True
            self.run_worker(self._search_on(), group="find")

    async def _search_on(self) -> None:
        try:
            while self._is_due and self._wanted is not None:
                self._is_due = False
                await self._search_once(self._wanted)
                await asyncio.sleep(PAUSE)
        finally:
            self._is_searching = False
            self.post_message(self.FoundChanged())

    async def _search_once(self, wanted: re.Pattern[str]) -> None:
        """Searches the sections that have changed since they were searched last."""
        sections = [section for section in self.sections if self.searchable(section)]
        known = {id(one): self._known.get(id(one)) for one in sections}
        asked = [
            (one, one.version, list(one.lines))
            for one in sections
            if (before := known[id(one)]) is None or before.version != one.version
        ]
        fresh = await asyncio.to_thread(_search, asked, wanted)
        if wanted is not self._wanted:
            self._is_due = True  # something else was typed meanwhile
            return
        found = known | {id(one.section): one for one in fresh}
        self._known = {place: one for place, one in found.items() if one is not None}
        self._show(
            [(one.section, match) for one in self._known.values() for match in one.matches][: MOST + 1]
        )

    # ---- what was found ------------------------------------------------------------------------------

    def _show(self, matches: list[tuple[Section, Match]]) -> None:
        """Marks these; the one that was looked at stays so, else the nearest becomes it."""
        if matches == self.matches and (self.here >= 0 or not matches):
            return
        before = self.matches[self.here] if 0 <= self.here < len(self.matches) else None
        marks: dict[tuple[int, int], list[tuple[int, int, int]]] = defaultdict(list)
        for number, (section, match) in enumerate(matches):
            for piece in match:
                marks[id(section), piece.line].append((piece.start, piece.end, number))
        self.matches, self._marks = matches, dict(marks)
        self.here = next((number for number, found in enumerate(matches) if found == before), -1)
        if self.here < 0 and matches and before is None:
            self._go(self._nearest())
        elif self.here < 0 and matches:  # laid out anew, for another width: nobody asked to go elsewhere
            self.begin_find()
            self.here = self._nearest()
        self._redraw()

    def _nearest(self) -> int:
        """The last match that begins above the line where the search began, else the first one."""
        lines = (self._line_of(number) for number in range(len(self.matches)))
        return max(0, sum(line <= self._begun_at for line in lines) - 1)

    def _line_of(self, number: int) -> int:
        section, match = self.matches[number]
        return self.start_of(section) + match[0].line

    def _go(self, number: int) -> None:
        """Looks at a match, and brings it into sight."""
        self.here, self._note = number, ""
        line, top, height = self._line_of(number), self.scroll_offset.y, self.size.height
        if not top <= line < top + height:
            self._scroll(min(self.end, max(0, line - height // 2)))
        self._redraw()

    def _redraw(self) -> None:
        self._strips.clear()
        self.refresh()
        self.post_message(self.FoundChanged())

    def _spans(self, section: int, line: int) -> tuple[Span, ...]:
        spans = super()._spans(section, line)
        marks = self._marks.get((id(self.sections[section]), line))
        return (
            marked(spans, [(start, end, which == self.here) for start, end, which in marks])
            if marks
            else spans
        )

    def set_sections(self, sections: Sequence[Section], fresh: Iterable[Section]) -> None:
        # Marks of sections that are gone must not show on others that got their place in memory.
        there = {id(section) for section in sections}
        self._marks = {place: marks for place, marks in self._marks.items() if place[0] in there}
        super().set_sections(sections, fresh)
