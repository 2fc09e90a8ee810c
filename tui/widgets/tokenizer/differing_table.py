"""The tokens that two vocabularies differ in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nanochat.tokenizer.explore.differing_tables import MOVED, ONLY_B
from nanochat.tokenizer.explore.spelling import hexed
from tui.widgets.columns import Cell, Column
from tui.widgets.tokenizer.id_table import IdTable
from tui.widgets.tokenizer.vocabulary_table import KIND_WORDS

if TYPE_CHECKING:
    from tui.data.tokenizer.comparison import Pair

ID_A = Column("id", "id in A", 8, "right", sort=lambda token: None, frozen=True)
ID_B = Column("id", "id in B", 8, "right", sort=lambda token: None, frozen=True)
OTHER = Column("other", "id in B", 8, "right", sort=lambda token: None, frozen=True)
BY = Column("moved", "moved by", 9, "right", sort=lambda token: None, descending=True, rank=1)
TOKEN = (
    Column("text", "token", 16, grow=4, ideal=24, sort=lambda token: None),
    Column("bytes", "bytes", 6, "right", sort=lambda token: None, descending=True, rank=2),
    Column("kind", "kind", 8, rank=3),
    Column("hex", "bytes in hex", 12, rank=4, grow=2, ideal=24),
)


class DifferingTable(IdTable):
    """The rows of a part of a `Pair`."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__((ID_A, *TOKEN), self._token, str, order="id", id=id)
        self.pair: Pair | None = None
        self.part = ""

    def show_part(self, pair: Pair | None, part: str) -> None:
        """Shows another part: with its columns, its rows follow."""
        self.pair, self.part = pair, part
        first = (ID_A, OTHER, BY) if part == MOVED else (ID_B,) if part == ONLY_B else (ID_A,)
        self.columns = [*first, *TOKEN]
        if self._column(self.order) is None:
            self.order, self.descending = "id", False
        self.refresh()

    def _token(self, token: int) -> Mapping[str, Cell]:
        pair = self.pair
        if pair is None:
            return {}
        table = pair.table(self.part)
        raw, kind = table.tokens[token], table.kind(token)
        other = pair.other(self.part, token)
        return {
            "id": (f"{token}", "muted"),
            "other": ("" if other is None else f"{other}", "muted"),
            "moved": ("" if other is None else f"{other - token:+,}", ""),
            "text": (pair.token_text(self.part, token), "accent" if kind == "special" else "strong"),
            "bytes": (f"{len(raw)}", ""),
            "kind": (KIND_WORDS[kind], "muted"),
            "hex": (hexed(raw), "muted"),
        }
