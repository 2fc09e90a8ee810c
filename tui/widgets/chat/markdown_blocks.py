"""Markdown that grows, as blocks of styled text: only its end, which may still change, is parsed again.

Nothing in it acts: links and pictures are shown with their addresses, HTML as it is written, control
characters as their pictures. Line ends within a paragraph stay, as models mean them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

from rich.cells import cell_len

from nanochat.common.text import clean_text

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

Span: TypeAlias = tuple[str, str]
"""A piece of text and its look: words such as `strong` and `muted`, separated by spaces."""

SLICE = 2_000
"""Characters parsed at once: some milliseconds. A longer paragraph comes in pieces, a table from four times
as many on."""
MOST_MARKS = 300
"""Marks of a slice that are taken for Markdown: a parser needs a quarter of a second for 2,000 brackets."""
MOST_COLUMNS = 12
"""Columns of a table that are shown."""
WIDEST_CELL = 30
CODE = "▎ "
"""Stands before each line of code."""


@dataclass(frozen=True, slots=True)
class Block:
    """Text that is wrapped as one: a paragraph, a heading, a line of code, a row of a table.

    `first` stands before its first line and `rest` before the others. `gap`: an empty line comes before it.
    `is_code`: broken where the line is full, not between words.
    """

    spans: tuple[Span, ...]
    first: str = ""
    rest: str = ""
    gap: bool = False
    is_code: bool = False


class MarkdownBlocks:
    """The blocks of a text that grows. Give it more with `feed`, then call `advance` until it is True."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.settled = 0
        """The blocks before this index will never change."""
        self._text = ""
        self._done = 0  # characters that are in settled blocks
        self._shown = 0  # characters that are in any block
        self._fence = ""  # the marks of the code block that is open at `_done`
        self._fence_begun = False
        self._list = ""  # the kind of list that the last block belongs to: its next item may follow
        self._cut = False  # the last block was cut: what follows belongs to it
        self._settled_as = ("", False)  # both, after the last settled block
        self._slice = SLICE

    def feed(self, piece: str) -> None:
        """More of the text, as it came."""
        self._text += piece

    def advance(self) -> bool:
        """Parses one slice; True when every character is in a block."""
        if self._shown == len(self._text):
            return True
        del self.blocks[self.settled :]
        self._list, self._cut = self._settled_as
        end = self._slice_end()
        is_last = end == len(self._text)
        raw = self._text[self._done : end]
        took_all = self._code(raw, is_last) if self._fence else self._parse(raw, is_last)
        if took_all and is_last:
            self._shown = len(self._text)
            return True
        return False

    def _slice_end(self) -> int:
        end = self._done + self._slice
        if end >= len(self._text):
            return len(self._text)
        line_end = self._text.rfind("\n", self._done, end)
        return line_end + 1 if line_end >= 0 else end

    def _settle(self, characters: int) -> None:
        self._done += characters
        self._slice = SLICE
        self.settled = len(self.blocks)
        self._settled_as = self._list, self._cut

    def _parse(self, raw: str, is_last: bool) -> bool:
        """Every block but the last one is settled: what follows cannot change it. False: more is to parse."""
        if sum(map(raw.count, "[!*_`<&~")) > MOST_MARKS:
            return self._plain(raw, is_last)
        lines = raw.split("\n")
        pieces = list(_pieces(_parser().parse(clean_text(raw.replace("\r\n", "\n")))))
        for piece in pieces[:-1]:
            self._add(piece)
        start = pieces[-1].start if pieces else 0
        if start:
            self._settle(sum(len(line) + 1 for line in lines[:start]))
        fence = _open_fence(pieces[-1], lines) if pieces else ""
        if fence:
            self._fence, self._fence_begun = fence, False
            self._settled_as = ("", False)
            self._done += len(lines[start]) + 1  # the line that opens it is no code
            return False
        if pieces:
            self._add(pieces[-1])
        if not is_last and not start:  # one block fills the slice: it is cut here
            if pieces and pieces[0].tokens[0].type == "table_open" and self._slice == SLICE:
                self._slice = 4 * SLICE
                return False
            self._cut = bool(pieces)
            self._settle(len(raw))
        return True

    def _plain(self, raw: str, is_last: bool) -> bool:
        """Text that is mostly marks, as it is written."""
        self.blocks.append(Block(((clean_text(raw.replace("\r\n", "\n")), ""),)))
        if not is_last:
            self._list, self._cut = "", True
            self._settle(len(raw))
        return True

    def _add(self, piece: _Piece) -> None:
        made = _blocks_of(piece.tokens)
        if made:
            joined = self._cut or (piece.is_tight and piece.list == self._list)
            made[0] = replace(made[0], gap=bool(self.blocks) and not joined)
            self.blocks += made
            self._list, self._cut = piece.list, False

    def _code(self, raw: str, is_last: bool) -> bool:
        """Lines of the open code block, whole ones settled. False: it was closed, more is to parse."""
        at = 0
        while at < len(raw):
            line, end, _ = raw[at:].partition("\n")
            if _closes(line, self._fence) and (end or is_last):
                self._fence = ""
                self._settle(at + len(line) + len(end))
                return self._done == len(self._text)
            shown = clean_text(line.rstrip("\r")).expandtabs(4)
            gap = bool(self.blocks) and not self._fence_begun
            self.blocks.append(Block(((shown, "code"),), CODE, CODE, gap, True))
            if not end and is_last:
                break
            self._fence_begun = True
            at += len(line) + len(end)
            self.settled = len(self.blocks)
        self._done += at
        return True


