"""A conversation's tokens, one kind a line; only the lines in sight are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.data.tokenizer.mask import MARGIN, MaskLine

TRAINED, UNTRAINED, CUT = "●", "○", "✂"
ASCII = str.maketrans({TRAINED: "*", UNTRAINED: "-", CUT: "x"})


class MaskView(ScrollView, can_focus=True, inherit_bindings=False):
    """Lines of tokens with a cursor on one of them. The screen's keys move it."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        f"mask--{name}" for name in ("head", "trained", "untrained", "cut", "bar", "cursor", "limit")
    }
    DEFAULT_CSS = """
    MaskView { height: 1fr; overflow: hidden scroll; scrollbar-size-vertical: 1; scrollbar-gutter: stable; }
    MaskView > .mask--head { color: $muted; }
    MaskView > .mask--trained { color: $success; text-style: bold; }
    MaskView > .mask--untrained { color: $foreground; }
    MaskView > .mask--cut { color: $muted; text-style: strike; }
    MaskView > .mask--bar { color: $rule; }
    MaskView > .mask--limit { color: $warning; text-style: bold; }
    MaskView > .mask--cursor { background: $primary; color: $background; text-style: bold; }
    """

    class Moved(Message):
        """The cursor is on another token."""

    class Resized(Message):
        """Lines are to be laid out for another width."""

    def __init__(self, *, unicode: bool = True, id: str | None = None) -> None:
        super().__init__(id=id)
        self.lines: Sequence[MaskLine] = ()
        self.cursor = 0
        """The token that the cursor is on."""
        self.empty = ""
        """What stands where there are no lines."""
        self._unicode = unicode
        self._width = 0

    @property
    def room(self) -> int:
        """Cells that a line may take."""
        return max(1, self.scrollable_content_region.width)

    def show(self, lines: Sequence[MaskLine], *, keep: bool = False) -> None:
        """Other lines; with `keep` of the same conversation, and the cursor stays on its token."""
        self.lines = lines
        if not keep:
            self.cursor = 0
        self.virtual_size = Size(self.room, len(lines))
        self._go_to(self._line_of(self.cursor))
        self.refresh()

    def on_resize(self) -> None:
        if self.room != self._width:
            self._width = self.room
            self.post_message(self.Resized())

    # ---- cursor --------------------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """How many tokens there are."""
        return next((line.pieces[-1].last for line in reversed(self.lines) if line.pieces), 0)

    def move_to(self, token: int) -> None:
        """Puts the cursor on a token and into sight."""
        token = max(0, min(token, self.count - 1))
        if token != self.cursor:
            self.cursor = token
            self._go_to(self._line_of(token))
            self.refresh()
            self.post_message(self.Moved())

    def move_lines(self, by: int) -> None:
        """To the token at about the same place, so many lines below."""
        at = self._line_of(self.cursor)
        to = max(0, min(at + by, len(self.lines) - 1))
        step = 1 if by > 0 else -1
        while 0 <= to < len(self.lines) and not self.lines[to].pieces:
            to += step
        if not 0 <= to < len(self.lines) or not self.lines[at].pieces:
            return
        column = self._column(self.lines[at], self.cursor)
        pieces = self.lines[to].pieces
        used = 0
        for piece in pieces:
            used += piece.cells + 1
            if used > column:
                self.move_to(piece.first)
                return
        self.move_to(pieces[-1].first)

    def page(self) -> int:
        """Lines of a page."""
        return max(1, self.size.height - 1)

    def _column(self, line: MaskLine, token: int) -> int:
        used = 0
        for piece in line.pieces:
            if piece.first <= token < piece.last:
                break
            used += piece.cells + 1
        return used

    def _line_of(self, token: int) -> int:
        """The line that a token begins on."""
        low, high = 0, len(self.lines) - 1
        while low < high:
            middle = (low + high) // 2
            last = next((line.pieces[-1].last for line in self.lines[middle::-1] if line.pieces), 0)
            if last > token:
                high = middle
            else:
                low = middle + 1
        return max(0, low)

    def _go_to(self, line: int) -> None:
        top, height = self.scroll_offset.y, max(1, self.scrollable_content_region.height)
        if line < top:
            self.scroll_to(y=line, animate=False)
        elif line >= top + height:
            self.scroll_to(y=line - height + 1, animate=False)

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None:
            return
        index = self.scroll_offset.y + offset.y
        used = MARGIN
        for piece in self.lines[index].pieces if 0 <= index < len(self.lines) else ():
            used += piece.cells + 1
            if offset.x < used:
                self.move_to(piece.first)
                return

    # ---- painting ------------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        base = self.rich_style
        index = y + self.scroll_offset.y
        if index >= len(self.lines):
            text = f"  {self.empty}" if index == 0 and not self.lines else ""
            return Strip([Segment(text, base + self._look("head"))]).adjust_cell_length(self.room, base)
        line = self.lines[index]
        segments = [Segment(text, base + style) for text, style in self._spans(line)]
        return Strip(segments).adjust_cell_length(self.room, base)

    def _look(self, name: str) -> Style:
        return self.get_component_rich_style(f"mask--{name}", partial=True)

    def _spans(self, line: MaskLine) -> list[tuple[str, Style]]:
        if not line.pieces:
            rule = "─" if self._unicode else "-"
            text = f"{rule * 2} {self.signs(CUT)} {line.head} "
            return [(text.ljust(self.room, rule), self._look("limit"))]
        kind = "cut" if line.cut else "trained" if line.trained else "untrained"
        sign = self.signs(CUT if line.cut else TRAINED if line.trained else UNTRAINED)
        spans = [
            (f" {sign} ", self._look("head" if kind == "cut" else kind)),
            (line.head.ljust(MARGIN - 3), self._look("head")),
        ]
        look, bar, cursor = self._look(kind), self._look("bar"), self._look("cursor")
        for number, piece in enumerate(line.pieces):
            if number:
                spans.append(("│" if self._unicode else "|", bar))
            spans.append((piece.text, cursor if piece.first <= self.cursor < piece.last else look))
        return spans

    def signs(self, text: str) -> str:
        """The text with the signs that the terminal can show."""
        return text if self._unicode else text.translate(ASCII)
