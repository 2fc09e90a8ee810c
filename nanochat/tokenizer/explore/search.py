"""What is searched for in a vocabulary: `ing`, ` the`, `len:8-`, `#1000-2000`, `is:special`, `re:^ ?[a-z]+$`.

The text outside the terms is taken as it is typed, spaces too, as these tell tokens apart.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanochat.common.errors import UserError, nearest
from nanochat.tokenizer.explore.counting import HARDLY
from nanochat.tokenizer.explore.vocabulary import KINDS, SPECIAL, TokenTable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Range = tuple[int, int]
"""From and to, both included."""
NEVER, HARDLY_USED = "never", "hardly"
IS = (*KINDS[:4], HARDLY_USED, NEVER)
NEEDS_COUNTS = "nothing has been counted yet"
LONGEST_PATTERN = 500
_MOST = 1 << 62
_TERM = re.compile(r"(?:^|(?<= ))(?:(len|chars|count|hex|is|id):|#)(\S*)(?: |$)")
_PATTERN = re.compile(r"(?:^|(?<= ))re:(.*)$", re.DOTALL)
_RANGE = re.compile(r"(\d{1,12})?(-)?(\d{1,12})?")
_ESCAPES = {"\\n": "\n", "\\t": "\t", "\\r": "\r"}
_ESCAPED = re.compile(r"\\[ntr]")


@dataclass(frozen=True)
class Search:
    """What is searched for: every part that is given has to hold.

    `text` stands in the token, as it is typed where it has a capital letter, else in any letters.
    """

    text: str = ""
    ids: Range | None = None
    sizes: Range | None = None
    characters: Range | None = None
    counts: Range | None = None
    hex: bytes = b""
    kinds: frozenset[str] = frozenset()
    pattern: str = ""
    """A regular expression: `patterns.PatternSearch` finds it in a process of its own."""

    @property
    def needs_counts(self) -> bool:
        """Whether it asks how often tokens stand in the corpus."""
        return self.counts is not None or bool(self.kinds & {HARDLY_USED, NEVER})


def parse_search(text: str) -> Search:
    """What a person typed. Raises `UserError` for a term that says nothing."""
    parts: dict[str, str] = {}
    pattern = _PATTERN.search(text)
    if pattern is not None:
        text = text[: pattern.start()].removesuffix(" ")
        if len(pattern[1]) > LONGEST_PATTERN:
            raise UserError(f"a pattern is at most {LONGEST_PATTERN} characters")
    kinds: set[str] = set()
    for term in _TERM.finditer(text):
        name, value = term[1] or "id", term[2]
        if name == "is":
            kinds |= _kinds(value)
        elif name in parts:
            raise UserError(f"{name} is there twice")
        else:
            parts[name] = value
    rest = _TERM.sub("", text)
    last = max((term.end() for term in _TERM.finditer(text)), default=0)
    if last == len(text) and not text.endswith(" "):
        rest = rest.removesuffix(" ")  # the one that parts it from the last term
    return Search(
        text=_ESCAPED.sub(lambda found: _ESCAPES[found[0]], rest),
        ids=_range("id", parts.get("id")),
        sizes=_range("len", parts.get("len")),
        characters=_range("chars", parts.get("chars")),
        counts=_range("count", parts.get("count")),
        hex=_hex(parts.get("hex", "")),
        kinds=frozenset(kinds),
        pattern=pattern[1] if pattern is not None else "",
    )


def matching(
    table: TokenTable,
    search: Search,
    counts: NDArray[np.int64] | None = None,
    within: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """The ids, rising, that fulfil all of a search but its pattern; `counts` (V,) is how often each stands in
    the corpus. `within` are ids, rising, that hold all that the text may be found in. Some 20 ms for 200,000
    ids: call it in a thread.

    Raises `UserError` when it asks for counts and there are none.
    """
    import numpy as np

    if search.needs_counts and counts is None:
        raise UserError(NEEDS_COUNTS)
    kept = np.ones(len(table), dtype=bool)
    for values, between in (
        (np.arange(len(table)), search.ids),
        (table.sizes, search.sizes),
        (table.characters if search.characters else table.sizes, search.characters),
        (counts, search.counts),
    ):
        if between is not None and values is not None:
            kept &= (values >= between[0]) & (values <= between[1])
    for kind in search.kinds:
        if counts is not None and kind in (HARDLY_USED, NEVER):
            least, limit = (1, HARDLY) if kind == HARDLY_USED else (0, 1)
            kept &= (table.kinds < SPECIAL) & (counts >= least) & (counts < limit)
        else:
            kept &= table.kinds == KINDS.index(kind)
    ids = np.flatnonzero(kept) if within is None else within[kept[within]]
    if search.hex:
        sought, tokens = search.hex, table.tokens
        ids = np.array([i for i in ids.tolist() if sought in tokens[i]], np.int64)
    if search.text:
        text = search.text
        texts = table.texts if text != text.lower() else table.folded
        ids = np.array([i for i in ids.tolist() if text in texts[i]], np.int64)
    return ids


def _kinds(value: str) -> frozenset[str]:
    if value not in IS:
        raise UserError(f"is:{value} is no kind of token", nearest(value, IS))
    return frozenset({value})


def _range(name: str, value: str | None) -> Range | None:
    """`5`, `5-8`, `5-`, `-8`."""
    if value is None:
        return None
    found = _RANGE.fullmatch(value)
    if found is None or not (found[1] or found[3]):
        raise UserError(f"{name}:{value} is no number or range", f"such as {name}:5, {name}:5-8, {name}:5-")
    low = int(found[1] or 0)
    high = int(found[3]) if found[3] else _MOST if found[2] else low
    return low, high


def _hex(value: str) -> bytes:
    try:
        return bytes.fromhex(value)
    except ValueError as error:
        raise UserError(f"hex:{value} is not written in pairs of 0-9 a-f", "such as hex:e4bd") from error
