"""What the vocabulary browser shows: the ids that a search leaves, in their order; a token in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from nanochat.common.text import amount, sanitize
from nanochat.tokenizer.explore.search import Search, matching, parse_search
from nanochat.tokenizer.explore.spelling import hexed, shown, visible

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nanochat.tokenizer.explore.counting import TokenCounts
    from nanochat.tokenizer.explore.patterns import PatternSearch
    from nanochat.tokenizer.explore.splitter import Splitter
    from nanochat.tokenizer.explore.vocabulary import TokenTable

MARKDOWN = 1_000
"""Tokens in a file of Markdown."""
ONLY = ("", "special", "part", "byte")
ONLY_COUNTED = (*ONLY, "hardly", "never")
"""What can be kept by one key, in its order."""
ONLY_WORDS = {
    "special": "special tokens",
    "part": "parts of characters",
    "byte": "single bytes",
    "hardly": "hardly in the corpus",
    "never": "never in the corpus",
}


@dataclass(frozen=True)
class Listed:
    """The ids that are shown, in order, and how many of them have how many bytes.

    `found` are the same ids, rising, as the `search` left them; the pattern is not part of that.
    """

    ids: list[int]
    lengths: list[int]
    search: Search
    found: NDArray[np.int64]

    def holds(self, search: Search) -> bool:
        """Whether another search finds only ids of these: as one types, a text becomes longer."""
        return self.search.text in search.text and replace(search, text=self.search.text) == self.search


def wanted(text: str, only: str) -> Search:
    """What is searched for: what was typed, and the kind that the key keeps. Raises `UserError`."""
    search = parse_search(text)
    return Search(**{**vars(search), "kinds": search.kinds | {only}}) if only else search


def list_ids(
    table: TokenTable,
    search: Search,
    found: NDArray[np.int64] | None,
    order: tuple[str, bool],
    counts: NDArray[np.int64] | None,
    before: Listed | None = None,
) -> Listed:
    """The ids that fulfil a search, `found` being those of its pattern, in the order of a column; True:
    downwards. `before` is what was listed with the same counts. Call it in a thread.

    Raises `UserError` as `matching` does.
    """
    import numpy as np

    within = before.found if before is not None and before.holds(search) else None
    left = ids = matching(table, search, counts, within)
    if found is not None:
        ids = np.intersect1d(ids, found, assume_unique=True)
    return Listed(table.ordered(ids, *order, counts).tolist(), table.lengths(ids), search, left)


async def find_pattern(patterns: PatternSearch, search: Search) -> NDArray[np.int64] | None:
    """The ids of a search's pattern; None when it has none."""
    return await patterns.find(search.pattern) if search.pattern else None


def heading(splitter: Splitter, ids: int, only: str) -> str:
    """The title of the list."""
    size = splitter.vocab_size or 0
    parts = [sanitize(splitter.name, 60), amount(size, "token")]
    if ids != size:
        parts.append(f"{ids:,} shown")
    return " · ".join([*parts, ONLY_WORDS.get(only, "")] if only else parts)


def facts(
    splitter: Splitter, token_id: int, counts: TokenCounts | None, place: int = 0
) -> list[tuple[str, str]]:
    """What is to be said of a token: name and value, a line each; `place` is its place by count, from 1."""
    token = token_bytes(splitter, token_id)
    lines = [("token", shown(token) or "none: no token has this id"), ("id", f"{token_id:,}")]
    if not token:
        return lines
    spelled = visible(splitter.spelled(token_id))
    if spelled != shown(token):
        lines.append(("spelled", spelled))
    lines.append(("bytes", f"{len(token)}: {hexed(token, 32)}"))
    if token_id in splitter.specials.values():
        lines.append(("kind", "special: only code places it"))
    if counts is not None and token_id not in splitter.specials.values():
        count = int(counts.counts[token_id])
        share = f", 1 in {counts.tokens / count:,.0f} tokens, place {place:,}" if count else ""
        lines.append(("in corpus", f"{count:,}{share}" if count else "never"))
    return lines


def neighbours(splitter: Splitter, token_id: int, around: int) -> Iterable[tuple[int, str]]:
    """The ids before and after one in the vocabulary, with their tokens; the one itself too."""
    last = (splitter.vocab_size or 0) - 1
    for other in range(max(0, token_id - around), min(last, token_id + around) + 1):
        yield other, shown(token_bytes(splitter, other))


def record(splitter: Splitter, token_id: int, counts: TokenCounts | None) -> dict[str, Any]:
    """A token for a program."""
    token = token_bytes(splitter, token_id)
    try:
        text: str | None = token.decode()
    except UnicodeDecodeError:
        text = None
    found: dict[str, Any] = {"id": token_id, "text": text, "hex": token.hex(), "bytes": len(token)}
    found["special"] = token_id in splitter.specials.values()
    if counts is not None:
        found["count"] = int(counts.counts[token_id])
    return found


def written(splitter: Splitter, ids: Sequence[int], counts: TokenCounts | None, kind: str) -> Iterator[str]:
    """The tokens as csv or json, in pieces; as md the first of them, for a page of a million cells is of no
    use. Call it in a thread."""
    from nanochat.common.fields import safe_json_pieces
    from nanochat.common.table_formats import csv_pieces, markdown

    records = (record(splitter, token_id, counts) for token_id in ids)
    if kind == "json":
        yield from safe_json_pieces(list(records), 1)
        return
    head = ["id", "token", "bytes", "hex", *(["count"] if counts is not None else [])]
    rows = (
        [one["id"], shown(bytes.fromhex(one["hex"])), one["bytes"], one["hex"], one.get("count")][: len(head)]
        for one in records
    )
    if kind == "csv":
        yield from csv_pieces(head, rows)
    else:
        yield markdown(head, ([str(cell) for cell in row] for row in islice(rows, MARKDOWN)))


def token_bytes(splitter: Splitter, token_id: int) -> bytes:
    """The bytes of an id, none where no token has it."""
    try:
        return splitter.token(token_id)
    except KeyError:
        return b""
