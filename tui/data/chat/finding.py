"""Where a text stands in lines as they are shown: in either case, also over the end of a line."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple, TypeAlias

Span: TypeAlias = tuple[str, str]
Line: TypeAlias = tuple[Span, ...]
PREFIX, CUT = "mark", "cut"
"""The looks of what stands before a line and is no text, and of a line that goes on with a word."""
_SPACE = r"(?:[^\S\n]+|[^\S\n⏎]*⏎?\n[^\S\n]*)"
"""White space of a searched text: spaces, or one end of a line (marked, where tokens are shown)."""


class Piece(NamedTuple):
    """Characters `start` to `end` of a line."""

    line: int
    start: int
    end: int


Match: TypeAlias = tuple[Piece, ...]
"""One place where the text stands: a piece a line."""


def pattern(text: str) -> re.Pattern[str] | None:
    """What finds `text`, with any white space for its white space; None for an empty text."""
    words = [re.escape(word) for word in text.split()]
    return re.compile(_SPACE.join(words), re.IGNORECASE) if words else None


def find_in_lines(lines: Sequence[Line], wanted: re.Pattern[str], most: int) -> list[Match]:
    """The first `most` places, in order. Takes milliseconds for a long text: call it in a thread."""
    pieces: list[str] = []
    prefixes: list[int] = []
    for line in lines:
        prefix = sum(len(text) for text, look in line if look == PREFIX)
        text = "".join(text for text, _ in line)[prefix:]
        pieces.append(text if any(look == CUT for _, look in line) or not pieces else "\n" + text)
        prefixes.append(prefix)
    ends = list(accumulate(map(len, pieces)))
    found: list[Match] = []
    for match in wanted.finditer("".join(pieces)):
        found.append(tuple(_pieces(match.start(), match.end(), pieces, ends, prefixes)))
        if len(found) >= most:
            break
    return found


def _pieces(
    start: int, end: int, pieces: Sequence[str], ends: Sequence[int], prefixes: Sequence[int]
) -> Iterator[Piece]:
    """What lies from `start` to `end` of all the text, line by line."""
    line = bisect_right(ends, start)
    while line < len(pieces) and (first := ends[line] - len(pieces[line])) < end:
        # Its first character is the end of the line before, unless the line goes on with a word.
        newline = pieces[line].startswith("\n")
        left, right = (max(first + newline, at) - first - newline for at in (start, min(end, ends[line])))
        if right > left:
            yield Piece(line, prefixes[line] + left, prefixes[line] + right)
        line += 1


def marked(line: Line, marks: Sequence[tuple[int, int, bool]]) -> Line:
    """The line with the look `found` on the characters from each start to its end, `found-here` where the
    third is true. `marks` are in order and apart."""
    spans: list[Span] = []
    at = 0
    for text, look in line:
        cuts = [(max(0, start - at), min(len(text), end - at), here) for start, end, here in marks]
        taken = 0
        for start, end, here in cuts:
            if start < end:
                spans.append((text[taken:start], look))
                spans.append((text[start:end], _found(look, here)))
                taken = end
        spans.append((text[taken:], look))
        at += len(text)
    return tuple(span for span in spans if span[0])


def _found(look: str, here: bool) -> str:
    """The look of a found text, over its own; the number of a token stays at the end."""
    name = "found-here" if here else "found"
    before, token, number = look.rpartition(" t")
    return f"{before} {name} t{number}" if token and number.isdecimal() else f"{look} {name}".strip()
