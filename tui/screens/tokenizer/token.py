"""One token on the whole screen: its facts, its merge tree however large, its neighbours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType
from textual.containers import ScrollableContainer
from textual.content import Content
from textual.widget import Widget

from nanochat.common.fields import safe_json
from nanochat.common.text import sanitize
from nanochat.tokenizer.explore.spelling import shown
from tui.actions.run import copy_text
from tui.data.tokenizer.vocabulary import record
from tui.keys import bindings
from tui.screens.base import ControlScreen
from tui.widgets.tokenizer.token_facts import TokenFacts

if TYPE_CHECKING:
    from nanochat.tokenizer.explore.counting import TokenCounts
    from nanochat.tokenizer.explore.splitter import Splitter


class TokenScreen(ControlScreen):
    """A token of a vocabulary, with `place` by its count, from 1."""

    place = "Token"
    groups = ("token",)
    about = "A token: its bytes, the merges that made it, and the ids before and after it."
    BINDINGS: ClassVar[list[BindingType]] = bindings("token")
    AUTO_FOCUS = "#token"

    def __init__(self, splitter: Splitter, token_id: int, counts: TokenCounts | None, place: int) -> None:
        super().__init__()
        self.splitter, self.token_id, self.counts = splitter, token_id, counts
        self.facts = TokenFacts(unicode=self.room.unicode, whole=True)
        self.facts.show(splitter, token_id, counts, place)

    def body(self) -> Iterable[Widget]:
        with ScrollableContainer(id="token") as box:
            box.border_title = Content(
                f"{sanitize(self.splitter.name, 60)} {self.token_id:,} {self._spelled}"
            )
            yield self.facts

    @property
    def _spelled(self) -> str:
        try:
            return shown(self.splitter.token(self.token_id))
        except KeyError:
            return ""

    def action_copy(self) -> None:
        text = safe_json(record(self.splitter, self.token_id, self.counts), 1)
        self.room.do(copy_text(self.room, text, f"token {self.token_id}"))
