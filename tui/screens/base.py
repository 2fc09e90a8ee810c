"""What every full screen has: the bar on top, the keys below, and the app's data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input

from tui.keys import KEYS
from tui.widgets.bars import KeyBar, TopBar

if TYPE_CHECKING:
    from remote.runs import Change
    from tui.room import Room

CHANGING = frozenset(
    key.action.removeprefix("app.").partition("(")[0]
    for group in KEYS.values()
    for key in group
    if key.changes
)


class ControlScreen(Screen[None]):
    """A full screen. `tab` is its name in the top bar, `groups` its key groups for help and
    palette, `about` what help says of it."""

    tab: ClassVar[str] = ""
    groups: ClassVar[tuple[str, ...]] = ()
    about: ClassVar[str] = ""

    @property
    def room(self) -> Room:
        """The app, as what screens use of it."""
        return cast("Room", self.app)

    def __init__(self) -> None:
        super().__init__()
        self.top_bar = TopBar()

    def compose(self) -> ComposeResult:
        yield self.top_bar
        yield from self.body()
        yield KeyBar()

    def body(self) -> Iterable[Widget]:
        """The widgets between the two bars."""
        raise NotImplementedError

    def on_screen_resume(self) -> None:
        self.changed(frozenset())
        self.top_bar.refresh()

    def changed(self, changes: frozenset[Change]) -> None:
        """The app has newer rows; `changes` says of what (empty when the screen has just come up)."""

    def tick(self) -> None:
        """Once a second, for times that pass without news."""

    def leave_field(self) -> bool:
        """Takes focus out of a text field; False when there was none to leave."""
        if isinstance(self.focused, Input):
            self.set_focus(self.resting_place())
            return True
        return False

    def go_back(self) -> bool:
        """Takes one step back inside the screen; False when there is none left."""
        return False

    def resting_place(self) -> Widget | None:
        """Where focus goes when a text field is left."""
        return None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return not (self.room.readonly and action in CHANGING)