@dataclass(frozen=True)
class _Piece:
    """Tokens of one block, or of one item of a list, and the lines of the source they come from."""

    tokens: Sequence[Token]
    start: int
    end: int
    list: str = ""
    """What kind of list it is an item of, such as `ordered.`; "" for none."""
    is_tight: bool = False


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable(["table", "strikethrough"])


def load_parser() -> None:
    """Imports the parser and makes it: some 30 ms, for a thread."""
    _parser().parse("*a*")


def _pieces(tokens: Sequence[Token]) -> Iterator[_Piece]:
    """The blocks of a text in order; of a list each of its items, with the list's own tokens around it."""
    at = 0
    while at < len(tokens):
        end = _closing(tokens, at)
        block = tokens[at : end + 1]
        if block[0].type in ("bullet_list_open", "ordered_list_open"):
            yield from _items(block)
        else:
            start, stop = block[0].map or (0, 0)
            yield _Piece(block, start, stop)
        at = end + 1


def _items(block: Sequence[Token]) -> Iterator[_Piece]:
    is_tight = any(token.type == "paragraph_open" and token.hidden for token in block)
    kind = block[0].type + block[0].markup
    at = 1
    while at < len(block) - 1:
        end = _closing(block, at)
        start, stop = block[at].map or (0, 0)
        yield _Piece([block[0], *block[at : end + 1], block[-1]], start, stop, kind, is_tight)
        at = end + 1


def _closing(tokens: Sequence[Token], at: int) -> int:
    """The index of the token that closes the one at `at`."""
    depth = 0
    for index in range(at, len(tokens)):
        depth += tokens[index].nesting
        if depth == 0:
            return index
    return len(tokens) - 1


def _open_fence(piece: _Piece, lines: Sequence[str]) -> str:
    """The marks of a code block that is not closed yet, once its first line is whole; else ""."""
    token = piece.tokens[0]
    if token.type != "fence" or piece.start + 1 >= len(lines):
        return ""
    last = min(piece.end, len(lines)) - 1
    return "" if last > piece.start and _closes(lines[last], token.markup) else token.markup


def _closes(line: str, marks: str) -> bool:
    """Whether a line closes the code block that `marks` opened (CommonMark 4.5)."""
    stripped = line.strip(" \t\r")
    indent = len(line) - len(line.lstrip(" "))
    return indent <= 3 and len(stripped) >= len(marks) and set(stripped) == {marks[0]}


# ---- from tokens to blocks -----------------------------------------------------------------------------


@dataclass
class _Frame:
    """What a quote or an item of a list puts before its lines."""

    first: str
    rest: str


