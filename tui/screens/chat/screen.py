"""Chat: one to four panes, each with a model of its own, and one field that asks all of them or one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, TextArea

from nanochat.common.errors import UserError
from tui.data.chat.pane_set import MOST_PANES, PaneSet
from tui.data.chat.target import CheckpointTarget
from tui.keymap import hint, with_keys
from tui.keys import bindings
from tui.screens.chat.compare_actions import CompareActions
from tui.screens.chat.fleet_services import FleetServices
from tui.screens.chat.following import Following
from tui.screens.chat.target_actions import TargetActions
from tui.screens.chat.turn_actions import TurnActions
from tui.screens.panes import PaneScreen, Split
from tui.widgets.chat.pane_view import PaneView
from tui.widgets.chat.question_field import QuestionField
from tui.widgets.chat.telling import LABELS, name_of
from tui.widgets.pane_tabs import PaneTabs

if TYPE_CHECKING:
    from remote.runs import Change
    from tui.data.chat.blind import Blind
    from tui.data.chat.pane import Pane
    from tui.data.chat.target import PaneTarget
    from tui.data.chat.tree import TurnNode
    from tui.widgets.chat.sections import View

SETTING = "chat"
NARROW = 100
"""Columns below which one pane is shown, the others behind tabs."""
LOW = 30
"""Rows below which fewer alternatives of a token are shown."""
LEAST = 40
"""Columns that a pane takes at least."""


class ChatScreen(Following, TargetActions, TurnActions, CompareActions, PaneScreen):
    """The panes of a `PaneSet`, side by side as far as they fit, else behind tabs."""

    tab = "chat"
    groups = ("chat", "question", "transcript", "panes")
    splits = tuple(
        Split(f"pane{number}", f".split-{number}", "columns", before=True, least=LEAST, leave=LEAST)
        for number in range(MOST_PANES - 1)
    )
    about = (
        "Talk to any checkpoint of any host, or to any OpenAI-compatible address, up to four side by side. "
        "{chat.model} chooses what a pane talks to; a checkpoint is served on its host, and the server ends "
        "with the control room. {chat.all} says whether the question goes to all panes or to one; asking "
        "again, editing and a new conversation go where it goes. {chat.tokens} shades every token by its "
        "probability; the arrow keys then go from token to token, and {chat.lens} tells what each layer "
        "would have said. {transcript.find} finds a text in the conversation of the pane. esc leaves the "
        "field, so that letters are keys."
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("chat")
    AUTO_FOCUS = ""
    """A field that was left, where there is no pane to go to, does not get the focus back after a dialog."""

    def __init__(self) -> None:
        super().__init__()
        self.tabs = PaneTabs((), id="chat-tabs", next_key="chat.next_pane")
        self.box = Horizontal(id="chat-panes")
        self.field = QuestionField(id="question")
        self.panes = PaneSet(FleetServices(self.room), self._pane_changed)
        self.views: list[PaneView] = []
        self.current = 0
        self.to_all = True
        self.zoomed = False
        self.answer_view: View = "markdown"
        self.blind: Blind | None = None
        self.editing: tuple[Pane, TurnNode] | None = None
        self._arranging = asyncio.Lock()
        self._first = 0

    def body(self) -> Iterable[Widget]:
        yield self.tabs
        yield self.box
        yield self.field

    async def on_mount(self) -> None:
        self.field.focus()
        kept = self.room.setting(SETTING)
        if isinstance(kept, dict):
            self.panes.restore(kept.get("panes"))
            self.to_all = kept.get("all") is not False
            questions = kept.get("questions")
            self.field.set_questions(questions if isinstance(questions, list) else [])
        await self.show_panes_anew()
        if not self.panes.panes:
            self.run_worker(self._first_pane(), group="first")

    async def on_unmount(self) -> None:
        await self.panes.close()

    async def _first_pane(self) -> None:
        """A pane on the checkpoint saved last here, where there is one."""
        from nanochat.checkpoint.names import newest_name

        try:
            name = await asyncio.to_thread(newest_name, self.room.layout)
        except UserError:
            return
        if not self.panes.panes:
            await self.add_pane(CheckpointTarget("local", name))

    def remember(self) -> None:
        """Keeps the panes, where questions go, and the questions for the next start."""
        kept = {"panes": self.panes.document(), "all": self.to_all, "questions": self.field.lasting}
        self.room.remember(SETTING, kept)

    # ---- panes ---------------------------------------------------------------------------------------

    @property
    def view(self) -> PaneView | None:
        """The pane that is being looked at."""
        return self.views[self.current] if self.views else None

    def view_here(self) -> PaneView:
        """The pane that is being looked at. Raises `UserError` when there is none yet."""
        if self.view is None:
            model = hint("chat.model", self.room.keymap)
            raise UserError("there is no pane yet", f"{model} chooses a checkpoint or an address")
        return self.view

    def targeted(self) -> list[Pane]:
        """The panes that what is asked goes to."""
        here = self.view_here().pane
        return [view.pane for view in self.views] if self.to_all else [here]

    async def add_pane(self, target: PaneTarget) -> Pane:
        """A new pane at the right, with the settings of the one that is being looked at."""
        here = self.view
        pane = self.panes.add(target, here.pane.settings if here is not None else None)
        if here is not None:
            pane.system = here.pane.system
        self.end_blind()
        self.current = len(self.panes.panes) - 1
        await self.show_panes_anew()
        self.remember()
        return pane

    async def show_panes_anew(self) -> None:
        """Makes the views of panes that have none, removes those of panes that are gone, in order."""
        async with self._arranging:  # keys may come faster than views come and go
            await self._arrange_panes()

    async def _arrange_panes(self) -> None:
        order = list(self.blind.order) if self.blind is not None else list(self.panes.panes)
        known = {id(view.pane): view for view in self.views}
        views = [known.get(id(pane)) or PaneView(pane, "") for pane in order]
        gone = [view for view in self.views if view not in views]
        fresh = [view for view in views if view not in self.views]
        self.views = views
        for view in gone:
            await view.remove()
        if fresh:
            await self.box.mount(*fresh)
        for number, view in enumerate(views):
            view.label = LABELS[number]
            view.hidden = self.blind is not None and not self.blind.revealed
            if self.box.children[number] is not view:
                self.box.move_child(view, before=number)
            view.set_view(self.answer_view)
        self.current = max(0, min(self.current, len(views) - 1))
        self.lay_out_panes()
        for view in views:
            view.update()

    def fitting(self) -> int:
        """How many panes stand side by side."""
        width = self.app.size.width
        most = 1 if self.zoomed or width < NARROW else width // LEAST
        return max(1, min(most, len(self.views)))

    def lay_out_panes(self) -> None:
        """Shows the panes that fit, the one that is being looked at among them."""
        count = self.fitting()
        self._first = max(min(self._first, self.current), self.current - count + 1, 0)
        self._first = min(self._first, max(0, len(self.views) - count))
        for number, view in enumerate(self.views):
            shown = self._first <= number < self._first + count
            if view.display != shown:
                view.display = shown
            # The line at the right of a pane can be moved, where there is another pane behind it.
            is_split = shown and number < self._first + count - 1
            for other in range(MOST_PANES):
                view.set_class(is_split and other == number, f"split-{other}")
            if not is_split:
                view.styles.width = view.styles.min_width = view.styles.max_width = None
        self.fit_panes()
        self.set_class(count < len(self.views), "-tabs")
        self.set_class(self.app.size.height < LOW, "-low")
        self.tell()

    def tell(self) -> None:
        """Says in tabs and field which panes there are and where questions go."""
        hidden = self.blind is not None and not self.blind.revealed
        width = max(4, (self.app.size.width - 14) // max(1, len(self.views)) - 6)
        names = [(view.label, "" if hidden else name_of(view.pane, width)) for view in self.views]
        self.tabs.set_panes([(label, f"{label} {name}".strip()) for label, name in names])
        here = self.view
        self.tabs.show(here.label if here is not None else "")
        title = self._field_title()
        if self.field.border_title != title:
            self.field.border_title = Content(title)
        about = with_keys("{question.send} ask · {question.newline} new line", self.room.keymap)
        self.field.border_subtitle = Content(about)

    def _field_title(self) -> str:
        keymap = self.room.keymap
        if self.view is None:
            return with_keys("no pane yet: esc, then {chat.model} chooses a model", keymap)
        if self.editing is not None:
            return "the question edited · esc leaves it as it was"
        toggle = "ctrl+t" if "chat.all" not in keymap else hint("chat.all", keymap)
        if len(self.views) == 1:
            return f"question to {self.views[0].label}"
        label = self.view.label
        return (
            f"question to all panes · {toggle} to {label} only"
            if self.to_all
            else f"question to {label} only · {toggle} to all"
        )

    def _pane_changed(self, pane: Pane) -> None:
        if not self.is_mounted or self.room.frozen:
            return
        view = next((view for view in self.views if view.pane is pane), None)
        if view is None:
            return
        if view.display and self.is_current:
            view.update()
        if pane.state.kind == "choosing" and self.is_current:
            self.choose_device(pane)

    def changed(self, changes: frozenset[Change]) -> None:
        if not changes and not self.room.frozen:
            self.look()
            for view in self.views:
                view.update()
                if view.pane.state.kind == "choosing":
                    self.choose_device(view.pane)

    def tick(self) -> None:
        self.look()
        for view in self.views:
            if view.pane.state.is_busy:
                view.update()  # it tells for how long

    # ---- layout --------------------------------------------------------------------------------------

    def on_resize(self, event: events.Resize) -> None:
        super().on_resize(event)
        self.lay_out_panes()

    def side_by_side(self) -> bool:
        return self.fitting() > 1

    def action_zoom(self) -> None:
        self.zoomed = not self.zoomed
        self.set_class(self.zoomed, "-full")
        self.lay_out_panes()

    def action_next_pane(self, by: int) -> None:
        """To the next pane; after the last one to the field, and round."""
        count = len(self.views)
        here = count if isinstance(self.focused, TextArea) or not count else self.current
        to = (here + by) % (count + 1)
        if to == count:
            self.field.focus()
        else:
            self.go_to(to)

    def action_pane(self, label: str) -> None:
        if label in LABELS:
            self.go_to(LABELS.index(label))

    def go_to(self, number: int) -> None:
        """Looks at a pane."""
        if 0 <= number < len(self.views):
            self.current = number
            self.lay_out_panes()
            self.views[number].update()
            self.views[number].transcript.focus()

    def on_pane_tabs_picked(self, event: PaneTabs.Picked) -> None:
        self.action_pane(event.pane)

    def on_pane_view_touched(self, event: PaneView.Touched) -> None:
        if event.view in self.views:
            self.current = self.views.index(event.view)
            self.tell()

    def default_focus(self) -> Widget | None:
        return self.view.transcript if self.view is not None else None

    def leave_field(self) -> bool:
        if not isinstance(self.focused, TextArea):
            is_finding = isinstance(self.focused, Input)
            has_left = super().leave_field()
            if is_finding and self.view is not None:
                self.view.end_find()
            return has_left
        if self.editing is not None:
            self.editing = None
            self.field.take_back()
        self.set_focus(self.default_focus())
        self.tell()
        return True

    def go_back(self) -> bool:
        if self.view is not None and self.view.end_find():
            return True
        if self.zoomed:
            self.action_zoom()
            return True
        return False

    def action_write(self) -> None:
        self.field.focus()
