"""The live split: the text of the field in every pane, at once where it is short, else in a thread."""

from __future__ import annotations

import asyncio
import contextlib
from time import perf_counter
from typing import TYPE_CHECKING

from nanochat.common.errors import UserError
from nanochat.common.text import amount
from nanochat.tokenizer.explore.sources import open_source
from tui.data.tokenizer.panes import LABELS, TokenizerPane, read_counted
from tui.data.tokenizer.splitting import Look, Result

if TYPE_CHECKING:
    from nanochat.tokenizer.explore.splitter import Splitter
    from tui.data.tokenizer.document import Document
    from tui.data.tokenizer.lines import View
    from tui.data.tokenizer.splitting import Work
    from tui.screens.panes import PaneScreen
    from tui.widgets.tokenizer.pane_view import PaneView

    class LivePart(PaneScreen):
        """The Tokenizer screen as its parts use it; `tui.screens.tokenizer.screen.TokenizerScreen` is one."""

        panes: list[TokenizerPane]
        views: list[PaneView]
        current: int
        document: Document
        view_kind: View
        separated: bool
        work: Work

        def tell(self) -> None: ...
        def show_token(self) -> None: ...
        def follow_field(self) -> None: ...
        def remember(self) -> None: ...

else:
    LivePart = object

AT_ONCE = 0.010
"""Seconds of work that are done on the event loop."""
FASTEST = 20_000
"""Characters of a text that may be split on the event loop."""


BETWEEN = 0.03
"""Seconds between two panes that show a long text: each is painted by itself."""


