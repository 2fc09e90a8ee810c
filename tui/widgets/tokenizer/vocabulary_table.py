"""The tokens of a vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nanochat.common.text import sanitize
from nanochat.tokenizer.explore.counting import HARDLY
from nanochat.tokenizer.explore.spelling import hexed, shown
from tui.widgets.columns import Cell, Column
from tui.widgets.tokenizer.id_table import IdTable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nanochat.tokenizer.explore.splitter import Splitter

KIND_WORDS = {"text": "", "part": "in part", "byte": "byte", "special": "special", "none": "no token"}
COLUMNS = (
    Column("id", "id", 7, "right", sort=lambda token: None, frozen=True),
    Column("text", "token", 16, grow=4, ideal=24, sort=lambda token: None, frozen=True),
    Column("bytes", "bytes", 6, "right", sort=lambda token: None, descending=True),
    Column("characters", "chars", 6, "right", rank=3, sort=lambda token: None, descending=True),
    Column("count", "in corpus", 11, "right", rank=1, sort=lambda token: None, descending=True),
    Column("kind", "kind", 8, rank=2),
    Column("hex", "bytes in hex", 12, rank=4, grow=2, ideal=24),
)
NEVER, HARDLY_USED = "✗", "!"
"""Before the count of a token that the corpus lacks, or hardly has."""


class VocabularyTable(IdTable):
    """Rows are ids of `splitter`. `counts` (V,) is how often each stands in the corpus, None when unknown."""

    def __init__(self, id: str | None = None) -> None:
        uncounted = [column for column in COLUMNS if column.name != "count"]
        super().__init__(uncounted, self._token, str, order="id", id=id)
        self.splitter: Splitter | None = None
        self.counts: NDArray[np.int64] | None = None

    def show_counts(self, counts: NDArray[np.int64]) -> None:
        """Shows how often each id stands in the corpus, in a column of its own."""
        self.counts = counts
        self.columns = list(COLUMNS)
        self.refresh()

    def _token(self, token_id: int) -> Mapping[str, Cell]:
        splitter = self.splitter
        if splitter is None:
            return {}
        try:
            token = splitter.token(token_id)
        except KeyError:
            token = b""
        kind = kind_of(splitter, token_id, token)
        text = sanitize(token.decode("utf-8", "replace"), 200) if kind == "special" else shown(token)
        characters = len(token.decode()) if kind == "text" else None
        return {
            "id": (f"{token_id}", "muted"),
            "text": (text, "accent" if kind == "special" else "muted" if kind != "text" else "strong"),
            "bytes": (f"{len(token)}", ""),
            "characters": ("" if characters is None else f"{characters}", ""),
            "kind": (KIND_WORDS[kind], "muted"),
            "hex": (hexed(token), "muted"),
            "count": self._count(token_id, kind),
        }

    def _count(self, token_id: int, kind: str) -> Cell:
        if self.counts is None or kind in ("special", "none"):
            return "", ""
        count = int(self.counts[token_id])
        if count == 0:
            return f"{NEVER} never", "bad"
        return (f"{HARDLY_USED} {count:,}", "warn") if count < HARDLY else (f"{count:,}", "")


def kind_of(splitter: Splitter, token_id: int, token: bytes) -> str:
    """One of `vocabulary.KINDS`, of one token."""
    if token_id in splitter.specials.values():
        return "special"
    if len(token) < 2:
        return "byte" if token else "none"
    try:
        token.decode()
    except UnicodeDecodeError:
        return "part"
    return "text"
