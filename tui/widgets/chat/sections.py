"""A turn as lines: its question, its answer as Markdown or as tokens, and what is told of it below.

Every section does its work in slices of a few milliseconds, so that a long text never holds the event loop.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from rich.cells import cell_len

from nanochat.common.text import clean_text, sanitize
from tui.data.chat.shading import TokenBlock, TokenBlocks
from tui.widgets.chat.markdown_blocks import Block, MarkdownBlocks, Span
from tui.widgets.chat.wrapping import Line, LineBreaker, wrap

if TYPE_CHECKING:
    from nanochat.serve.answer_tokens import AnswerToken
    from nanochat.serve.conversation import Part

View = Literal["markdown", "tokens"]
SLICE = 4_000
"""Characters, and `LINES` lines, that a section takes in one step."""
LINES = 200
TOKENS = 1_000
"""Tokens that are taken in one step."""
TOOL_CAP = 10_000
"""Characters that are shown of one call of a tool."""

LEVELS = (0.9, 0.5, 0.1, 0.01)
"""The probabilities that part the looks `p0` (nearly certain) to `p4` (a surprise)."""


class Section:
    """Lines that come in steps. `lines` before `fixed` will not change any more; `version` grows with each
    step."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.lines: list[Line] = []
        self.fixed = 0
        self.version = 0

    def advance(self) -> bool:
        """Does one step; True when nothing is left to do for now."""
        return True


class TextSection(Section):
    """A text as it was typed, such as a question."""

    def __init__(self, text: str, width: int, look: str, first: str = "", rest: str = "") -> None:
        super().__init__(width)
        self._text = clean_text(text).expandtabs(4)
        self._at = 0
        self._look = look
        self._breaker = LineBreaker(width, first, rest)

    def advance(self) -> bool:
        end = self._at + SLICE
        if end < len(self._text):
            space = max(self._text.rfind(" ", self._at, end), self._text.rfind("\n", self._at, end))
            end = space + 1 if space >= 0 else end
        self._breaker.add(self._text[self._at : end], self._look)
        self._at = end
        self.lines = self._breaker.all_lines()
        self.fixed = len(self._breaker.lines)
        return self._at >= len(self._text)


class LineSection(Section):
    """Lines that are made whole, such as what is told below an answer."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self._spans: tuple[Span, ...] = ()

    def show(self, spans: Sequence[Span]) -> None:
        """Shows one line of these spans, or more where it is too narrow; nothing for none."""
        if tuple(spans) != self._spans:
            self._spans = tuple(spans)
            self.lines = list(wrap(Block(self._spans), self.width)) if spans else []
            self.fixed = 0


class AnswerSection(Section):
    """The parts of an answer, which grow: text as Markdown, calls of tools set apart."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self._parts: Sequence[Part] = ()
        self._taken = 0
        self._text: MarkdownBlocks | None = None
        self._wrapped = 0  # blocks of `_text` whose lines are fixed

    def show(self, parts: Sequence[Part]) -> None:
        """The answer's parts, which are those shown before and more."""
        self._parts = parts

    def advance(self) -> bool:
        if self._text is not None and not self._advance_text(self._text):
            return False
        if self._taken >= len(self._parts):
            return True
        part = self._parts[self._taken]
        if part.kind == "text":
            self._text = self._text or MarkdownBlocks()
            self._take_text(self._text)
            return self._advance_text(self._text) and self._taken >= len(self._parts)
        self._taken += 1
        if self._text is not None:
            self.fixed = len(self.lines)
            self._text, self._wrapped = None, 0
        self.lines += _tool_lines(part, self.width)
        self.fixed = len(self.lines)
        return self._taken >= len(self._parts)

    def _take_text(self, blocks: MarkdownBlocks) -> None:
        pieces = []
        while self._taken < len(self._parts) and self._parts[self._taken].kind == "text":
            pieces.append(self._parts[self._taken].text)
            self._taken += 1
        blocks.feed("".join(pieces))

    def _advance_text(self, text: MarkdownBlocks) -> bool:
        """Parses a slice and breaks its blocks into lines, those that may change last."""
        done = text.advance()
        del self.lines[self.fixed :]
        while self._wrapped < text.settled:
            self.lines += wrap(text.blocks[self._wrapped], self.width)
            self._wrapped += 1
            if len(self.lines) - self.fixed > LINES:
                self.fixed = len(self.lines)
                return False
        self.fixed = len(self.lines)
        for block in text.blocks[text.settled :]:
            self.lines += wrap(block, self.width)
        return done


