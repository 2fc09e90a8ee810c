"""What is done to panes, and what is opened from them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from nanochat.common.errors import UserError
from nanochat.common.text import amount, sanitize
from nanochat.tokenizer.explore.sources import PATTERNS, PatternNeededError, known_sources, open_source
from tui.actions.run import copy_text
from tui.data.tokenizer.chosen import Chosen, ChosenTokenizer
from tui.data.tokenizer.facts import count_words
from tui.data.tokenizer.lines import VIEWS
from tui.data.tokenizer.panes import LABELS, MOST_PANES, TokenizerPane
from tui.keymap import hint
from tui.screens.tokenizer.parts import load_part
from tui.screens.tokenizer.picker import TokenizerPicker
from tui.screens.tokenizer.replay import ReplayScreen
from tui.screens.tokenizer.token import TokenScreen
from tui.widgets.tokenizer.split_view import SplitView

if TYPE_CHECKING:
    from nanochat.common.paths import Layout
    from nanochat.tokenizer.explore.splitter import Split
    from tui.screens.tokenizer.live import LiveSplit
    from tui.widgets.tokenizer.pane_view import PaneView
    from tui.widgets.tokenizer.text_field import TextField

    class PanePart(LiveSplit):
        """The Tokenizer screen as this part uses it."""

        zoomed: bool
        field: TextField

        @property
        def here(self) -> PaneView | None: ...
        def lay_out_panes(self) -> None: ...
        async def show_panes_anew(self) -> None: ...
        def go_to_byte(self, byte: int, but: SplitView | None = None) -> None: ...

else:
    PanePart = object

FIRST = ("gpt2", "o200k")
"""Published tokenizers of the first panes, where their vocabularies are on this machine."""


SLOW = 0.7
"""Seconds after which it is said that a tokenizer is being opened: it may have to be fetched."""


class PaneActions(PanePart):
    """Adding, choosing, closing panes; views; differences; the screens that are opened from here."""

    # ---- panes ---------------------------------------------------------------------------------------

    async def first_panes(self) -> None:
        """The newest tokenizer trained here, and published ones that need no network; else bytes and words.

        Each is shown as soon as it is there: the largest takes some seconds on a slow machine.
        """
        for spec in await asyncio.to_thread(_first_specs, self.room.layout):
            pane = await asyncio.to_thread(_first_pane, spec, self.room.layout)
            if pane is not None and len(self.panes) < MOST_PANES:
                self.panes.append(pane)
                await self.show_panes_anew()
        if not self.panes:
            self.panes += [TokenizerPane("bytes"), TokenizerPane("words")]
            await self.show_panes_anew()
        self.is_starting = False
        if self.focused is None and self.here is not None:  # the field was left before there was a pane
            self.here.split.focus()

    def action_add_pane(self) -> None:
        if len(self.panes) >= MOST_PANES:
            raise UserError(
                f"there are {MOST_PANES} panes already", "close one first, or choose another here"
            )
        self.room.do(self._choose(None))

    def action_model(self) -> None:
        self.room.do(self._choose(self.here.pane if self.here is not None else None))

    async def _choose(self, pane: TokenizerPane | None) -> None:
        """Asks for a tokenizer, and puts it in place of `pane`, or beside the others."""
        spec = await self.app.push_screen_wait(TokenizerPicker(self.room))
        if spec is None:
            return
        fresh = await self._opened(spec)
        if fresh is None:
            return
        if pane in self.panes:
            self.panes[self.panes.index(pane)] = fresh
        elif len(self.panes) < MOST_PANES:
            self.panes.append(fresh)
        else:
            return
        await self.show_panes_anew()
        # Not before: with the view that had the focus gone, Textual gave it to another pane.
        self.go_to(self.panes.index(fresh))
        self.remember()

    async def _opened(self, spec: str) -> TokenizerPane | None:
        """A pane with its tokenizer; asks for the split pattern where a file does not say it."""
        pattern = ""
        while True:
            slow = self.set_timer(SLOW, lambda: self.room.say(f"opening {sanitize(spec, 80)} …"))
            try:
                splitter = await asyncio.to_thread(open_source, spec, self.room.layout, pattern=pattern)
                return TokenizerPane(spec, pattern, splitter)
            except PatternNeededError:
                slow.stop()
                answer = await self.room.ask(
                    "a rank file does not say how text is split", " · ".join(PATTERNS), next(iter(PATTERNS))
                )
                if not answer:
                    return None
                pattern = answer.strip()
            finally:
                slow.stop()

    def action_close_pane(self) -> None:
        if self.here is None:
            return
        self.panes.remove(self.here.pane)
        self.run_worker(self._after_closing(), group="panes")

    async def _after_closing(self) -> None:
        await self.show_panes_anew()
        if self.here is not None:
            self.here.split.focus()
        else:
            self.set_focus(None)  # Textual gives it to the field, where the next key would be written
        self.show_token()
        self.remember()

    def action_zoom(self) -> None:
        self.zoomed = not self.zoomed
        self.lay_out_panes()

    def action_to_panes(self) -> None:
        """From the field to the pane that is looked at."""
        if self.here is not None:
            self.here.split.focus()
        else:
            self.set_focus(None)

    def action_next_pane(self, by: int) -> None:
        """To the next pane; after the last one to the field, and round."""
        count = len(self.views)
        here = count if self.focused is self.field or not count else self.current
        to = (here + by) % (count + 1)
        if to == count:
            self.field.focus()
        else:
            self.go_to(to)

    def action_pane(self, label: str) -> None:
        if label in LABELS[: len(self.views)]:
            self.go_to(LABELS.index(label))

    def go_to(self, number: int) -> None:
        """Looks at a pane."""
        self.current = number
        self.lay_out_panes()
        self.views[number].split.focus()
        self.show_token()
        self.remember()

    # ---- views ---------------------------------------------------------------------------------------

    def action_view(self) -> None:
        self.view_kind = VIEWS[(VIEWS.index(self.view_kind) + 1) % len(VIEWS)]
        self.lay_out_lines()
        for view in self.views:
            view.split.put_cursor(view.split.cursor)
        self.remember()

    def action_separate(self) -> None:
        self.separated = not self.separated
        self.lay_out_lines()
        self.remember()

    def action_difference(self, by: int) -> None:
        """To the next place where the tokenizers differ."""
        found, view = self.result.differences, self.here
        if found is None and not self.is_settled:
            raise UserError("the tokenizers are not ready yet", "their panes tell when they are")
        if found is None or view is None:
            add = hint("tokenizer.add", self.room.keymap)
            raise UserError("there is nothing to compare", f"{add} adds another tokenizer")
        shown = view.pane.shown if view is not None else None
        if shown is None or shown.split is None or not len(found):
            self.room.say("the tokenizers split this text in the same places")
            return
        byte = shown.split.span(view.split.cursor)[0]
        to = found.next(byte) if by > 0 else found.previous(byte)
        if to is not None:
            self.go_to_byte(to)
            self.show_token()

    def action_copy(self) -> None:
        shown = self.here.pane.shown if self.here is not None else None
        if shown is None or shown.split is None:
            raise UserError("there is nothing to copy yet")
        self.room.do(self._copy(shown.split))

    async def _copy(self, split: Split) -> None:
        text = await asyncio.to_thread(lambda: str(split.ids.tolist()))  # of a long text some megabytes
        await copy_text(self.room, text, f"{amount(len(split), 'id')} as JSON")

    # ---- what is opened from here --------------------------------------------------------------------

    @property
    def chosen(self) -> Chosen:
        """What the screens that are opened from here begin with."""
        opened = [view for view in self.views if view.pane.splitter is not None]
        panes = tuple(
            ChosenTokenizer(view.pane.spec, view.pane.splitter) for view in opened if view.pane.splitter
        )
        here = self.here
        token = None
        if here is not None and here.split.count and here.split.shown is not None:
            split = here.split.shown.split
            token = int(split.ids[here.split.cursor]) if split is not None else None
        at = opened.index(here) if here in opened else 0
        return Chosen(panes, at, token, self.document.text)

    def action_open_part(self, name: str) -> None:
        """Opens one of `parts.PARTS`."""
        self.run_worker(self._open_part(name), group="part", exclusive=True)

    async def _open_part(self, name: str) -> None:
        make = await asyncio.to_thread(load_part, name)
        await self.app.push_screen(make(self.chosen))

    def action_replay(self) -> None:
        if self.here is None or self.here.pane.splitter is None:
            raise UserError("there is no tokenizer to replay yet")
        splitter = self.here.pane.splitter
        if splitter.no_tree:
            raise UserError(f"{splitter.name}: {splitter.no_tree}")
        self.app.push_screen(ReplayScreen(self.chosen, self.work))

    def on_split_view_opened(self, event: SplitView.Opened) -> None:
        event.stop()
        here = self.here
        shown = event.view.shown
        if here is None or shown is None or shown.split is None:
            return
        if shown.splitter.vocab_size is None:
            raise UserError(f"{shown.splitter.name} has no vocabulary: there is no more to tell of a token")
        token = int(shown.split.ids[event.view.cursor])
        counted = here.pane.counted
        place = int(counted.places[token]) if counted is not None and token < len(counted.places) else 0
        counts = None if counted is None else counted.counts
        self.app.push_screen(TokenScreen(shown.splitter, token, counts, place))

    def count_here(self) -> str:
        """How often the token under the cursor stands in the corpus, in words."""
        here = self.here
        shown = here.pane.shown if here is not None else None
        if here is None or shown is None or shown.split is None or not here.split.count:
            return ""
        if here.pane.counted is None:
            keys = hint("tokenizer.vocabulary", self.room.keymap), hint("vocabulary.count", self.room.keymap)
            return f"not counted: {keys[0]}, then {keys[1]}"
        return count_words(here.pane.counted, int(shown.split.ids[here.split.cursor]))


def _first_specs(layout: Layout) -> list[str]:
    ours = [one.spec for one in known_sources(layout) if one.group in ("trained", "checkpoint")]
    return [*ours[:1], *FIRST]


def _first_pane(spec: str, layout: Layout) -> TokenizerPane | None:
    """One of the first panes; None for a published tokenizer that would have to be fetched: it can be chosen,
    with the reason when that fails."""
    try:
        return TokenizerPane(spec, "", open_source(spec, layout, offline=True))
    except UserError as error:
        return None if spec in FIRST else TokenizerPane(spec, error=str(error))
