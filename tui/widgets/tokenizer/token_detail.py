"""The token under the cursor: what it is, its neighbours in the vocabulary, and how it was merged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from textual.content import Content
from textual.widgets import Static

from tui.data.tokenizer.facts import SHOWN_BYTES, spell
from tui.data.tokenizer.tree import compact_lines

if TYPE_CHECKING:
    from tui.data.tokenizer.characters import Glyphs
    from tui.data.tokenizer.facts import TokenFacts

FACTS_WIDTH = 46
SIDE_BY_SIDE = 84


class TokenDetail(Static):
    """Facts at the left, the tree at the right, where there is room for both."""

    DEFAULT_CSS = "TokenDetail { text-wrap: nowrap; text-overflow: ellipsis; }"

    def __init__(self, glyphs: Glyphs, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
        self._glyphs = glyphs
        self._told: tuple[TokenFacts | None, str, str] = (None, "", "")

    def show(self, facts: TokenFacts | None, pane: str, count: str = "", told: str = "") -> None:
        """Tells of a token of `pane`; `count` is how often it stands in the corpus, `told` stands where there
        is no token."""
        self._told = (facts, pane, told if facts is None else count)
        self._paint()

    def on_resize(self) -> None:
        self._paint()

    def _paint(self) -> None:
        facts, pane, count = self._told
        width, height = self.content_size.width or 80, self.content_size.height or 8
        if facts is None:
            self.border_title = Content("")
            self.update(Content.styled(count, "$muted"), layout=False)
            return
        self.border_title = Content(f"token {facts.index + 1:,} of {facts.of:,} · {pane}")
        left = fact_lines(facts, count)
        if width < SIDE_BY_SIDE:
            few = left[: max(2, height - 2)]
            tree = tree_texts(facts, self._glyphs, width, max(1, height - len(few)))
            self.update(Content("\n").join([*few, *tree][:height]), layout=False)
            return
        tree = tree_texts(facts, self._glyphs, width - FACTS_WIDTH - 2, height)
        rows = []
        for line in range(min(height, max(len(left), len(tree)))):
            first = left[line] if line < len(left) else Content("")
            first = first.truncate(FACTS_WIDTH, ellipsis=True)
            pad = " " * max(0, FACTS_WIDTH + 2 - first.cell_length)
            rows.append(Content.assemble(first, pad, tree[line] if line < len(tree) else ""))
        if len(tree) > height and rows:
            rows[-1] = Content.assemble(
                rows[-1].truncate(FACTS_WIDTH + 2, pad=True), ("… enter: whole", "$muted")
            )
        self.update(Content("\n").join(rows), layout=False)


def fact_lines(facts: TokenFacts, count: str) -> list[Content]:
    """What is known of a token, a line each."""
    shown = facts.data[:SHOWN_BYTES].hex(" ") + (" …" if len(facts.data) > SHOWN_BYTES else "")
    number = f"id {facts.token_id:,}" if facts.neighbours else f"word {facts.token_id:,}"
    rank = "" if facts.tree is None else " · a byte" if not facts.tree.parts else f" · merge {facts.merge:,}"
    if facts.is_special:
        rank = " · special"
    added = f" is {facts.spelled}" if facts.is_other and facts.spelled else ""
    lines = [
        Content.assemble((f"“{facts.text}”", "bold"), added, f"  {number}{rank}"),
        Content.assemble(("bytes ", "$muted"), shown),
    ]
    if facts.spelled and facts.tree is None and not added:
        lines.append(Content.assemble(("spelled ", "$muted"), facts.spelled))
    lines.append(Content.assemble(("count ", "$muted"), count or "not counted"))
    if facts.neighbours:
        lines.append(Content.styled("beside it in the vocabulary", "$muted"))
    wide = max((len(f"{number:,}") for number, _ in facts.neighbours), default=0)
    for one, text in facts.neighbours:
        here = one == facts.token_id
        lines.append(
            Content.assemble(
                (f"{'▸' if here else ' '} {one:>{wide},} ", "$accent" if here else "$muted"), text
            )
        )
    return lines


def tree_texts(facts: TokenFacts, glyphs: Glyphs, width: int, height: int) -> list[Content]:
    """The tree of a token, or why it has none."""
    if facts.tree is None:
        return [Content.styled(set_cell_size(facts.no_tree, min(width, cell_len(facts.no_tree))), "$muted")]
    lines = compact_lines(facts.tree, lambda node: spell(node.token, glyphs), width, height, glyphs.unicode)
    return [Content(line) for line in lines]
