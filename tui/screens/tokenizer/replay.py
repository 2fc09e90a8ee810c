"""The merges over a text, one a step, and what a smaller vocabulary would make of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from nanochat.common.errors import UserError
from nanochat.common.text import amount, sanitize
from nanochat.tokenizer.explore.replay import replay
from tui.data.tokenizer.facts import spell
from tui.data.tokenizer.replaying import MOST_CHARACTERS, next_size, slider, word_of
from tui.data.tokenizer.splitting import Look, Work
from tui.keys import bindings
from tui.screens.base import ControlScreen
from tui.widgets.tokenizer.split_view import SplitView

if TYPE_CHECKING:
    from nanochat.tokenizer.explore.replay import Replay
    from tui.data.tokenizer.chosen import Chosen

LEAPS = 10
"""Leaps from the first merge to the last."""


class ReplayScreen(ControlScreen):
    """The text of a pane after so many merges; the token that the last one made is marked."""

    place = "Replay"
    groups = ("replay",)
    about = (
        "How the tokenizer builds its tokens: the text in bytes, then one merge at a time, those with the "
        "lowest rank first. {replay.on} does one merge, {replay.leap_on} a tenth of them. {replay.size_up} "
        "and {replay.size_down} show what the first 300, 1,000, 4,096 … ids alone would make of the text, "
        "{replay.ask_size} asks for a size."
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("replay")
    AUTO_FOCUS = ""

    def __init__(self, chosen: Chosen, work: Work) -> None:
        super().__init__()
        here = chosen.here
        assert here is not None
        self._splitter = here.splitter
        self._text = chosen.text[:MOST_CHARACTERS]
        self._is_cut = len(chosen.text) > MOST_CHARACTERS
        self._work = work
        self.head = Static(id="replay-head", markup=False)
        self.split = SplitView(unicode=self.room.unicode, id="replay-split")
        self.split.can_focus = False
        self.replay: Replay | None = None
        self.number = 0
        """Merges that have been done."""
        self._vocabulary = 256
        """The size of a vocabulary that was shown last; what `number` is then."""
        self._shown_number = 0

    def body(self) -> Iterable[Widget]:
        yield self.head
        yield self.split

    def on_mount(self) -> None:
        self.split.border_title = Content(f"{self._splitter.name} · after each merge")
        self.split.tell("working out the merges …")
        self.run_worker(self._begin(), group="replay")

    async def _begin(self) -> None:
        try:
            self.replay = await asyncio.to_thread(replay, self._splitter, self._text)
        except UserError as error:
            self.split.tell(str(error), is_bad=True)
            return
        self.show(0)

    # ---- what is shown -------------------------------------------------------------------------------

    def show(self, number: int) -> None:
        """Shows the text after so many merges."""
        played = self.replay
        if played is None:
            return
        self.number = max(0, min(number, len(played)))
        step = played.step(self.number - 1) if self.number else None
        split = played.state(self.number)
        look = Look("tokens", self.split.text_width, not self.room.unicode)
        token = split.at(step.start) if step is not None else 0
        shown = self._work.alone(self._splitter, look, split, token if step is not None else None)
        self.split.show(shown)
        self.split.put_cursor(token)
        bar = slider(self.number, len(played), max(10, self.head.size.width - 2), self.room.unicode)
        self.head.update(Content.assemble((f" {bar}", "$primary"), f"\n {self._words()}"))

    def _words(self) -> str:
        played, glyphs = self.replay, self._work.glyphs
        assert played is not None
        state = played.state(self.number)
        line = f"merge {self.number:,} of {len(played):,} · {amount(len(state), 'token')}"
        if self.number:
            step = played.step(self.number - 1)
            edges = [step.start, *step.cuts, step.end]
            parts = [f"“{spell(state.data[a:b], glyphs)}”" for a, b in pairwise(edges)]
            made = spell(state.data[step.start : step.end], glyphs)
            line += f" · {' + '.join(parts)} → “{made}” (id {int(played.ids[self.number - 1]):,})"
        else:
            line += f" · {word_of(self._splitter.kind)}"
        cut = f" · the first {MOST_CHARACTERS:,} characters" if self._is_cut else ""
        return sanitize(line + cut, 400)

    def on_split_view_resized(self, event: SplitView.Resized) -> None:
        event.stop()
        self.show(self.number)

    # ---- keys ----------------------------------------------------------------------------------------

    def action_step(self, by: int) -> None:
        self.show(self.number + by)

    def action_leap(self, by: int) -> None:
        if self.replay is not None:
            self.show(self.number + by * max(1, len(self.replay) // LEAPS))

    def action_to_start(self) -> None:
        self.show(0)

    def action_to_end(self) -> None:
        if self.replay is not None:
            self.show(len(self.replay))

    def action_size(self, by: int) -> None:
        played = self.replay
        if played is not None:
            last = self._vocabulary  # the next one may make no more of this text
            if self.number != self._shown_number:
                last = played.step(self.number - 1).rank + 1 if self.number else 256
            self._show_size(next_size(last, by, self._splitter.vocab_size or last))

    def _show_size(self, size: int) -> None:
        if self.replay is not None:
            size = min(size, self._splitter.vocab_size or size)
            self.show(self.replay.steps_of_size(size))
            self._vocabulary, self._shown_number = size, self.number
            tokens = len(self.replay.of_size(size))
            self.room.say(f"a vocabulary of {size:,} ids makes {amount(tokens, 'token')} of this text")

    def action_ask_size(self) -> None:
        self.room.do(self._ask_size())

    async def _ask_size(self) -> None:
        given = await self.room.ask("ids of the vocabulary", "300 · 1000 · 4096")
        if given is None or not given.strip():
            return
        digits = given.strip().replace(",", "").replace("_", "")
        if not digits.isdecimal() or len(digits) > 9 or int(digits) < 256:
            raise UserError(
                f"'{given.strip()[:20]}' is no size of a vocabulary", "a whole number from 256 on"
            )
        self._show_size(int(digits))

    def action_scroll(self, by: int) -> None:
        self.split.scroll_relative(y=by, animate=False, force=True)
