"""The vocabulary of a tokenizer: every token, searched by text, id, length or pattern."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input

from nanochat.common.errors import UserError
from nanochat.common.fields import safe_json
from nanochat.common.text import sanitize
from tui.actions.run import copy_text
from tui.data.tokenizer.corpora import Corpus, corpora, count_tokens, kept_counts
from tui.data.tokenizer.vocabulary import (
    MARKDOWN,
    ONLY,
    ONLY_COUNTED,
    Listed,
    find_pattern,
    heading,
    list_ids,
    record,
    wanted,
    written,
)
from tui.keymap import with_keys
from tui.keys import bindings
from tui.screens.base import ControlScreen
from tui.screens.tokenizer.choose import Choice, Choose
from tui.widgets.table import VirtualTable
from tui.widgets.tokenizer.length_bars import LengthBars
from tui.widgets.tokenizer.token_facts import TokenFacts
from tui.widgets.tokenizer.vocabulary_table import VocabularyTable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nanochat.tokenizer.explore.counting import TokenCounts
    from nanochat.tokenizer.explore.patterns import PatternSearch
    from nanochat.tokenizer.explore.splitter import Splitter
    from nanochat.tokenizer.explore.vocabulary import TokenTable
    from tui.data.tokenizer.chosen import Chosen
    from tui.data.tokenizer.corpora import Progress

BESIDE = 100
"""Columns of the app from which on the panel is beside the table, not below it."""
KINDS_TO_WRITE = ("csv", "md", "json")


class VocabularyScreen(ControlScreen):
    """The tokens of the tokenizer that is looked at. The table is painted at once; what searching needs is
    read behind it."""

    place = "Vocabulary"
    groups = ("vocabulary", "table")
    about = (
        "Every token of the vocabulary. {vocabulary.find} finds: a text as it is typed, spaces too; "
        "#100-200 by id; len:8- by bytes, chars:2 by characters; hex:e4bd; is:special, is:part, is:byte; "
        "re:^ ?[a-z]+ing$ by a regular expression. {vocabulary.count} counts how often each token stands in "
        "a corpus; then count:0-5, is:hardly and is:never find tokens that a model trained on it hardly "
        "sees: their embeddings stay as they were initialised."
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("vocabulary")
    AUTO_FOCUS = "#vocabulary"

    def __init__(self, chosen: Chosen) -> None:
        super().__init__()
        here = chosen.here
        self.splitter: Splitter | None = here.splitter if here is not None else None
        self._chosen = chosen
        self._first = chosen.token
        self.only = ""
        self.counts: TokenCounts | None = None
        self.listed: Listed | None = None
        self._listed_counts: NDArray[np.int64] | None = None
        self.table = VocabularyTable(id="vocabulary")
        self.bars = LengthBars(unicode=self.room.unicode, id="lengths")
        self.facts = TokenFacts(unicode=self.room.unicode, id="token-facts")
        self.search = Input(
            placeholder="ing   len:8-   #100-200   is:special   re:^ ?the", id="vocabulary-find"
        )
        self.search.cursor_blink = False
        self._tokens: asyncio.Task[TokenTable] | None = None
        self._patterns: PatternSearch | None = None
        self._places: NDArray[np.int64] | None = None
        self._corpus = ""
        self._state = ""
        self._stop_counting = False

    def body(self) -> Iterable[Widget]:
        yield self.search
        with Horizontal(id="vocabulary-body"):
            yield self.table
            with Vertical(id="vocabulary-side"):
                yield self.bars
                yield self.facts

    def on_mount(self) -> None:
        self.search.border_title = "find"
        self.bars.border_title = "bytes a token"
        self.facts.border_title = "token"
        splitter = self.splitter
        if splitter is None or not splitter.vocab_size:
            name = "this pane" if splitter is None else sanitize(splitter.name, 60)
            self.table.empty = f"{name} has no vocabulary: choose a tokenizer with ids"
            self.search.disabled = True
            return
        self.table.splitter = splitter
        self.table.show(range(splitter.vocab_size))
        if self._first is not None:
            self.table.move_to_item(self._first)
        self._show_titles()
        self._show_token()
        self.run_worker(self._read(splitter), group="read")

    def on_unmount(self) -> None:
        self._stop_counting = True
        if self._patterns is not None:
            self._patterns.close()

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.width < BESIDE, "-below")

    def default_focus(self) -> Widget:
        return self.table

    # ---- reading -------------------------------------------------------------------------------------

    async def _read(self, splitter: Splitter) -> None:
        """Reads what searching needs, then what was counted earlier."""
        from nanochat.tokenizer.explore.patterns import PatternSearch
        from nanochat.tokenizer.explore.vocabulary import read_tokens

        self._tokens = asyncio.create_task(asyncio.to_thread(read_tokens, splitter))
        table = await self._tokens
        self._patterns = PatternSearch(table.texts)
        self._list()
        found = await asyncio.to_thread(corpora, self.room.layout)
        for corpus in found:
            counts = await asyncio.to_thread(kept_counts, self.room.layout.base, splitter, corpus)
            if counts is not None:
                await self._take_counts(corpus, counts)
                break

    async def _take_counts(self, corpus: Corpus, counts: TokenCounts) -> None:
        self._places = await asyncio.to_thread(counts.places)
        self.counts, self._corpus = counts, corpus.name
        self.table.show_counts(counts.counts)
        self._list()
        self._show_token()

    # ---- which tokens --------------------------------------------------------------------------------

    def _list(self) -> None:
        self.run_worker(self._list_on(), group="list", exclusive=True)

    async def _list_on(self) -> None:
        """Lists what the field and the key leave; a term that is wrong leaves the rows as they are."""
        if self._tokens is None:
            return
        table = await asyncio.shield(self._tokens)
        counts = None if self.counts is None else self.counts.counts
        try:
            search = wanted(self.search.value, self.only)
            if search.needs_counts and counts is None:
                raise UserError(with_keys("first count: {vocabulary.count}", self.room.keymap))
            assert self._patterns is not None
            self._show_problem("searching …" if search.pattern else "")
            found = await find_pattern(self._patterns, search)
            order = self.table.order, self.table.descending
            before = self.listed if self._listed_counts is counts else None
            listed = await asyncio.to_thread(list_ids, table, search, found, order, counts, before)
        except UserError as error:
            self._show_problem(str(error), wrong=True)
            return
        self._show_problem("")
        self.listed, self._listed_counts = listed, counts
        self.table.empty = "no such token"
        self.table.show(listed.ids)
        self.bars.show(listed.lengths)
        self._show_titles()
        self._show_token()

    def _show_problem(self, text: str, wrong: bool = False) -> None:
        self.search.border_subtitle = Content(sanitize(text, 200))
        self.search.set_class(wrong, "-wrong")

    def _show_titles(self) -> None:
        if self.splitter is not None:
            self.table.border_title = Content(heading(self.splitter, len(self.table.items), self.only))
        told = self._state or (f"counted in {self._corpus}" if self._corpus else "")
        hint = with_keys("{vocabulary.count} counts them in a corpus", self.room.keymap)
        self.table.border_subtitle = Content(sanitize(told, 200) or hint)

    def on_input_changed(self) -> None:
        self._list()

    def on_input_submitted(self) -> None:
        self.leave_field()

    def on_virtual_table_arranged(self) -> None:
        self._list()

    def action_find(self) -> None:
        self.set_focus(self.search)

    def action_only(self) -> None:
        order = ONLY_COUNTED if self.counts is not None else ONLY
        self.only = order[(order.index(self.only) + 1) % len(order)]
        self._list()

    def action_sort(self) -> None:
        self.table.action_sort()

    def action_reverse(self) -> None:
        self.table.action_reverse()

    def go_back(self) -> bool:
        """Drops the search first, then leaves."""
        if self.search.value or self.only:
            self.only = ""
            if self.search.value:
                self.search.value = ""
            else:
                self._list()
            return True
        self._tell_stopped()
        return False

    def _tell_stopped(self) -> None:
        """Says that counting ends with this screen."""
        if self._state:
            self.room.say("counting was stopped with its screen: nanochat tok_counts counts without one")

    # ---- one token -----------------------------------------------------------------------------------

    def on_virtual_table_highlighted(self) -> None:
        self._show_token()

    def on_virtual_table_selected(self, event: VirtualTable.Selected) -> None:
        self.action_open()

    def _show_token(self) -> None:
        if self.splitter is not None:
            self.facts.show(self.splitter, self.table.current, self.counts, self._place())

    def _place(self) -> int:
        token = self.table.current
        return 0 if token is None or self._places is None else int(self._places[token])

    def action_open(self) -> None:
        from tui.screens.tokenizer.token import TokenScreen

        if self.splitter is not None and self.table.current is not None:
            self.app.push_screen(TokenScreen(self.splitter, self.table.current, self.counts, self._place()))

    def action_next(self, by: int) -> None:
        """The vocabulary of the next pane."""
        panes = self._chosen.panes
        if len(panes) < 2:
            raise UserError("there is one tokenizer", "add a pane on the Tokenizer screen")
        self._tell_stopped()
        to = (self._chosen.current + by) % len(panes)
        self.app.switch_screen(VocabularyScreen(replace(self._chosen, current=to, token=None)))

    def action_side(self) -> None:
        self.toggle_class("-other-side")

    def action_copy(self) -> None:
        if self.splitter is not None and self.table.current is not None:
            text = safe_json(record(self.splitter, self.table.current, self.counts), 1)
            self.room.do(copy_text(self.room, text, f"token {self.table.current}"))

    def action_export(self) -> None:
        from tui.screens.export_actions import export_text

        splitter, ids, counts = self.splitter, self.table.items, self.counts
        if splitter is not None and ids:
            stem = f"{splitter.name}-vocabulary"
            about = (
                f"The {len(ids):,} tokens that are shown, in their order; in Markdown the first {MARKDOWN:,}."
            )
            self.room.do(
                export_text(
                    self,
                    "write the tokens",
                    stem,
                    KINDS_TO_WRITE,
                    about,
                    lambda kind: written(splitter, ids, counts, kind),
                )
            )

    # ---- counting ------------------------------------------------------------------------------------

    def action_count(self) -> None:
        """Counts in a corpus, one that is chosen where there are several; stops while it counts."""
        if self._state:
            self._stop_counting = True
        elif self.splitter is not None and self.splitter.vocab_size:
            self.run_worker(self._choose_corpus(self.splitter), group="count")

    async def _choose_corpus(self, splitter: Splitter) -> None:
        found = await asyncio.to_thread(corpora, self.room.layout)
        if not found:
            raise UserError("no training data in the base directory", "nanochat data download, or data build")
        if len(found) == 1:
            await self._count(splitter, found[0])
            return
        choices = [Choice(corpus.name, corpus.name, str(corpus.folder)) for corpus in found]
        key = await self.app.push_screen_wait(Choose("count tokens in", choices))
        for corpus in found:
            if corpus.name == key:
                await self._count(splitter, corpus)

    async def _count(self, splitter: Splitter, corpus: Corpus) -> None:
        """Counts in a thread, telling how far it is; the key that began it stops it."""
        self._stop_counting = False

        def tell(progress: Progress) -> None:
            self._state = with_keys(f"counting {progress}, {{vocabulary.count}} stops", self.room.keymap)

        self._state = "counting …"
        timer = self.set_interval(0.25, self._show_titles)
        try:
            base = self.room.layout.base
            counts = await asyncio.to_thread(
                count_tokens, base, splitter, corpus, tell, lambda: self._stop_counting
            )
        finally:
            timer.stop()
            self._state = ""
            self._show_titles()
        if counts is None:
            self.room.say("counting was stopped: nothing is kept")
        else:
            await self._take_counts(corpus, counts)
            self._show_titles()
