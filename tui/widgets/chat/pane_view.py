"""One pane: the name of what it talks to, its turns, the token under the cursor, and its figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input

from nanochat.common.text import sanitize
from tui.keymap import hint, keymap_of
from tui.widgets.chat.telling import answer_spans, figures_text, name_of, settings_text, state_spans
from tui.widgets.chat.token_detail import TokenDetail
from tui.widgets.chat.transcript import Transcript

if TYPE_CHECKING:
    from tui.data.chat.pane import Pane
    from tui.data.chat.tree import TurnNode, TurnTree
    from tui.widgets.chat.markdown_blocks import Span
    from tui.widgets.chat.sections import View


class Figures(Widget):
    """One line of figures; drawn again only when it says anything else."""

    DEFAULT_CSS = "Figures { height: 1; color: $muted; }"

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def show(self, text: str) -> None:
        """Shows a line."""
        if text != self.text:
            self.text = text
            self.refresh()

    def render(self) -> Content:
        return Content(self.text)


class PaneView(Vertical):
    """A pane of the Chat screen. `label` is its letter; with `hidden` nothing tells what answers."""

    class Touched(Message):
        """The pane was clicked, or got the focus."""

        def __init__(self, view: PaneView) -> None:
            super().__init__()
            self.view = view

    def __init__(self, pane: Pane, label: str) -> None:
        super().__init__(classes="chat-pane")
        self.pane = pane
        self.label = label
        self.hidden = False
        self._told: tuple[TurnTree, int, bool] | None = None
        """What the lines below answers were last told by: the tree, its version, and `hidden`."""
        self.transcript = Transcript(self._tell)
        self.detail = TokenDetail(classes="token-detail")
        self.figures = Figures()
        self.field = Input(placeholder="find in this conversation", classes="find-field", compact=True)
        self.field.cursor_blink = False  # nothing moves by itself: over SSH that flickers
        self._keys: tuple[str, ...] = ("",) * 4

    def compose(self) -> ComposeResult:
        yield self.transcript
        yield self.field
        yield self.detail
        yield self.figures

    def on_mount(self) -> None:
        keymap = keymap_of(self)
        names = ("chat.again", "chat.branch_back", "chat.branch_on", "chat.blind")
        self._keys = tuple(hint(name, keymap) for name in names)
        self.detail.display = self.field.display = False
        self.update()

    def on_resize(self) -> None:
        self.update()

    # ---- what is shown -------------------------------------------------------------------------------

    def update(self) -> None:
        """Shows the pane as it is now: only what has changed since is worked on."""
        pane = self.pane
        self._titles()
        path = pane.tree.path
        state: Sequence[Span] = state_spans(pane, (self._keys[0], self._keys[3]), self.hidden)
        if not path and not state:
            state = [(self._empty(), "muted")]
        self.transcript.show(path, state)
        told = pane.tree, pane.tree.version, self.hidden
        if told != self._told:
            self._told = told
            self.transcript.tell_again()
        self.figures.show(figures_text(pane, self.figures.size.width or 40, self.hidden))
        if self.transcript.view == "tokens":
            self.show_token()

    def _empty(self) -> str:
        keymap = keymap_of(self)
        write, model = hint("chat.write", keymap), hint("chat.model", keymap)
        return f"{write}: write a question · {model}: choose another model"

    def _titles(self) -> None:
        width = max(8, self.size.width - 8)
        name = "hidden" if self.hidden else name_of(self.pane, width)
        title = f"{self.label}  {name}"
        if self.border_title != title:
            self.border_title = Content(title)
        settings = "" if self.hidden else settings_text(self.pane.settings, width)
        settings = self._found() or settings
        if self.border_subtitle != settings:
            self.border_subtitle = Content(settings)

    # ---- finding -------------------------------------------------------------------------------------

    def on_transcript_ask_find(self, event: Transcript.AskFind) -> None:
        event.stop()
        self.transcript.begin_find()
        self.field.value = self.transcript.search
        self.field.display = True
        self.field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if self.field.display:
            self.transcript.find(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """The field goes, the marks stay: the keys then go from match to match."""
        event.stop()
        self.field.display = False
        self.transcript.focus()

    def end_find(self) -> bool:
        """Leaves the search; False when there is none."""
        is_on = self.field.display or bool(self.transcript.search)
        self.field.display = False
        self.transcript.find("")
        return is_on

    def on_find_view_found_changed(self, event: Transcript.FoundChanged) -> None:
        event.stop()
        self._titles()

    def _found(self) -> str:
        """What the search has found, in a line; "" without one."""
        words = self.transcript.found_words
        return f"“{sanitize(self.transcript.search, 30)}” {words}" if words else ""

    # ---- what is told --------------------------------------------------------------------------------

    def _tell(self, node: TurnNode) -> Sequence[Span]:
        return answer_spans(self.pane, node, self._keys[1:3], self.hidden)

    def set_view(self, view: View) -> None:
        """Shows answers as Markdown or as tokens."""
        self.transcript.set_view(view)
        self.detail.display = view == "tokens"
        self.show_token()

    def show_token(self) -> None:
        """Tells of the token under the cursor."""
        found = self.transcript.cursor
        pane = self.pane
        node, at = found if found is not None else (None, 0)
        count = len(node.answer.tokens) if node is not None and node.answer else 0
        lens = pane.has_lens and not self.hidden
        self.detail.show(self.transcript.token, at, count, tells=pane.has_probabilities, lens=lens)

    def on_transcript_cursor_moved(self, event: Transcript.CursorMoved) -> None:
        event.stop()
        self.show_token()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        self.post_message(self.Touched(self))

    def on_descendant_blur(self, event: events.DescendantBlur) -> None:
        self.transcript.refresh()

    @property
    def name_shown(self) -> str:
        """What the pane talks to, as far as it is shown."""
        return "hidden" if self.hidden else name_of(self.pane)

    def answer_text(self) -> str:
        """What the model said in the turn chosen; "" where it has said nothing."""
        node = self.transcript.turn
        parts = node.answer.parts if node is not None and node.answer is not None else ()
        return "".join(part.text for part in parts if part.kind == "text")
