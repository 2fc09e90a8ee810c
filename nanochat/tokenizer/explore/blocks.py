"""What is painted as one block: a token, or several that share a character."""

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from nanochat.tokenizer.explore.splitter import Split

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_CONTEXT = 256
"""Bytes around a border that may belong to one displayed character: no real one is longer."""


class Block(NamedTuple):
    """One block.

    Tokens `first` … `last` - 1, the bytes `start:end` of the text. `text` is what they spell, always whole
    characters; `hex` has the bytes of each token ("f0 9f", "98 80") where the tokens cut a character, else it
    is empty.
    """

    first: int
    last: int
    start: int
    end: int
    text: str
    hex: tuple[str, ...] = ()


def blocks(split: Split, start: int = 0, stop: int | None = None, *, clusters: bool = True) -> list[Block]:
    """The blocks that touch the bytes `start:stop` of the text (all of it by default), in order.

    They cover that range without gap or overlap; the first and the last may reach beyond it. With `clusters`
    what a terminal shows as one character (a family of emoji, a letter and its accents) is never cut either.
    Takes time by the range, not by the text.
    """
    size = len(split.data)
    start = max(0, start)
    stop = size if stop is None else min(stop, size)
    if start >= stop:
        return []
    if not len(split):
        return [Block(0, 0, 0, size, split.text)]
    first, last = split.at(start), split.at(stop - 1)
    while first and not _is_border(split.data, int(split.ends[first - 1]), clusters):
        first -= 1
    while last < len(split) - 1 and not _is_border(split.data, int(split.ends[last]), clusters):
        last += 1
    return _cut(split, first, last + 1, clusters)


def _cut(split: Split, first: int, last: int, clusters: bool) -> list[Block]:
    """The blocks of tokens `first` … `last` - 1, which begin and end at borders of characters."""
    import numpy as np

    begin = split.span(first)[0]
    ends = split.ends[first:last]
    data = split.data[begin : int(ends[-1])]
    inside = _inside(data, clusters)[ends - begin]
    # An empty token has its border where the one before it has: it goes to the block after it.
    places = np.flatnonzero(~inside & (np.diff(ends, prepend=begin) > 0))
    if not len(places):  # empty tokens alone
        return []
    places[-1] = len(ends) - 1
    hidden = np.diff(np.cumsum(inside)[places], prepend=0) > 0
    after = places + 1
    tokens, stops = [0, *after.tolist()], [0, *(ends[places] - begin).tolist()]
    found = [
        Block(first + token, first + past, begin + start, begin + stop, data[start:stop].decode())
        for token, past, start, stop in zip(tokens, tokens[1:], stops, stops[1:], strict=False)
    ]
    for place in np.flatnonzero(hidden).tolist():
        block = found[place]
        pieces = tuple(split.piece(index).hex(" ") for index in range(block.first, block.last))
        found[place] = block._replace(hex=pieces)
    return found


def _inside(data: bytes, clusters: bool) -> "npt.NDArray[np.bool_]":
    """(len + 1,) at which places of whole characters a border would cut one."""
    import numpy as np

    raw = np.frombuffer(data, np.uint8)
    inside = np.zeros(len(data) + 1, bool)
    inside[:-1] = (raw & 0xC0) == 0x80
    if not clusters or data.isascii():
        return inside
    text = data.decode()
    if not _patterns()["joins"].search(text):
        return inside
    heads = np.flatnonzero(~inside[:-1])
    for match in _patterns()["cluster"].finditer(text):
        if match.end() - match.start() > 1:
            inside[heads[match.start() + 1 : match.end()]] = True
    inside[:-1] &= raw >= 0x80  # a line feed after its return, a digit after an Arabic number sign
    return inside


def _is_border(data: bytes, byte: int, clusters: bool) -> bool:
    """Whether no character is cut at that byte; looks at the bytes around it only."""
    if byte in (0, len(data)) or data[byte] < 0x80:
        return True
    if data[byte] & 0xC0 == 0x80:
        return False
    if not clusters:
        return True
    low, high = byte - 1, byte + 1
    while low > max(0, byte - _CONTEXT) and data[low] >= 0x80:  # a character begins at any ASCII byte
        low -= 1
    while high < min(len(data), byte + _CONTEXT) and data[high] >= 0x80:
        high += 1
    while low and data[low] & 0xC0 == 0x80:
        low -= 1
    while high < len(data) and data[high] & 0xC0 == 0x80:
        high += 1
    return not _inside(data[low:high], True)[byte - low]


@cache
def _patterns() -> dict[str, Any]:
    import regex

    return {
        "cluster": regex.compile(r"\X"),
        "joins": regex.compile(
            r"[\p{M}\p{Cf}\p{Emoji_Modifier}\U0001F1E6-\U0001F1FF\u1100-\u11FF\uA960-\uA97F\uD7B0-\uD7FF\u0E33\u0EB3]"
        ),
    }
