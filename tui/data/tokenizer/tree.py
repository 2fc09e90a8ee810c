"""A merge tree drawn: bytes on top, what they merge into below, the token itself at the bottom.

t   o   k   e   n
└─┬─┘   └─┬─┘   │
 to      ke     │
  └───┬──┘ …
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len

if TYPE_CHECKING:
    from nanochat.tokenizer.explore.merges import MergeTree

Label = Callable[["MergeTree"], str]
GAP = 2
DEEPEST = 64
"""Levels that are drawn: a chain of a thousand merges is no picture."""


@dataclass(frozen=True)
class _Strokes:
    left: str
    right: str
    down: str
    across: str
    meet: str
    branch: str
    last: str


_UNICODE = _Strokes("└", "┘", "│", "─", "┬", "├─ ", "└─ ")
_ASCII = _Strokes("+", "+", "|", "-", "+", "|- ", "`- ")


@dataclass(frozen=True)
class _Box:
    """Lines of one width, and the column of the node at the bottom."""

    lines: tuple[str, ...]
    width: int
    stem: int


def tree_lines(tree: MergeTree, label: Label, width: int, height: int, unicode: bool = True) -> list[str]:
    """The tree in at most `width` columns: as a picture where that fits into width and height, else as an
    outline, which may have more lines than `height`."""
    strokes = _UNICODE if unicode else _ASCII
    deep = depth(tree)
    if deep <= DEEPEST:
        for named in (lambda node: _with_id(node, label), label):
            if _columns(tree, named) > width or 2 * deep + 1 > height:
                continue
            box = _box(tree, named, strokes)
            if box.width <= width and len(box.lines) <= height:
                return [line.rstrip() for line in box.lines]
    return list(_outline(tree, label, strokes, "", "", 0))


def compact_lines(tree: MergeTree, label: Label, width: int, height: int, unicode: bool = True) -> list[str]:
    """The tree in at most `height` lines where that can be: a picture, an outline, or a line a level."""
    drawn = tree_lines(tree, label, width, height, unicode)
    return drawn if len(drawn) <= height else list(_levels(tree, label))


def _levels(tree: MergeTree, label: Label) -> Iterator[str]:
    """The merges of each level, the token's own first: `·col + lections`, then how those were made."""
    level = [tree]
    while level:
        merged = [node for node in level if node.parts]
        words = [f"{_with_id(node, label)} = {' + '.join(map(label, node.parts))}" for node in merged]
        if words:
            yield "   ".join(words)
        level = [part for node in merged for part in node.parts]


def depth(tree: MergeTree) -> int:
    """Merges from the deepest byte down to the token; 0 of a byte."""
    deepest, waiting = 0, [(tree, 0)]
    while waiting:
        node, level = waiting.pop()
        deepest = max(deepest, level)
        waiting += [(part, level + 1) for part in node.parts]
    return deepest


def _with_id(node: MergeTree, label: Label) -> str:
    number = node.token_id
    return label(node) if number is None or not node.parts else f"{label(node)} {number:,}"


def _columns(tree: MergeTree, label: Label) -> int:
    """At least so many columns a picture takes."""
    return max(len(tree.token) * (1 + GAP) - GAP, cell_len(label(tree)))


def _centred(text: str, width: int, at: int) -> tuple[str, int]:
    """A line with `text` as near to column `at` as its width lets it, and the column of its middle."""
    size = cell_len(text)
    left = max(0, min(at - size // 2, width - size))
    return " " * left + text + " " * (width - left - size), left + size // 2


def _box(node: MergeTree, label: Label, strokes: _Strokes) -> _Box:
    text = label(node)
    if not node.parts:
        size = max(1, cell_len(text))
        return _Box((text or " ",), size, size // 2)
    boxes = [_box(part, label, strokes) for part in node.parts]
    tallest = max(len(box.lines) for box in boxes)
    grown = [_grown(box, tallest, strokes) for box in boxes]
    stems, at = [], 0
    for box in grown:
        stems.append(at + box.stem)
        at += box.width + GAP
    width = at - GAP
    lines = [(" " * GAP).join(rows) for rows in zip(*(box.lines for box in grown), strict=True)]
    middle = (stems[0] + stems[-1]) // 2
    wide = max(width, cell_len(text))
    joint = [" "] * wide
    for column in range(stems[0], stems[-1] + 1):
        joint[column] = strokes.across
    for column in stems[1:-1]:
        joint[column] = strokes.meet
    joint[stems[0]], joint[stems[-1]] = strokes.left, strokes.right
    if stems[0] < middle < stems[-1]:
        joint[middle] = strokes.meet
    named, _ = _centred(text, wide, middle)
    padded = [line + " " * (wide - width) for line in lines]
    return _Box((*padded, "".join(joint), named), wide, middle)


def _grown(box: _Box, height: int, strokes: _Strokes) -> _Box:
    """The box with a stem below it, down to the line where its neighbour ends."""
    stem = " " * box.stem + strokes.down + " " * (box.width - box.stem - 1)
    return _Box((*box.lines, *[stem] * (height - len(box.lines))), box.width, box.stem)


def _outline(
    node: MergeTree, label: Label, strokes: _Strokes, first: str, rest: str, level: int
) -> Iterator[str]:
    yield first + _with_id(node, label)
    if level >= DEEPEST and node.parts:
        yield rest + "…"
        return
    for part in node.parts:
        is_last = part is node.parts[-1]
        mark = strokes.last if is_last else strokes.branch
        indent = "   " if is_last else f"{strokes.down}  "
        yield from _outline(part, label, strokes, rest + mark, rest + indent, level + 1)
