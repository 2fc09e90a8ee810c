"""The turns of a pane: questions, answers as Markdown or as shaded tokens, what is told of each answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.segment import Segment
from textual import events
from textual.message import Message

from tui.keys import bindings
from tui.widgets.chat.find_view import FindView
from tui.widgets.chat.lines_view import GUTTER
from tui.widgets.chat.sections import (
    AnswerSection,
    LineSection,
    Section,
    TextSection,
    TokenSection,
    View,
    block_in,
)

if TYPE_CHECKING:
    from rich.style import Style
    from textual.strip import Strip

    from nanochat.serve.answer_tokens import AnswerToken
    from tui.data.chat.tree import TurnNode
    from tui.widgets.chat.markdown_blocks import Span

TellsAnswer = Callable[["TurnNode"], Sequence["Span"]]


@dataclass
class _Shown:
    """The sections of a turn."""

    node: TurnNode
    question: TextSection
    answer: AnswerSection | TokenSection
    told: LineSection
    gap: LineSection

    @property
    def sections(self) -> tuple[Section, ...]:
        return self.question, self.answer, self.told, self.gap


class Transcript(FindView):
    """The turns on the path of a pane. `tells` gives the line below an answer.

    One turn may be chosen, for what is done to a turn; in the view of tokens a cursor stands on one token.
    """

    BINDINGS = bindings("transcript")

    class CursorMoved(Message):
        """The cursor stands on another token, or another turn is chosen."""

        def __init__(self, transcript: Transcript) -> None:
            super().__init__()
            self.transcript = transcript

        @property
        def control(self) -> Transcript:
            return self.transcript

    class AskFind(Message):
        """The user wants to enter a text to find."""

    def __init__(self, tells: TellsAnswer, id: str | None = None) -> None:
        super().__init__(id=id, follow=True)
        self.view: View = "markdown"
        self._tells = tells
        self._path: list[TurnNode] = []
        self._shown: dict[int, _Shown] = {}
        self._state = LineSection(1)
        self._state_spans: Sequence[Span] = ()
        self._owners: list[int | None] = []
        self._width = 0
        self._chosen: int | None = None
        self._cursor: tuple[int, int] | None = None
        self._under_cursor: tuple[int, int] | None = None

    # ---- what is shown -------------------------------------------------------------------------------

    def show(self, path: Sequence[TurnNode], state: Sequence[Span] = ()) -> None:
        """Shows these turns, and below them what the pane does, in a line or a few."""
        self._state_spans = state
        same = len(path) == len(self._path) and all(a is b for a, b in zip(path, self._path, strict=True))
        self._path = list(path)
        if not self.size.width:
            return  # nobody sees it; it is arranged once it has a size
        if not same or self._width != self.text_width or not self.sections:
            self._arrange()
            return
        if path and not isinstance(self._shown[path[-1].number].answer, self._kind(path[-1])):
            self._arrange()
            return
        self._state.show(state)
        touched: list[Section] = [self._state]
        if path:
            touched += self._update(self._shown[path[-1].number])
        self.touch(*touched)

    def set_view(self, view: View) -> None:
        """Shows answers as Markdown or as tokens."""
        if view != self.view:
            self.view = view
            self._cursor = None
            self.keep_place()
            self.rebuild()

    def rebuild(self) -> None:
        if self.is_mounted and self.size.width:
            self._shown.clear()
            self._arrange()

    def tell_again(self) -> None:
        """What is told below the answers has changed: their branches."""
        if self.sections:
            self._arrange()

    def _arrange(self) -> None:
        """Sections for every turn; those of turns that were shown already stay."""
        if self._width != self.text_width:
            self.keep_place()
            self._width = self.text_width
            self._shown.clear()
        kept: dict[int, _Shown] = {}
        fresh: list[Section] = []
        sections: list[Section] = []
        owners: list[int | None] = []
        for node in self._path:
            shown = self._shown.get(node.number)
            if shown is None or shown.node is not node or not isinstance(shown.answer, self._kind(node)):
                shown = self._make(node)
                fresh.append(shown.question)
            kept[node.number] = shown
            fresh += self._update(shown)
            sections += shown.sections
            owners += [node.number] * len(shown.sections)
        self._shown = kept
        if self._chosen not in kept:
            self._chosen = None
        self._state = LineSection(self._width)
        self._state.show(self._state_spans)
        self._owners = [*owners, None]
        self.set_sections([*sections, self._state], fresh)

    def _kind(self, node: TurnNode) -> type[AnswerSection | TokenSection]:
        """How an answer is shown; one whose tokens are not known as Markdown always."""
        is_told = node.answer is None or bool(node.answer.tokens) or not node.answer.parts
        return TokenSection if self.view == "tokens" and is_told else AnswerSection

    def _make(self, node: TurnNode) -> _Shown:
        width = self._width
        gap = LineSection(width)
        gap.lines = [()]
        answer = self._kind(node)(width)
        question = TextSection(node.question, width, "question", "› ", "  ")
        return _Shown(node, question, answer, LineSection(width), gap)

    def _update(self, shown: _Shown) -> list[Section]:
        """Hands a turn's sections what has come since; returns those that have something to do."""
        node = shown.node
        if node.answer is not None:
            if isinstance(shown.answer, TokenSection):
                shown.answer.show(node.answer.tokens, node.is_done)
            else:
                shown.answer.show(node.answer.parts)
        shown.told.show(self._tells(node))
        return [shown.answer]

    # ---- the turn that is chosen ---------------------------------------------------------------------

    @property
    def turn(self) -> TurnNode | None:
        """The turn chosen, else the last one."""
        chosen = self._shown.get(self._chosen) if self._chosen is not None else None
        return chosen.node if chosen is not None else self._path[-1] if self._path else None

    def action_turn(self, by: int) -> None:
        """Chooses the turn before, or after."""
        if not self._path:
            return
        numbers = [node.number for node in self._path]
        at = numbers.index(self._chosen) if self._chosen in numbers else len(numbers) - 1
        at = max(0, min(at + by, len(numbers) - 1))
        self._chosen = numbers[at]
        shown = self._shown[numbers[at]]
        if self.view == "tokens":
            self._cursor = None
        self._scroll(min(self.start_of(shown.question), self.end))
        self._moved()

    def is_steady(self, section: int, line: int) -> bool:
        owner, here = self._owners[section], self._under_cursor
        if here is None or here[0] != owner:
            return owner != self._chosen
        shown = self.sections[section]
        return not (isinstance(shown, TokenSection) and line in shown.lines_of(here[1]))

    def line_mark(self, section: int) -> Segment:
        owner = self._owners[section]
        mine = owner is not None and owner == self._chosen and len(self._path) > 1
        mark = "▌" if mine and self.has_focus else " "
        return Segment(mark.ljust(GUTTER), self.looks.style("live"))

    # ---- the token under the cursor ------------------------------------------------------------------

    @property
    def cursor(self) -> tuple[TurnNode, int] | None:
        """The turn and the token that the cursor is on; None without tokens."""
        if self.view != "tokens":
            return None
        if self._cursor is None:
            turn = self.turn
            return (turn, 0) if turn is not None and turn.answer and turn.answer.tokens else None
        shown = self._shown.get(self._cursor[0])
        if shown is None or shown.node.answer is None:
            return None
        count = len(shown.node.answer.tokens)
        return (shown.node, min(self._cursor[1], count - 1)) if count else None

    @property
    def token(self) -> AnswerToken | None:
        """The token under the cursor."""
        found = self.cursor
        return found[0].answer.tokens[found[1]] if found and found[0].answer else None

    def action_token(self, by: int) -> None:
        """Moves the cursor by tokens, into the neighbouring answer at either end."""
        found = self.cursor
        if found is None:
            return
        node, index = found
        count = len(node.answer.tokens) if node.answer else 0
        if 0 <= index + by < count:
            self._put_cursor(node, index + by)
            return
        with_tokens = [other for other in self._path if other.answer and other.answer.tokens]
        at = with_tokens.index(node) + (1 if by > 0 else -1)
        if 0 <= at < len(with_tokens):
            other = with_tokens[at]
            assert other.answer is not None
            self._put_cursor(other, 0 if by > 0 else len(other.answer.tokens) - 1)

    def action_token_line(self, by: int) -> None:
        """Moves the cursor by lines; in Markdown it scrolls."""
        found = self.cursor
        if found is None:
            self.action_scroll_lines(by)
            return
        section = self._shown[found[0].number].answer
        assert isinstance(section, TokenSection)
        column = section.column_of(found[1])
        here = self.start_of(section) + section.line_of(found[1])
        place = here + by
        while (at := self.line_at(place)) is not None:
            other = self.sections[at[0]]
            if isinstance(other, TokenSection):
                token = other.token_near(at[1], column)
                owner = self._owners[at[0]]
                if token is not None and owner is not None and (owner, token) != (found[0].number, found[1]):
                    self._put_cursor(self._shown[owner].node, token)
                    return
            place += 1 if by > 0 else -1
            if place < 0:
                break
        self.action_scroll_lines(by)

    def _put_cursor(self, node: TurnNode, index: int) -> None:
        self._cursor = (node.number, index)
        self._chosen = node.number
        section = self._shown[node.number].answer
        if isinstance(section, TokenSection):
            self.reveal(self.start_of(section) + section.line_of(index), 0)
        self._moved()

    def _moved(self) -> None:
        self._strips.clear()
        self.refresh()
        self.post_message(self.CursorMoved(self))

    def render_line(self, y: int) -> Strip:
        self._under_cursor = self._block_under_cursor()
        return super().render_line(y)

    def _block_under_cursor(self) -> tuple[int, int] | None:
        """The turn and the block of tokens that the cursor is on."""
        found = self.cursor
        section = self._shown[found[0].number].answer if found is not None else None
        if found is None or not isinstance(section, TokenSection):
            return None
        return found[0].number, section.block_of(found[1])

    def span_style(self, section: int, look: str) -> Style:
        block = block_in(look)
        if block is None:
            return self.looks.style(look)
        is_here = (self._owners[section], block) == self._under_cursor
        cursor = "cursor" if self.has_focus else "cursor-blurred"
        return self.looks.style(cursor if is_here else look.rpartition(" t")[0])

    def on_click(self, event: events.Click) -> None:
        at = event.get_content_offset(self)
        place = self.line_at(self.scroll_offset.y + at.y) if at is not None else None
        if at is None or place is None:
            return
        section, owner = self.sections[place[0]], self._owners[place[0]]
        if owner is None:
            return
        token = section.token_near(place[1], at.x - GUTTER) if isinstance(section, TokenSection) else None
        if token is not None:
            self._put_cursor(self._shown[owner].node, token)
        else:
            self._chosen = owner
            self._moved()

    # ---- finding -------------------------------------------------------------------------------------

    def action_find(self) -> None:
        self.post_message(self.AskFind())

    def searchable(self, section: Section) -> bool:
        return isinstance(section, TextSection | AnswerSection | TokenSection)

    # ---- moving --------------------------------------------------------------------------------------

    def action_top(self) -> None:
        first = next((node for node in self._path if node.answer and node.answer.tokens), None)
        if self.view == "tokens" and first is not None:
            self._put_cursor(first, 0)
        super().action_top()

    def action_bottom(self) -> None:
        last = next((node for node in reversed(self._path) if node.answer and node.answer.tokens), None)
        if self.view == "tokens" and last is not None and last.answer is not None:
            self._put_cursor(last, len(last.answer.tokens) - 1)
        self._chosen = None
        super().action_bottom()
