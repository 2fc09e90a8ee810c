"""A text in the tokens of one tokenizer. Only the lines in sight are drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from textual import events
from textual.binding import BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from tui.data.tokenizer.changes import first_changed_line
from tui.keys import bindings
from tui.widgets.tokenizer.looks import TokenLooks

if TYPE_CHECKING:
    from tui.data.tokenizer.blocks import Piece
    from tui.data.tokenizer.splitting import Shown

GUTTER = 1
KEPT = 400
"""Drawn lines that are kept."""
DIFFERS, DIFFERS_ASCII = "≠", "!"


class SplitView(ScrollView, can_focus=True):
    """The tokens of a pane, with a cursor on one of them."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("split")
    DEFAULT_CSS = """
    SplitView {
        height: 1fr; overflow: hidden scroll; scrollbar-size-vertical: 1; scrollbar-size-horizontal: 0;
    }
    """
    ALLOW_SELECT = False

    class Moved(Message):
        """The cursor was moved to another token of this view."""

        def __init__(self, view: SplitView) -> None:
            super().__init__()
            self.view = view

        @property
        def control(self) -> SplitView:
            return self.view

    class Opened(Moved):
        """The token under the cursor is to be shown in full."""

    class Resized(Moved):
        """Lines are to be made for another width."""

    def __init__(self, id: str | None = None, *, unicode: bool = True) -> None:
        super().__init__(id=id)
        self.shown: Shown | None = None
        self.cursor = 0
        self.told = ""
        """What stands here while there is nothing to show."""
        self._is_bad = False
        self._differs = DIFFERS if unicode else DIFFERS_ASCII
        self._looks: TokenLooks | None = None
        self._strips: dict[int, Strip] = {}
        self._told_width = 0

    # ---- what is shown -------------------------------------------------------------------------------

    @property
    def text_width(self) -> int:
        """Cells that a line may take."""
        return max(8, self.scrollable_content_region.width - GUTTER)

    @property
    def head(self) -> int:
        """Lines above those that scroll."""
        lines = self.shown.lines if self.shown is not None else None
        return 1 if lines is not None and lines.head else 0

    def tell(self, text: str, *, is_bad: bool = False) -> None:
        """Shows a text in place of tokens."""
        if self.shown is None and self.told == text and self._is_bad == is_bad:
            return
        self.shown, self.told, self._is_bad = None, text, is_bad
        self._strips.clear()
        self._set_height(0)
        self.refresh()

    def show(self, shown: Shown) -> None:
        """Shows a split; lines that are as before are not drawn again."""
        if shown is self.shown:
            return
        before, self.shown, self.told = self.shown, shown, ""
        assert shown.lines is not None and shown.split is not None
        self.cursor = max(0, min(self.cursor, len(shown.split) - 1))
        same = first_changed_line(before, shown) if before is not None else 0
        for line in [line for line in self._strips if line >= same]:
            del self._strips[line]
        self._set_height(len(shown.lines))
        top = min(self.scroll_offset.y, self._end)
        if top != self.scroll_offset.y:
            self._scroll(top)
        width, height = self.size
        first = max(0, same - top) + self.head
        if before is None or before.look.view != shown.look.view:
            self.refresh()
        elif first < height:
            self.refresh(Region(0, first, width, height - first))

    def _set_height(self, lines: int) -> None:
        """Says how many lines there are. (Assigned, `virtual_size` lays out and paints the whole screen.)"""
        size = Size(self.scrollable_content_region.width, lines + self.head)
        if size != self.virtual_size:
            self.set_reactive(Widget.virtual_size, size)
            self.vertical_scrollbar.window_virtual_size = size.height
            self.vertical_scrollbar.refresh()

    @property
    def _end(self) -> int:
        """The line at the upper edge when the last one is in sight."""
        return max(0, self.virtual_size.height - self.size.height)

    def on_resize(self) -> None:
        if self.text_width != self._told_width:
            self._told_width = self.text_width
            self.post_message(self.Resized(self))

    # ---- the cursor ----------------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """Tokens that are shown."""
        shown = self.shown
        return len(shown.split) if shown is not None and shown.split is not None else 0

    def put_cursor(self, token: int, *, reveal: bool = True) -> None:
        """Moves the cursor, and says nothing."""
        if not self.count:
            return
        token = max(0, min(token, self.count - 1))
        if token != self.cursor:
            self._redraw(self.cursor)
            self.cursor = token
            self._redraw(token)
        if reveal:
            self._reveal(token)

    def _redraw(self, token: int) -> None:
        lines = self.shown.lines if self.shown is not None else None
        if lines is None or not 0 <= token < self.count:
            return
        for line in lines.lines_of(token):
            self._strips.pop(line, None)
            y = line - self.scroll_offset.y + self.head
            if 0 <= y < self.size.height:
                self.refresh(Region(0, y, self.size.width, 1))

    def redraw_cursor(self) -> None:
        """Draws the token under the cursor again: it is looked at, or no longer."""
        self._redraw(self.cursor)

    def _reveal(self, token: int) -> None:
        lines = self.shown.lines if self.shown is not None else None
        if lines is None or not self.count:
            return
        line, top = lines.line_of(token), self.scroll_offset.y
        height = max(1, self.size.height - self.head)
        if line < top:
            self._scroll(max(0, line - min(2, height // 4)))
        elif line >= top + height:
            self._scroll(line - height + 1 + min(2, height // 4))

    def _scroll(self, y: int) -> None:
        self.scroll_to(y=min(max(0, y), self._end), animate=False, force=True)

    def _go(self, token: int) -> None:
        if self.count:
            self.put_cursor(token)
            self.post_message(self.Moved(self))

    def action_token(self, by: int) -> None:
        self._go(self.cursor + by)

    def action_token_line(self, by: int) -> None:
        """The token above or below."""
        lines = self.shown.lines if self.shown is not None else None
        if lines is None or not self.count:
            return
        line = lines.line_of(self.cursor)
        column = self._column(line, self.cursor)
        to = line + by
        while 0 <= to < len(lines):
            found = self._near(to, column)
            if found is not None and found != self.cursor:
                self._go(found)
                return
            to += 1 if by > 0 else -1
        self._go(0 if by < 0 else self.count - 1)

    def _column(self, line: int, token: int) -> int:
        at = 0
        for text, owner in self._pieces(line):
            if owner >= token:
                return at
            at += _cells(text)
        return at

    def _near(self, line: int, column: int) -> int | None:
        """The token at a cell of a line, else the nearest before it, else the first."""
        at, found = 0, None
        for text, owner in self._pieces(line):
            found = owner if owner >= 0 else found
            at += _cells(text)
            if at > column and found is not None:
                break
        return found

    def action_page(self, by: int) -> None:
        self.action_token_line(by * max(1, self.size.height - self.head - 1))

    def action_first(self) -> None:
        self._go(0)

    def action_last(self) -> None:
        self._go(self.count - 1)

    def action_open_token(self) -> None:
        if self.count:
            self.post_message(self.Opened(self))

    def on_click(self, event: events.Click) -> None:
        at = event.get_content_offset(self)
        lines = self.shown.lines if self.shown is not None else None
        if at is None or lines is None:
            return
        line = self.scroll_offset.y + at.y - self.head
        if 0 <= line < len(lines):
            found = self._near(line, at.x - GUTTER)
            if found is not None:
                self._go(found)
                if event.chain == 2:
                    self.action_open_token()

    def on_focus(self) -> None:
        self.redraw_cursor()

    def on_blur(self) -> None:
        self.redraw_cursor()

    # ---- drawing -------------------------------------------------------------------------------------

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._looks = None
        self._strips.clear()

    @property
    def looks(self) -> TokenLooks:
        """The styles of the theme."""
        if self._looks is None:
            background = self.background_colors[1]
            self._looks = TokenLooks(self.app.theme_variables, self.app.theme, background)
        return self._looks

    def _pieces(self, line: int) -> list[Piece]:
        lines = self.shown.lines if self.shown is not None else None
        return list(lines.pieces(line)) if lines is not None and 0 <= line < len(lines) else []

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        looks = self.looks
        lines = self.shown.lines if self.shown is not None else None
        if lines is None:
            return self._told_line(y, width)
        if y < self.head:
            return Strip([Segment(" " + lines.head, looks.muted)]).adjust_cell_length(width, looks.base)
        line = self.scroll_offset.y + y - self.head
        if line >= len(lines):
            return Strip.blank(width, looks.base)
        strip = self._strips.get(line)
        if strip is None or strip.cell_length != width:
            if len(self._strips) >= KEPT:
                self._strips.clear()
            strip = self._strips[line] = self._line(line).adjust_cell_length(width, looks.base)
        return strip

    def _line(self, line: int) -> Strip:
        shown, looks = self.shown, self.looks
        assert shown is not None and shown.lines is not None
        tokens = shown.lines.tokens_on(line)
        marks = shown.differs
        marked = marks[tokens.start : tokens.stop].tolist() if marks is not None else ()
        gutter = self._differs if any(marked) else " "
        segments = [Segment(gutter, looks.mark)]
        start, here, focused = tokens.start, self.cursor, self.has_focus
        for text, token in shown.lines.pieces(line):
            if token < 0:
                segments.append(Segment(text, looks.muted))
                continue
            differs = bool(marked) and marked[token - start]
            cursor = ("here" if focused else "there") if token == here else ""
            segments.append(Segment(text, looks.of(token, differs, cursor)))
        return Strip(segments)

    def _told_line(self, y: int, width: int) -> Strip:
        looks = self.looks
        rows = _folded(self.told, max(8, width - 2))
        text = rows[y - 1] if 0 < y <= len(rows) else ""
        style = looks.bad if self._is_bad else looks.muted
        return Strip([Segment(f" {text}", style)]).adjust_cell_length(width, looks.base)


def _cells(text: str) -> int:
    return Segment(text).cell_length


def _folded(text: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width)
