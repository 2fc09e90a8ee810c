"""The words in which two answers differ."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from textual.widget import Widget
from textual.widgets import Static

from nanochat.common.text import clean_text, sanitize
from tui.data.chat.answer_diff import DiffSpan, diff_words
from tui.keys import bindings
from tui.screens.base import ControlScreen
from tui.widgets.chat.lines_view import LinesView
from tui.widgets.chat.sections import Section
from tui.widgets.chat.wrapping import LineBreaker

SIGNS = {"same": ("", ""), "first": ("-", "first"), "second": ("+", "second")}
SPANS = 200
"""Spans that are broken into lines in one step."""


@dataclass(frozen=True)
class Side:
    """An answer: the label and the name of its pane, and its text."""

    label: str
    name: str
    text: str


class DiffSection(Section):
    """Both answers in one text: what only one of them has is marked, and told by its sign."""

    def __init__(self, spans: Sequence[DiffSpan], width: int) -> None:
        super().__init__(width)
        self._spans = spans
        self._taken = 0
        self._breaker = LineBreaker(width)
        self.changes: list[int] = []
        """The line on which each difference begins."""

    def advance(self) -> bool:
        end = min(len(self._spans), self._taken + SPANS)
        for span in self._spans[self._taken : end]:
            sign, look = SIGNS[span.kind]
            if sign:
                self.changes.append(len(self._breaker.lines))
            text = clean_text(span.text).expandtabs(4)
            body = text.strip()
            if not sign or not body:
                self._breaker.add(text, look)
                continue
            lead, tail = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
            self._breaker.add(lead, "")
            self._breaker.add(f"[{sign}{body}{sign}]", look)
            self._breaker.add(tail, "")
        self._taken = end
        self.lines = self._breaker.all_lines()
        self.fixed = len(self._breaker.lines)
        return end >= len(self._spans)


class DiffView(LinesView):
    """The text with its differences."""

    def __init__(self) -> None:
        super().__init__(id="diff")
        self.spans: list[DiffSpan] = []
        self.section: DiffSection | None = None

    def show(self, spans: Sequence[DiffSpan]) -> None:
        """Shows a difference, from its beginning."""
        self.spans = list(spans)
        self.follow = False
        self.rebuild()
        self.scroll_to(y=0, animate=False, force=True)

    def rebuild(self) -> None:
        if self.size.width:
            self.section = DiffSection(self.spans, self.text_width)
            self.set_sections([self.section], [self.section])


class DiffScreen(ControlScreen):
    """One pane's answer beside another's, word by word."""

    place = "Difference"
    groups = ("diff", "lines")
    about = (
        "Two answers as one text. [-struck-] stands in the first answer only, [+underlined+] in the second "
        "only; everything else in both. {diff.next} and {diff.previous} go from difference to difference, "
        "{diff.other} takes the next other pane."
    )
    BINDINGS = bindings("diff")
    AUTO_FOCUS = "#diff"

    def __init__(self, sides: Sequence[Side], first: int) -> None:
        super().__init__()
        self.sides = list(sides)
        self.first = first
        self.second = (first + 1) % len(sides)
        self.head = Static(id="diff-head", markup=False)
        self.view = DiffView()

    def body(self) -> Iterable[Widget]:
        yield self.head
        yield self.view

    def on_mount(self) -> None:
        self._compare()

    def _compare(self) -> None:
        self.run_worker(self._show(), group="diff", exclusive=True)

    async def _show(self) -> None:
        first, second = self.sides[self.first], self.sides[self.second]
        self.head.update(f" comparing {first.label} with {second.label} …")
        spans = await asyncio.to_thread(diff_words, first.text, second.text)
        counts = [sum(len(span.text.split()) for span in spans if span.kind == kind) for kind in SIGNS]
        names = [f"{side.label} {sanitize(side.name, 40)}" for side in (first, second)]
        told = f"{counts[0]:,} words in both, {counts[1]:,} and {counts[2]:,} only in one"
        self.head.update(f" [-{names[0]}-] [+{names[1]}+] · {told}")
        self.view.show(spans)

    def action_other(self) -> None:
        if len(self.sides) < 3:
            self.room.say("there is no third answer")
            return
        self.second = next(
            number % len(self.sides)
            for number in range(self.second + 1, self.second + 1 + len(self.sides))
            if number % len(self.sides) != self.first
        )
        self._compare()

    def action_jump(self, by: int) -> None:
        section, top = self.view.section, self.view.scroll_offset.y
        changes = section.changes if section is not None else []
        ahead = (
            [line for line in changes if line > top] if by > 0 else [line for line in changes if line < top]
        )
        if not ahead:
            self.room.say("no further difference" if by > 0 else "no difference before")
            return
        self.view.scroll_to(y=ahead[0] if by > 0 else ahead[-1], animate=False, force=True)