def _tool_lines(part: Part, width: int) -> Iterator[Line]:
    """A call of the calculator, or its result, apart from what the model says."""
    mark, look = ("⚙ ", "tool") if part.kind == "python" else ("= ", "result")
    breaker = LineBreaker(width, f"  {mark}", "    ")
    shown = clean_text(part.text[:TOOL_CAP])
    over = len(part.text) - TOOL_CAP
    breaker.add(shown + (f" … +{over:,} characters" if over > 0 else ""), look)
    yield from breaker.all_lines()


class TokenSection(Section):
    """The tokens of an answer, grouped where they share a character; each block has the look of its
    probability and its number: `p2 t17`."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self._tokens: Sequence[AnswerToken] = ()
        self._is_done = False
        self._grouped = TokenBlocks()
        self._taken = 0
        self._breaker = LineBreaker(width)
        self._starts: list[int] = []
        """The line on which each block begins."""

    def show(self, tokens: Sequence[AnswerToken], is_done: bool) -> None:
        """The answer's tokens, which are those shown before and more; `is_done`: no more will come."""
        self._tokens, self._is_done = tokens, is_done

    def advance(self) -> bool:
        grouped = self._grouped
        end = min(len(self._tokens), grouped.seen + TOKENS)
        grouped.add(self._tokens[grouped.seen : end])
        is_whole = end == len(self._tokens)
        if is_whole and self._is_done:
            grouped.end()
        for number in range(self._taken, len(grouped.blocks)):
            self._add(number, grouped.blocks[number])
        self._taken = len(grouped.blocks)
        self.lines = self._breaker.all_lines()
        self.fixed = len(self._breaker.lines)
        return is_whole

    def _add(self, number: int, block: TokenBlock) -> None:
        before = len(self._breaker.lines)
        look = f"p{level(block.probability)} t{number}"
        self._breaker.add(block.text.expandtabs(4).replace("\n", "⏎\n"), look)
        lines = self._breaker.lines
        first = lines[before] if before < len(lines) else self._breaker.current
        # A block that did not fit begins on the line after.
        self._starts.append(before if any(own == look for _, own in first[-1:]) else len(lines))

    def block_of(self, token: int) -> int:
        """The number of the block that a token belongs to."""
        return bisect_right(self._grouped.blocks, token, key=lambda block: block.first) - 1

    def line_of(self, token: int) -> int:
        """The line on which a token begins."""
        block = self.block_of(token)
        return self._starts[block] if 0 <= block < len(self._starts) else 0

    def lines_of(self, block: int) -> range:
        """The lines that a block stands on."""
        after = self._starts[block + 1] if block + 1 < len(self._starts) else len(self.lines) - 1
        return range(self._starts[block], after + 1) if 0 <= block < len(self._starts) else range(0)

    def token_near(self, line: int, column: int) -> int | None:
        """The first token of the block at a cell of a line, else of the nearest one before it on the line;
        None where the line has none."""
        if not 0 <= line < len(self.lines):
            return None
        at, found = 0, None
        for text, look in self.lines[line]:
            number = block_in(look)
            found = found if number is None else number
            at += cell_len(text)
            if at > column and found is not None:
                break
        return None if found is None else self._grouped.blocks[found].first

    def column_of(self, token: int) -> int:
        """The cell at which a token begins on its line."""
        at, block, line = 0, self.block_of(token), self.line_of(token)
        for text, look in self.lines[line] if line < len(self.lines) else ():
            if block_in(look) == block:
                return at
            at += cell_len(text)
        return at


def block_in(look: str) -> int | None:
    """The number of the block that a look names."""
    _, found, number = look.rpartition(" t")
    return int(number) if found else None


def level(probability: float | None) -> str:
    """How likely it was, from 0 (nearly certain) to 4 (a surprise); "" where that is not known."""
    return "" if probability is None else str(sum(probability < bound for bound in LEVELS))


def quoted(text: str) -> str:
    """A token by itself, with its spaces and line ends visible."""
    return f"“{sanitize(text.replace(chr(10), '⏎').replace(chr(9), '⇥'), 60)}”"
