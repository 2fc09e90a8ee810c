"""One token of a vocabulary: its bytes, how often it stands in the corpus, its merge tree, its neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content
from textual.widget import Widget

from nanochat.common.errors import UserError
from nanochat.tokenizer.explore.merges import MergeTree, merge_tree
from nanochat.tokenizer.explore.spelling import shown
from tui.data.tokenizer.facts import merge_number
from tui.data.tokenizer.tree import tree_lines
from tui.data.tokenizer.vocabulary import facts, neighbours, token_bytes
from tui.widgets.columns import fit

if TYPE_CHECKING:
    from nanochat.tokenizer.explore.counting import TokenCounts
    from nanochat.tokenizer.explore.splitter import Splitter

AROUND = 3
"""Neighbours in the vocabulary before the token, and after it."""
MOST_NEIGHBOURS = 40
NAME = 10
TREE_HEIGHT = 24


class TokenFacts(Widget):
    """What is known of a token, as many lines as there is room for; `whole` shows all of it."""

    def __init__(self, *, unicode: bool = True, whole: bool = False, id: str | None = None) -> None:
        super().__init__(id=id)
        self._unicode, self._whole = unicode, whole
        self._token: tuple[Splitter, int, TokenCounts | None, int] | None = None

    def show(self, splitter: Splitter, token_id: int | None, counts: TokenCounts | None, place: int) -> None:
        """Shows a token; `place` is its place by count, from 1."""
        token = None if token_id is None else (splitter, token_id, counts, place)
        if token != self._token:
            self._token = token
            self.refresh(layout=self._whole)

    def render(self) -> Content:
        return Content("\n").join(self.lines(self.size.width, self.size.height))

    def lines(self, width: int, height: int) -> list[Content]:
        """What is told, in a box of this size."""
        if self._token is None:
            return [Content.assemble(("no token", "$muted"))]
        splitter, token_id, counts, place = self._token
        made = _made(splitter, token_id)
        known = facts(splitter, token_id, counts, place)
        if isinstance(made, MergeTree):
            known.insert(2, ("merge", f"{merge_number(made):,}"))
        told = [
            Content.assemble((f"{name:<{NAME}}", "$muted"), (value, "bold" if name == "token" else ""))
            for name, value in known
        ]
        tree = [Content(line) for line in self._tree(made, width)]
        room = height - len(told) - len(tree) - 2
        around = MOST_NEIGHBOURS if self._whole else max(AROUND, (room - 2) // 2)
        beside = [
            Content.assemble(
                (f"{'▸' if other == token_id else ' '}{other:>8} ", "$muted"),
                (fit(text, max(8, width - NAME)).rstrip(), "bold" if other == token_id else ""),
            )
            for other, text in neighbours(splitter, token_id, min(around, MOST_NEIGHBOURS))
        ]
        blank = [Content("")]
        return [*told, *blank, *tree, *blank, Content.assemble(("next ids", "$muted")), *beside]

    def _tree(self, made: MergeTree | str, width: int) -> list[str]:
        if isinstance(made, str):
            return [made] if made else []
        height = 1_000 if self._whole else TREE_HEIGHT
        return tree_lines(made, lambda node: shown(node.token), width, height, self._unicode)


def _made(splitter: Splitter, token_id: int) -> MergeTree | str:
    """The merges that made a token; where none did, why, or "" where that needs no words."""
    if token_id in splitter.specials.values() or not token_bytes(splitter, token_id):
        return ""
    try:
        tree = merge_tree(splitter, token_id)
    except UserError as error:
        return str(error)
    return tree if tree.parts else ""
