"""Tokenizer: a text, split live by up to four tokenizers side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import TextArea

from nanochat.common.text import amount
from tui.data.tokenizer.characters import Glyphs
from tui.data.tokenizer.document import Document, document
from tui.data.tokenizer.facts import token_facts
from tui.data.tokenizer.lines import VIEWS, View
from tui.data.tokenizer.panes import LABELS, TokenizerPane, restored
from tui.data.tokenizer.samples import SAMPLES
from tui.data.tokenizer.splitting import Work
from tui.keymap import hint, with_keys
from tui.keys import bindings
from tui.screens.panes import PaneScreen, Split
from tui.screens.tokenizer.live import LiveSplit
from tui.screens.tokenizer.pane_actions import PaneActions
from tui.screens.tokenizer.text_actions import TextActions
from tui.widgets.pane_tabs import PaneTabs
from tui.widgets.tokenizer.pane_view import PaneView
from tui.widgets.tokenizer.split_view import SplitView
from tui.widgets.tokenizer.text_field import TextField
from tui.widgets.tokenizer.token_detail import TokenDetail

if TYPE_CHECKING:
    from remote.runs import Change

SETTING = "tokenizer"
LEAST = 40
"""Columns that a pane takes at least."""
LOW = 30
"""Rows below which field and detail are lower."""
TALL = 50
"""Rows from which on there is room for a large merge tree."""
SAVE_SECONDS = 1.0


class TokenizerScreen(TextActions, PaneActions, LiveSplit, PaneScreen):
    """A text above, below it what each tokenizer makes of it, and the token under the cursor."""

    tab = "tokenizer"
    groups = ("tokenizer", "text", "split", "panes")
    splits = (
        Split("text", "#tokenizer-text", "rows", before=True, least=3, leave=14, near="#tokenizer-text"),
        Split("detail", "#token-detail", "rows", least=3, leave=10),
    )
    about = (
        "Type, paste or open a text and see how tokenizers split it, up to four side by side. Every token "
        "has a colour, and every second one is underlined; ≠ marks lines where the tokenizers differ, and "
        "{tokenizer.next} goes to the next such place. {tokenizer.model} chooses the tokenizer of a pane: "
        "one trained here, GPT-2, cl100k, o200k, bytes, characters, words, or any file by its path. The "
        "arrow keys go from token to token; below is its id, its bytes, and the merges that made it. "
        "{tokenizer.replay} plays the merges over the text. esc leaves the field, so that letters are keys."
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("tokenizer")
    AUTO_FOCUS = ""

    def __init__(self) -> None:
        super().__init__()
        self.glyphs = Glyphs(self.room.unicode)
        self.work = Work(self.glyphs)
        self.field = TextField(id="tokenizer-text")
        self.tabs = PaneTabs((), id="tokenizer-tabs", next_key="tokenizer.next_pane")
        self.box = Horizontal(id="tokenizer-panes")
        self.detail = TokenDetail(self.glyphs, id="token-detail")
        self.panes: list[TokenizerPane] = []
        self.views: list[PaneView] = []
        self.current = 0
        self.document = Document()
        self.written = ""
        self.view_kind: View = "tokens"
        self.separated = not self.room.unicode
        self.zoomed = False
        self._first = 0
        self._arranging = asyncio.Lock()
        self._is_kept = True
        self.begin_live()

    def body(self) -> Iterable[Widget]:
        yield self.field
        yield self.tabs
        yield self.box
        yield self.detail

    # ---- start and end -------------------------------------------------------------------------------

    async def on_mount(self) -> None:
        kept = self.room.setting(SETTING)
        kept = kept if isinstance(kept, dict) else {}
        self.panes = restored(kept.get("panes"))
        if kept.get("view") in VIEWS:
            self.view_kind = kept["view"]
        if isinstance(kept.get("separated"), bool):
            self.separated = kept["separated"]
        self.current = kept["current"] if isinstance(kept.get("current"), int) else 0
        self._first_text(kept)
        self.field.focus()
        self.set_interval(SAVE_SECONDS, self._keep_if_changed)
        if self.panes:
            await self.show_panes_anew()
        else:
            self.is_starting = True
            self.show_token()
            self.run_worker(self.first_panes(), group="first")

    def _first_text(self, kept: dict[str, Any]) -> None:
        """The text of the start before; at the very first a sample, which typing replaces."""
        file, text = kept.get("file"), kept.get("text")
        if isinstance(file, str) and file:
            self.open_file(file)
        elif isinstance(text, str) and text:
            self.write(document(text))
        else:
            self.write(document(SAMPLES["English"], "English"))
            self.field.select_whole()

    def settings(self) -> dict[str, Any]:
        """What is kept for the next start: a text that is too long for the field only by its file."""
        return {
            "panes": [pane.document() for pane in self.panes],
            "view": self.view_kind,
            "separated": self.separated,
            "current": self.current,
            "file": self.document.file if self.document.why else "",
            "text": "" if self.document.why else self.document.text,
        }

    def remember(self) -> None:
        """Keeps what is chosen, soon."""
        self._is_kept = False

    def _keep_if_changed(self) -> None:
        if not self._is_kept:
            self._is_kept = True
            self.room.remember(SETTING, self.settings())

    def on_screen_suspend(self) -> None:
        self._keep_if_changed()

    def on_unmount(self) -> None:
        if not self._is_kept:
            self.room.remember(SETTING, self.settings())

    # ---- panes ---------------------------------------------------------------------------------------

    @property
    def here(self) -> PaneView | None:
        """The pane that is looked at."""
        return self.views[self.current] if 0 <= self.current < len(self.views) else None

    async def show_panes_anew(self) -> None:
        """Makes the views of panes that have none, removes those of panes that are gone."""
        async with self._arranging:
            known = {id(view.pane): view for view in self.views}
            views = [known.get(id(pane)) or PaneView(pane, unicode=self.room.unicode) for pane in self.panes]
            gone = [view for view in self.views if view not in views]
            fresh = [view for view in views if view not in self.views]
            self.views = views
            for view in gone:
                await view.remove()
            for view in fresh:
                await self.box.mount(
                    view, before=views.index(view) if views.index(view) < len(self.box.children) else None
                )
            for number, view in enumerate(views):
                view.label = LABELS[number]
            self.current = max(0, min(self.current, len(views) - 1))
        self.lay_out_panes()
        self.open_panes()
        self.split_again()
        self.read_counts()

    def fitting(self) -> int:
        """How many panes stand side by side."""
        most = 1 if self.zoomed else self.app.size.width // LEAST
        return max(1, min(most, len(self.views)))

    def lay_out_panes(self) -> None:
        """Shows the panes that fit, the one that is looked at among them."""
        count = self.fitting()
        self._first = max(min(self._first, self.current), self.current - count + 1, 0)
        self._first = min(self._first, max(0, len(self.views) - count))
        for number, view in enumerate(self.views):
            shown = self._first <= number < self._first + count
            if view.display != shown:
                view.display = shown
        self.set_class(count < len(self.views), "-tabs")
        self.set_class(self.app.size.height < LOW, "-low")
        self.set_class(self.app.size.height >= TALL, "-tall")
        self.update_panes()
        self.link_cursors()

    def tell(self) -> None:
        """Says in tabs and field what there is."""
        width = max(4, (self.app.size.width - 14) // max(1, len(self.views)) - 6)
        self.tabs.set_panes([(view.label, f"{view.label} {view.pane.name[:width]}") for view in self.views])
        self.tabs.show(self.here.label if self.here is not None else "")
        places = "" if any(view.busy for view in self.views) else self._places()
        if self.field.border_title != (title := self._field_title()):
            self.field.border_title = Content(title)
        if self.field.border_subtitle != places:
            self.field.border_subtitle = Content(places)

    def _places(self) -> str:
        """In how many places the tokenizers differ, in words."""
        found = self.result.differences
        if found is None or not self.result.text or not self.views:
            return ""
        return amount(len(found), "difference") if len(found) else "no difference"

    def _field_title(self) -> str:
        text = self.document
        title = f"{text.name or 'text'} · {amount(len(text.text), 'character')}"
        if not text.why:
            return title
        again = hint("tokenizer.write", self.room.keymap)
        short = f"{title} · not edited here: {text.why}"
        return f"{short} · {again} writes another" if len(short) < self.app.size.width - 30 else short

    def on_resize(self, event: events.Resize) -> None:
        super().on_resize(event)
        self.lay_out_panes()

    def on_split_view_resized(self, event: SplitView.Resized) -> None:
        event.stop()
        self.lay_out_lines()
        self.link_cursors()

    def changed(self, changes: frozenset[Change]) -> None:
        """Shown again: tokens may have been counted, in the vocabulary, since."""
        if not changes:
            self.read_counts()

    # ---- the cursor ----------------------------------------------------------------------------------

    def on_pane_view_touched(self, event: PaneView.Touched) -> None:
        event.stop()
        is_here = event.view in self.views and self.focused is event.view.split
        if is_here and self.views.index(event.view) != self.current:
            self.current = self.views.index(event.view)
            self.tell()
            self.show_token()
            self.remember()

    def on_split_view_moved(self, event: SplitView.Moved) -> None:
        event.stop()
        shown = event.view.shown
        if shown is not None and shown.split is not None and len(shown.split):
            self.go_to_byte(shown.split.span(event.view.cursor)[0], event.view)
        self.show_token()

    def link_cursors(self) -> None:
        """Puts the cursors of the other panes where that of this one is: a pane may come into sight."""
        shown = self.here.split.shown if self.here is not None else None
        if shown is not None and shown.split is not None and len(shown.split) and self.here is not None:
            self.go_to_byte(shown.split.span(self.here.split.cursor)[0], self.here.split)

    def go_to_byte(self, byte: int, but: SplitView | None = None) -> None:
        """Puts the cursor of every pane on the token that holds a byte."""
        for view in self.views:
            shown = view.pane.shown
            if view.split is not but and shown is not None and shown.split is not None and len(shown.split):
                view.split.put_cursor(shown.split.at(byte))

    def follow_field(self) -> None:
        """While the text is written, the cursors are where it is."""
        if self.focused is not self.field or not self.result.text:
            return
        at = max(0, min(self.field.at, len(self.result.text)) - 1)
        self.go_to_byte(len(self.result.text[:at].encode()))

    def show_token(self) -> None:
        """Tells of the token under the cursor of the pane that is looked at."""
        view = self.here
        shown = view.pane.shown if view is not None else None
        facts = None
        if shown is not None and view is not None:
            facts = token_facts(shown, view.split.cursor, self.glyphs)
        told = with_keys(self._without_token(), self.room.keymap)
        name = view.label if view is not None else ""
        self.detail.show(facts, name, self.count_here(), told)

    def _without_token(self) -> str:
        """What stands in place of a token's facts."""
        if self.is_starting and not self.views:
            return "opening the first tokenizers …"
        if not self.views:
            return "{tokenizer.add} adds a tokenizer"
        return "{tokenizer.write} writes a text, {tokenizer.sample} has samples"

    def on_pane_tabs_picked(self, event: PaneTabs.Picked) -> None:
        self.action_pane(event.pane)

    def default_focus(self) -> Widget | None:
        return self.here.split if self.here is not None else None

    def leave_field(self) -> bool:
        if not isinstance(self.focused, TextArea):
            return super().leave_field()
        self.action_to_panes()
        return True

    def go_back(self) -> bool:
        if self.zoomed:
            self.action_zoom()
            return True
        return False