class LiveSplit(LivePart):
    """Opens the tokenizers of panes, and splits the text whenever it or a pane changes."""

    def begin_live(self) -> None:
        """Call it first."""
        self.result = Result("")
        self.is_starting = False
        """Whether the first panes of all are still to come."""
        self._is_due = False
        self._is_splitting = False
        self._each = 1.0
        """Seconds a character and pane that splitting took last: unknown at first, then it is measured."""
        self._warm: set[int] = set()
        """The tokenizers that have split something: the first time they build what they need."""

    # ---- tokenizers ----------------------------------------------------------------------------------

    def open_panes(self) -> None:
        """Opens the tokenizers of panes that have none yet."""
        for pane in self.panes:
            if pane.splitter is None and not pane.error:
                self.run_worker(self._open(pane), group="open")

    async def _open(self, pane: TokenizerPane) -> None:
        layout = self.room.layout
        try:
            pane.splitter = await asyncio.to_thread(open_source, pane.spec, layout, pattern=pane.pattern)
        except UserError as error:
            pane.error = str(error)
        if pane in self.panes:
            self.update_panes()
            self.split_again()
            self.read_counts()

    def read_counts(self) -> None:
        """Looks whether tokens have been counted since."""
        for pane in self.panes:
            if pane.splitter is not None and pane.counted is None:
                self.run_worker(self._read_counts(pane, pane.splitter), group="counts")

    async def _read_counts(self, pane: TokenizerPane, splitter: Splitter) -> None:
        with contextlib.suppress(UserError):  # shards that cannot be read are told where they are counted
            pane.counted = await asyncio.to_thread(read_counted, self.room.layout, splitter)
            if pane.counted is not None:
                self.show_token()

    # ---- splitting -----------------------------------------------------------------------------------

    def _ready(self) -> list[tuple[TokenizerPane, PaneView]]:
        return [(view.pane, view) for view in self.views if view.pane.splitter is not None]

    def look_of(self, view: PaneView) -> Look:
        """How a pane shows its split."""
        return Look(self.view_kind, view.split.text_width, self.separated)

    @property
    def is_settled(self) -> bool:
        """Whether every pane shows the text as it is."""
        return not (self.is_starting or self._is_due or self._is_splitting) and all(
            pane.splitter or pane.error for pane in self.panes
        )

    def split_again(self) -> None:
        """The text, or a tokenizer, is another."""
        ready = self._ready()
        if not ready or not self.is_mounted:
            return
        text = self.document.text
        known = all(
            pane.splitter is not None and not pane.splitter.is_elsewhere and id(pane.splitter) in self._warm
            for pane, _ in ready
        )
        cost = self._each * len(text) * len(ready)
        if not self._is_splitting and known and len(text) <= FASTEST and cost <= AT_ONCE:
            began = perf_counter()
            asked = [(pane.splitter, self.look_of(view)) for pane, view in ready if pane.splitter is not None]
            result = self.work.result(text, asked)
            self._measure(perf_counter() - began, text, len(ready))
            self._take([pane for pane, _ in ready], result)
            return
        self._is_due = True
        if not self._is_splitting:
            self._is_splitting = True
            self.run_worker(self._split_on(), group="split")

    def _measure(self, seconds: float, text: str, panes: int) -> None:
        if len(text) > 200:
            self._each = seconds / (len(text) * panes)

    async def _split_on(self) -> None:
        try:
            while self._is_due:
                self._is_due = False
                ready = self._ready()
                text = self.document.text
                asked = [(pane.splitter, self.look_of(view)) for pane, view in ready if pane.splitter]
                if len(text) > FASTEST:
                    for _, view in ready:
                        view.busy = amount(len(text), "character")
                    self.update_panes()
                known = all(id(splitter) in self._warm for splitter, _ in asked)
                began = perf_counter()
                result = await asyncio.to_thread(self.work.result, text, asked)
                if known or len(text) <= 200:
                    self._measure(perf_counter() - began, text, len(ready))
                    self._each = min(self._each, 1e-6) if len(text) <= 200 else self._each
                self._warm |= {id(splitter) for splitter, _ in asked}
                if not self._is_due or text == self.document.text:
                    await self._take_in_turn([pane for pane, _ in ready], result)
        finally:
            self._is_splitting = False

    async def _take_in_turn(self, panes: list[TokenizerPane], result: Result) -> None:
        """Shows a result; of a long text a pane at a time, so that painting does not hold the loop."""
        if len(result.text) <= FASTEST:
            self._take(panes, result)
            return
        for pane, shown in zip(panes, result.panes, strict=True):
            view = next((view for view in self.views if view.pane is pane), None)
            if view is not None and pane.splitter is shown.splitter:
                pane.shown, view.busy = shown, ""
                view.update(LABELS[0])
                await asyncio.sleep(BETWEEN)
        self._take(panes, result)

    def _take(self, panes: list[TokenizerPane], result: Result) -> None:
        """Shows a result, in the panes that are still there."""
        self.result = result
        for view in self.views:
            view.busy = ""
        for pane, shown in zip(panes, result.panes, strict=True):
            if pane.splitter is shown.splitter:
                pane.shown = shown
        self.lay_out_lines()

    def lay_out_lines(self) -> None:
        """Makes lines anew where a pane has another width or view, and shows all panes."""
        for view in self.views:
            shown = view.pane.shown
            look = self.look_of(view)
            if shown is not None and shown.split is not None and shown.look != look:
                if len(shown.split.text) > FASTEST:
                    self.run_worker(self._lay_out_long(view, look), group=f"lines{id(view)}", exclusive=True)
                else:
                    view.pane.shown = self.work.laid_out(shown, look)
        self.update_panes()
        self.follow_field()
        self.show_token()

    async def _lay_out_long(self, view: PaneView, look: Look) -> None:
        shown = view.pane.shown
        if shown is None:
            return
        made = await asyncio.to_thread(self.work.laid_out, shown, look)
        if view.pane.shown is shown:
            view.pane.shown = made
            view.update(LABELS[0])
            self.show_token()

    def update_panes(self) -> None:
        """Shows what every pane has now."""
        for view in self.views:
            if view.display:
                view.update(LABELS[0])
        self.tell()
