"""Two vocabularies compared: which tokens are listed, in what order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from nanochat.tokenizer.explore.differing import Differing, differing
from nanochat.tokenizer.explore.differing_tables import MOVED, ONLY_B, PARTS, as_csv, as_markdown, as_record
from nanochat.tokenizer.explore.search import Search, matching
from nanochat.tokenizer.explore.spelling import shown
from nanochat.tokenizer.explore.vocabulary import TokenTable, read_tokens

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nanochat.tokenizer.explore.splitter import Splitter

COPIED = 100
"""Tokens of each part that are copied as Markdown."""
MARKDOWN = 1_000
"""And that are in a file of it."""


@dataclass(frozen=True, eq=False)
class Pair:
    """What differs between the vocabularies of two tokenizers. A row of a part is an id: of B in what only B
    has, of A in the others."""

    found: Differing

    @cached_property
    def moved(self) -> dict[int, int]:
        """The id in B of each id of A that moved."""
        return {int(a): int(b) for a, b in self.found.moved}

    def table(self, part: str) -> TokenTable:
        """The vocabulary that the rows of a part are ids of."""
        return self.found.b if part == ONLY_B else self.found.a

    def ids(self, part: str) -> NDArray[np.int64]:
        """Every row of a part, rising."""
        if part == MOVED:
            return self.found.moved[:, 0]
        return self.found.only_b if part == ONLY_B else self.found.only_a

    def other(self, part: str, token: int) -> int | None:
        """The id in B of a row of those that moved."""
        return self.moved.get(token) if part == MOVED else None

    def listed(self, part: str, search: Search, order: tuple[str, bool]) -> list[int]:
        """The rows of a part that fulfil a search, in the order of a column; True: downwards. By "other" they
        are ordered by the id in B, by "moved" by how far they went. Call it in a thread."""
        import numpy as np

        ids = self.ids(part)
        if search != Search():
            ids = np.intersect1d(ids, matching(self.table(part), search), assume_unique=True)
        column, descending = order
        if column not in ("other", "moved"):
            return [int(token) for token in self.table(part).ordered(ids, column, descending)]
        if part != MOVED:
            return [int(token) for token in ids]
        there = np.array([self.moved[int(token)] for token in ids], np.int64)
        keys = there if column == "other" else np.abs(there - ids)
        return [int(token) for token in ids[np.argsort(-keys if descending else keys, kind="stable")]]

    def counts(self) -> dict[str, int]:
        """How many rows each part has."""
        return {part: len(self.ids(part)) for part in PARTS}

    def written(self, kind: str) -> Iterator[str]:
        """Every token that differs as csv or json, in pieces; as md the first ones, for a page of a million
        cells is of no use. Call it in a thread."""
        from nanochat.common.fields import safe_json_pieces

        if kind == "md":
            yield as_markdown(self.found, MARKDOWN)
        else:
            yield from as_csv(self.found) if kind == "csv" else safe_json_pieces(as_record(self.found), 1)

    def copied(self) -> str:
        """The summary and the first tokens of each part, as Markdown."""
        return as_markdown(self.found, COPIED)

    def token_text(self, part: str, token: int) -> str:
        """A row's token, in one line."""
        return shown(self.table(part).tokens[token])


def compare(a: Splitter, b: Splitter) -> Pair:
    """What differs between two vocabularies; call it in a thread. Raises `UserError` where one has none."""
    pair = Pair(differing(read_tokens(a), read_tokens(b)))
    _ = pair.moved
    return pair