class _Builder:
    """Walks the tokens of a piece."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self._frames: list[_Frame] = []

    def add(self, spans: Iterable[Span], *, look: str = "", is_code: bool = False, gap: bool = True) -> None:
        """A block with what the frames around it put before it; an item's mark is used once."""
        first = "".join(frame.first for frame in self._frames)
        rest = "".join(frame.rest for frame in self._frames)
        for frame in self._frames:
            frame.first = frame.rest
        # Once more: &#8238; in the source is a character only now.
        styled = tuple((clean_text(text), f"{look} {own}".strip()) for text, own in spans if text)
        self.blocks.append(Block(styled, first, rest, gap and bool(self.blocks), is_code))

    def run(self, tokens: Sequence[Token]) -> None:
        at = 0
        while at < len(tokens):
            if tokens[at].type == "table_open":
                end = _closing(tokens, at)
                self._table(tokens[at:end])
                at = end
            else:
                self._one(tokens[at], tokens[at + 1 : at + 2])
            at += 1

    def _one(self, token: Token, following: Sequence[Token]) -> None:
        kind = token.type
        if kind == "paragraph_open":
            self.add(_inline(following[0]), gap=not token.hidden)
        elif kind == "heading_open":
            self.add([("#" * int(token.tag[1:]) + " ", "muted"), *_inline(following[0])], look="heading")
        elif kind in ("fence", "code_block"):
            self._code(token.content)
        elif kind == "html_block":
            self.add([(token.content.rstrip("\n"), "muted")])
        elif kind == "hr":
            self.add([("─" * 12, "muted")])
        elif kind == "blockquote_open":
            self._frames.append(_Frame("▌ ", "▌ "))
        elif kind == "list_item_open":
            mark = f"{token.info}{token.markup} " if token.info else "• "
            self._frames.append(_Frame(mark, " " * len(mark)))
        elif kind in ("blockquote_close", "list_item_close"):
            frame = self._frames[-1]
            if frame.first != frame.rest:
                self.add([], gap=False)  # an item with nothing in it
            self._frames.pop()

    def _code(self, content: str) -> None:
        self._frames.append(_Frame(CODE, CODE))
        for index, line in enumerate(content.rstrip("\n").split("\n")):
            self.add([(line.expandtabs(4), "code")], is_code=True, gap=index == 0)
        self._frames.pop()

    def _table(self, tokens: Sequence[Token]) -> None:
        rows: list[list[list[Span]]] = []
        for token in tokens:
            if token.type == "tr_open":
                rows.append([])
            elif token.type == "inline":
                rows[-1].append(list(_inline(token)))
        widths = [
            min(WIDEST_CELL, max(_width(row[column]) for row in rows if column < len(row)))
            for column in range(min(len(rows[0]), MOST_COLUMNS))
        ]
        for index, row in enumerate(rows):
            spans: list[Span] = []
            for column, (width, cell) in enumerate(zip(widths, row, strict=False)):
                spans += [(" │ ", "muted")] if column else []
                spans += [*cell, (" " * max(0, width - _width(cell)), "")]
            self.add(spans, look="" if index else "strong", is_code=True, gap=index == 0)
            if index == 0:
                self.add([("─┼─".join("─" * width for width in widths), "muted")], is_code=True, gap=False)


def _width(spans: Iterable[Span]) -> int:
    return sum(cell_len(text) for text, _ in spans)


def _blocks_of(tokens: Sequence[Token]) -> list[Block]:
    builder = _Builder()
    builder.run(tokens)
    return builder.blocks


_LOOKS = {"strong": "strong", "em": "emphasis", "s": "strike", "link": "link"}


def _inline(token: Token) -> Iterator[Span]:
    """The pieces of a text with their looks."""
    looks: list[str] = []
    target = said = ""
    for child in token.children or ():
        kind, _, end = child.type.rpartition("_")
        if end == "open" and kind in _LOOKS:
            looks.append(_LOOKS[kind])
            if kind == "link":
                target, said = str(child.attrGet("href") or ""), ""
        elif end == "close" and kind in _LOOKS:
            looks.pop()
            if kind == "link" and said != target:
                yield f" ({target})", "muted"
        elif child.type == "image":
            yield f"[picture: {child.content}] ({child.attrGet('src') or ''})", "muted"
        elif child.type in ("softbreak", "hardbreak"):
            yield "\n", ""
        else:
            said += child.content
            look = "code" if child.type == "code_inline" else ""
            yield child.content.replace("\t", " "), " ".join([*looks, look]).strip()
