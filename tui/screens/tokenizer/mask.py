"""The mask of a conversation: every token with its role, and whether it is trained."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.binding import BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from nanochat.common.errors import UserError
from nanochat.common.fields import parse_int
from nanochat.common.text import sanitize
from nanochat.tokenizer.conversation import MAX_CONVERSATION
from tui.actions.run import copy_text
from tui.data.tokenizer import mask, talks
from tui.data.tokenizer.ours import our_sources, own_folder
from tui.keymap import with_keys
from tui.keys import bindings
from tui.screens.base import ControlScreen
from tui.widgets.tokenizer.mask_view import MaskView

if TYPE_CHECKING:
    from nanochat.common.paths import Layout
    from nanochat.tokenizer.conversation import Annotated
    from nanochat.tokenizer.tokenizer import Tokenizer
    from tui.data.tokenizer.chosen import Chosen
    from tui.data.tokenizer.mask import MaskLine
    from tui.data.tokenizer.talks import Messages, Talks

MOST_TOKENS = 1 << 24
SETTING = "mask"


class MaskScreen(ControlScreen):
    """Conversations one by one, as training gets them."""

    place = "Mask"
    groups = ("mask",)
    about = (
        "A conversation as training gets it: every token, whose it is, and whether it is trained (●) or "
        "only read (○). What is behind the longest length is cut away (✂). {mask.open} opens the samples, "
        "a file of JSON lines or the items of a task; JSON can be pasted at any time. {mask.tokenizer} "
        "chooses another tokenizer, {mask.limit} another length."
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("mask")
    AUTO_FOCUS = "MaskView"

    def __init__(self, chosen: Chosen) -> None:
        super().__init__()
        self.head = Static(id="mask-head", markup=False)
        self.view = MaskView(unicode=self.room.unicode, id="mask-view")
        self.detail = Static(id="mask-detail", markup=False)
        self.talks: Talks = talks.samples()
        self.index = 0
        self.limit = MAX_CONVERSATION
        self.found: Annotated | None = None
        self.tokenizer: Tokenizer | None = None
        self.folder = own_folder(chosen)

    def body(self) -> Iterable[Widget]:
        yield self.head
        yield self.view
        yield self.detail

    def on_mount(self) -> None:
        kept = self.room.setting(SETTING)
        if isinstance(kept, int) and 1 <= kept <= MOST_TOKENS:
            self.limit = kept
        self.view.empty = "reading the tokenizer …"
        self._work()

    # ---- showing -------------------------------------------------------------------------------------

    def _work(self, *, keep: bool = False) -> None:
        self.run_worker(self._show(keep), group="mask", exclusive=True)

    async def _show(self, keep: bool) -> None:
        """Renders the conversation in a thread; what cannot be shown is said where it would stand."""
        if not keep or self.found is None:
            try:
                tokenizer = self.tokenizer
                if tokenizer is None:
                    loaded = await asyncio.to_thread(_load, self.folder, self.room.layout)
                    self.folder, self.tokenizer = loaded
                    tokenizer = loaded[1]
                self.found = await asyncio.to_thread(_annotate, tokenizer, self.talks, self.index, self.limit)
            except UserError as error:
                self.found = None
                self.view.empty = f"✗ {sanitize(str(error), 300)}"
        lines: list[MaskLine] = []
        told = ""
        if self.found is not None:
            lines = await asyncio.to_thread(mask.lay_out, self.found, self.view.room)
            told = await asyncio.to_thread(mask.summary, self.found)
        self.head.update(f" {self.view.signs(told)}")
        self.view.show(lines, keep=keep)
        self._tell()

    def _tell(self) -> None:
        name = "" if self.folder is None else sanitize(self.room.layout.told(self.folder), 60)
        size = "" if self.tokenizer is None else f" ({self.tokenizer.vocab_size:,})"
        self.view.border_title = Content(talks.told(self.talks, self.index))
        self.view.border_subtitle = Content(f"{name}{size} · at most {self.limit:,} tokens")
        self._tell_token()

    def _tell_token(self) -> None:
        told = "" if self.found is None else mask.detail(self.found, self.view.cursor)
        self.detail.update(f" {told}")

    def on_mask_view_moved(self) -> None:
        self._tell_token()

    def on_mask_view_resized(self) -> None:
        if self.found is not None:
            self._work(keep=True)

    # ---- which conversation --------------------------------------------------------------------------

    def on_paste(self, event: events.Paste) -> None:
        event.stop()
        self.run_worker(self._open(event.text, is_pasted=True), group="open", exclusive=True)

    def action_open(self) -> None:
        from tui.screens.tokenizer.open_talks import OpenTalks

        def chosen(text: str | None) -> None:
            if text is not None:
                self.run_worker(self._open(text), group="open", exclusive=True)

        self.app.push_screen(OpenTalks(self.room.layout), chosen)

    async def _open(self, text: str, is_pasted: bool = False) -> None:
        """Opens what was typed, chosen or pasted; what is open stays where that cannot be read."""
        read = talks.pasted if is_pasted else lambda text: talks.opened(text, self.room.layout)
        found = await asyncio.to_thread(read, text)
        if not found.count:
            raise UserError(f"{found.name} has no conversation")
        self.talks, self.index = found, 0
        self._work()

    def action_go(self, by: int) -> None:
        """Another conversation of the same place."""
        to = self.index + by
        if not 0 <= to < self.talks.count:
            self.room.say("this is the last conversation" if by > 0 else "this is the first conversation")
            return
        self.index = to
        self._work()

    async def action_number(self) -> None:
        self.run_worker(self._ask_number(), group="ask")

    async def _ask_number(self) -> None:
        text = await self.room.ask("conversation", f"1 to {self.talks.count:,}", str(self.index + 1))
        if text:
            self.index = _number(text, self.talks.count, "a conversation") - 1
            self._work()

    # ---- how it is rendered --------------------------------------------------------------------------

    def action_limit(self) -> None:
        self.run_worker(self._ask_limit(), group="ask")

    async def _ask_limit(self) -> None:
        text = await self.room.ask("tokens at most", "as --max-seq-len of the stage", str(self.limit))
        if text:
            self.limit = _number(text, MOST_TOKENS, "a length")
            self.room.remember(SETTING, self.limit)
            self._work()

    def action_tokenizer(self) -> None:
        self.run_worker(self._choose_tokenizer(), group="ask")

    async def _choose_tokenizer(self) -> None:
        from tui.screens.tokenizer.choose import Choice, Choose

        sources = await asyncio.to_thread(our_sources, self.room.layout)
        choices = [Choice(source.spec, source.name, source.where) for source in sources]
        if not choices:
            raise UserError("there is no tokenizer of ours here yet", _how_to_train(self))

        def chosen(spec: str | None) -> None:
            if spec is not None:
                self.folder, self.tokenizer = Path(spec), None
                self._work()

        self.app.push_screen(Choose("render with the tokenizer", choices), chosen)

    # ---- cursor --------------------------------------------------------------------------------------

    def action_token(self, by: int) -> None:
        self.view.move_to(self.view.cursor + by)

    def action_line(self, by: int) -> None:
        self.view.move_lines(by)

    def action_page(self, by: int) -> None:
        self.view.move_lines(by * self.view.page())

    def action_end(self, to: int) -> None:
        self.view.move_to(self.view.count if to else 0)

    def action_trained(self, by: int) -> None:
        """The next token at which trained and not trained change places."""
        if self.found is None:
            return
        flags = [token.trained for token in self.found.tokens]
        at = self.view.cursor + by
        while 0 < at < len(flags) and flags[at] == flags[at - 1]:
            at += by
        self.view.move_to(at)

    def action_copy(self) -> None:
        if self.found is None:
            raise UserError("there is no conversation to copy")
        self.room.do(self._copy(self.found))

    async def _copy(self, found: Annotated) -> None:
        await copy_text(self.room, await asyncio.to_thread(_as_json, found), "ids and mask as JSON")


def _load(folder: Path | None, layout: Layout) -> tuple[Path, Tokenizer]:
    """The tokenizer in `folder`; without one the first that is known, the base directory's own before all."""
    from nanochat.tokenizer.tokenizer import Tokenizer

    ours = [Path(source.spec) for source in our_sources(layout)]
    found = folder or next(iter(ours), layout.tokenizer)
    return found, Tokenizer.load(found)


def _annotate(tokenizer: Tokenizer, found: Talks, index: int, limit: int) -> Annotated:
    messages: Messages = found.read(index)
    return tokenizer.annotate_conversation(messages, limit)


def _as_json(found: Annotated) -> str:
    kept = found.kept
    return json.dumps({"ids": [token.id for token in kept], "mask": [int(token.trained) for token in kept]})


def _number(text: str, most: int, what: str) -> int:
    try:
        number = parse_int(text)
    except ValueError:
        number = 0
    if not 1 <= number <= most:
        raise UserError(f"'{sanitize(text, 40)}' is not {what}", f"a number from 1 to {most:,}")
    return number


def _how_to_train(screen: ControlScreen) -> str:
    return with_keys("{tokenizer.train} on the Tokenizer screen trains one", screen.room.keymap)
