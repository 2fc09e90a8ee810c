"""What the parts of the Chat screen, a file each, know of the whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tui.data.chat.blind import Blind
    from tui.data.chat.pane import Pane
    from tui.data.chat.pane_set import PaneSet
    from tui.data.chat.target import PaneTarget
    from tui.data.chat.tree import TurnNode
    from tui.screens.panes import PaneScreen
    from tui.widgets.chat.pane_view import PaneView
    from tui.widgets.chat.question_field import QuestionField
    from tui.widgets.chat.sections import View

    class ChatPart(PaneScreen):
        """The Chat screen as its parts use it; `tui.screens.chat.screen.ChatScreen` is one."""

        panes: PaneSet
        views: list[PaneView]
        """The panes as they stand on the screen."""
        current: int
        """Which of `views` is being looked at."""
        field: QuestionField
        to_all: bool
        """Whether questions go to all panes."""
        answer_view: View
        editing: tuple[Pane, TurnNode] | None
        """The turn whose question is being edited."""
        blind: Blind | None

        @property
        def view(self) -> PaneView | None: ...
        def view_here(self) -> PaneView: ...
        def targeted(self) -> list[Pane]: ...
        def tell(self) -> None: ...
        def remember(self) -> None: ...
        def go_to(self, number: int) -> None: ...
        def hide_names(self) -> None: ...
        def end_blind(self) -> None: ...
        async def may_lose(self, panes: Iterable[Pane], question: str, verb: str) -> bool: ...
        def check_names_shown(self, what: str) -> None: ...
        async def add_pane(self, target: PaneTarget) -> Pane: ...
        async def show_panes_anew(self) -> None: ...

else:
    ChatPart = object
