"""A conversation's tokens as lines, one kind of token a line: a sign in front says whether it is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len

from nanochat.tokenizer.explore.spelling import hexed, shown, visible

if TYPE_CHECKING:
    from nanochat.tokenizer.conversation import Annotated, AnnotatedToken

MARGIN = 15
"""Cells in front of the tokens: the sign, the role."""
LONGEST = 8
"""Bytes of a character at most, and some: what is longer is no character that is only half there."""


class Piece(NamedTuple):
    """What is painted as one, `cells` wide: a token, or several that share a character. Tokens `first` …
    `last` - 1."""

    text: str
    cells: int
    first: int
    last: int


class MaskLine(NamedTuple):
    """Tokens of one role that are all trained, or all not. `head` names the role where it begins; `cut`
    lines are behind the limit. A line without pieces is the limit itself, told by `head`."""

    head: str
    trained: bool
    cut: bool
    pieces: tuple[Piece, ...] = ()


class Pieces:
    """Tokens as pieces that can be painted. What a token looks like is worked out once."""

    def __init__(self, tokens: Sequence[AnnotatedToken]) -> None:
        self._tokens = tokens
        self._known: dict[int, tuple[str, int, bool]] = {}
        """By id: the text of a token, its cells, and whether its bytes are whole characters."""

    def between(self, start: int, stop: int) -> Iterator[Piece]:
        """The pieces of the tokens `start` … `stop` - 1."""
        at = start
        while at < stop:
            text, cells, is_whole = self._look(self._tokens[at])
            shared = None if is_whole else self._shared(at, stop)
            yield shared or Piece(text, cells, at, at + 1)
            at = shared.last if shared else at + 1

    def _look(self, token: AnnotatedToken) -> tuple[str, int, bool]:
        known = self._known.get(token.id)
        if known is None:
            text = shown(token.raw)
            known = self._known[token.id] = text, cell_len(text), _is_text(token.raw)
        return known

    def _shared(self, start: int, stop: int) -> Piece | None:
        """The tokens from `start` on that make whole characters together; None where they never do."""
        tokens, raw, end = self._tokens, self._tokens[start].raw, start + 1
        while end < stop and len(raw) < LONGEST and not tokens[end].is_special:
            raw += tokens[end].raw
            end += 1
            if _is_text(raw):
                parts = "│".join(token.raw.hex() for token in tokens[start:end])
                text = f"{visible(raw.decode())}⟨{parts}⟩"
                return Piece(text, cell_len(text), start, end)
        return None


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def lay_out(found: Annotated, width: int) -> list[MaskLine]:
    """The lines of a conversation on `width` cells. Slow for long ones: call it in a thread."""
    room = max(8, width - MARGIN)
    lines: list[MaskLine] = []
    tokens, limit = found.tokens, min(found.limit, len(found.tokens))
    made = Pieces(tokens)
    for start, stop in _runs(found):
        if start == limit:
            lines.append(MaskLine(_cut_line(found), trained=False, cut=True))
        head: str = tokens[start].role
        is_trained, is_cut = tokens[start].trained, start >= limit
        for line in _wrapped(made.between(start, stop), room):
            lines.append(MaskLine(head, is_trained, is_cut, line))
            head = ""
    return lines


def _runs(found: Annotated) -> Iterator[tuple[int, int]]:
    """The tokens that follow each other with one role and mask, in one turn, on one side of the limit."""
    tokens, start = found.tokens, 0
    for at in range(1, len(tokens) + 1):
        if at < len(tokens) and at != found.limit:
            before, here = tokens[at - 1], tokens[at]
            if (before.role, before.trained, before.turn) == (here.role, here.trained, here.turn):
                continue
        yield start, at
        start = at


def _cut_line(found: Annotated) -> str:
    lost = found.lost
    trained = sum(token.trained for token in lost)
    return f"cut here, at {found.limit:,}: {len(lost):,} tokens are lost, {trained:,} of them trained"


def _wrapped(found: Iterator[Piece], room: int) -> Iterator[tuple[Piece, ...]]:
    line: list[Piece] = []
    used = 0
    for piece in found:
        for part in (piece,) if piece.cells <= room else _parts(piece, room):
            if line and used + part.cells > room:
                yield tuple(line)
                line, used = [], 0
            line.append(part)
            used += part.cells + 1  # and the sign between two tokens
        if piece.text.endswith("↵"):
            yield tuple(line)
            line, used = [], 0
    if line:
        yield tuple(line)


def _parts(piece: Piece, room: int) -> Iterator[Piece]:
    """The piece in parts, as it is wider than a line."""
    text = piece.text
    while cell_len(text) > room:
        cut = room
        while cell_len(text[:cut]) > room:
            cut -= 1
        yield Piece(text[:cut], cell_len(text[:cut]), piece.first, piece.last)
        text = text[cut:]
    yield Piece(text, cell_len(text), piece.first, piece.last)


def summary(found: Annotated) -> str:
    """How many tokens there are and how many are trained, of each role."""
    total, trained = len(found.kept), sum(token.trained for token in found.kept)
    share = f" ({100 * trained / total:.0f} %)" if total else ""
    parts = [f"{total:,} tokens: ● {trained:,} trained{share}, ○ {total - trained:,} not"]
    for role, (count, of_them) in found.by_role().items():
        parts.append(f"{role} {count:,} (● {of_them:,})" if of_them else f"{role} {count:,}")
    if found.lost:
        lost = sum(token.trained for token in found.lost)
        parts.append(f"✂ {len(found.lost):,} cut (● {lost:,})")
    return " · ".join(parts)


def detail(found: Annotated, index: int) -> str:
    """One line on a token: its place, its id, whose it is, whether it is trained, its bytes."""
    token = found.tokens[index]
    is_cut = index >= found.limit
    told = "cut away" if is_cut else "trained" if token.trained else "not trained"
    place = f"token {index + 1:,} of {len(found.tokens):,} · id {token.id:,}"
    if token.is_special:
        return f"{place} · {token.raw.decode()}, a special token · {token.role} · {told}"
    return f"{place} · “{shown(token.raw)}” · {token.role} · {told} · bytes {hexed(token.raw, 24)}"
