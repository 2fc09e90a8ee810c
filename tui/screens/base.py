"""What every full screen has: the bar on top, the keys below, and access to the app."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, cast

from textual import events
from textual.app import ComposeResult
from textual.await_remove import AwaitRemove
from textual.message import Message
from textual.message_pump import MessagePump
from textual.screen import ModalScreen, Screen, ScreenResultType
from textual.widget import Widget
from textual.widgets import Input

from tui.keys import KEYS
from tui.widgets.banner import Banner
from tui.widgets.bars import KeyBar, TopBar
from tui.widgets.message_line import MessageLine

if TYPE_CHECKING:
    from remote.runs import Change
    from tui.room import Room


@functools.cache
def changing_actions(groups: tuple[str, ...]) -> frozenset[str]:
    """The actions of these key groups, and of the app's own, that change something: none under `--readonly`.

    By group, because the same word is another action elsewhere: `stop` ends a run, or an answer.
    """
    return frozenset(
        key.action.removeprefix("app.").partition("(")[0]
        for group in (*groups, "app")
        for key in KEYS[group]
        if key.changes
    )


class KeepsStyles(MessagePump):
    """A screen that is shown again as it was: its styles are worked out anew only after a change of theme.

    Textual does so whenever a screen comes in front, also the first time, just after it has done so for every
    widget as it was mounted. That is a third of what opening a screen costs. (No DOM node itself: of several
    bases Textual takes the style rules of the first one alone.)
    """

    _styled_for = ""

    def post_message(self, message: Message) -> bool:
        if isinstance(message, events.ScreenResume):
            theme = self.app.theme
            message.refresh_styles = self._styled_for not in ("", theme)
            self._styled_for = theme
        return super().post_message(message)


class Dialog(KeepsStyles, ModalScreen[ScreenResultType]):
    """A question or a list over the screen in front."""


class ControlScreen(KeepsStyles, Screen[None]):
    """A full screen. `tab` is its name in the top bar; `place` is what the top bar calls a screen without a
    tab. `groups` are its key groups for help and palette, and `about` is its text on the help page."""

    tab: ClassVar[str] = ""
    place: ClassVar[str] = ""
    groups: ClassVar[tuple[str, ...]] = ()
    about: ClassVar[str] = ""
    VERTICAL_BREAKPOINTS = [(0, "-tiny"), (16, "-roomy")]  # noqa: RUF012 (mypy reads Textual's as no ClassVar)
    pace: ClassVar[float] = 0.25
    """Seconds between two deliveries of data at least, while this screen is in front."""

    @property
    def room(self) -> Room:
        """The app, typed as what screens use of it."""
        return cast("Room", self.app)

    def __init__(self) -> None:
        super().__init__()
        self.top_bar = TopBar()
        self.banner = Banner()

    def compose(self) -> ComposeResult:
        yield self.top_bar
        yield self.banner
        yield from self.body()
        yield MessageLine()
        yield KeyBar()

    def body(self) -> Iterable[Widget]:
        """The widgets between the two bars."""
        raise NotImplementedError

    def on_screen_resume(self) -> None:
        self.changed(frozenset())
        self.banner.show(self.room.trouble)
        self.top_bar.refresh()

    def changed(self, changes: frozenset[Change]) -> None:
        """Called when the app has newer rows and when the screen is shown, then without `changes`."""

    def tick(self) -> None:
        """Called once a second, for what changes with time alone."""

    def remove(self) -> AwaitRemove:
        """Ends its work first: Textual does so last, when what that work comes back to has gone already."""
        self.workers.cancel_node(self)
        return super().remove()

    def leave_field(self) -> bool:
        """Moves focus out of a text field; False when no text field has it."""
        if isinstance(self.focused, Input):
            self.set_focus(self.default_focus())
            return True
        return False

    def go_back(self) -> bool:
        """Goes one step back within the screen; False when there is no such step."""
        return False

    def default_focus(self) -> Widget | None:
        """The widget that gets focus when a text field is left."""
        return None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return not (self.room.readonly and action in changing_actions(self.groups))
