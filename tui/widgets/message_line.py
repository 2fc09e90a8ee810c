"""The line for messages, above the key bar of every screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from textual import events
from textual.content import Content
from textual.widget import Widget

from tui.keymap import hint, keymap_of
from tui.room import Said

if TYPE_CHECKING:
    from tui.room import Room

STYLES = {"information": "$foreground", "warning": "bold $warning", "error": "bold $error"}


class MessageLine(Widget):
    """Shows the app's newest message; blank without one. A click opens the list of all messages.

    A full screen keeps a row free for it. Over a dialog it is laid (`over`) where that row is below.
    """

    def __init__(self, *, over: bool = False) -> None:
        super().__init__(classes="-over" if over else "")
        self._over = over

    def show(self) -> None:
        """Draws what is to be shown now."""
        if self._over:
            self.display = cast("Room", self.app).message is not None
        self.refresh()

    def render(self) -> Content:
        said = cast("Room", self.app).message
        more = f"… {hint('app.messages', keymap_of(self))} shows all "
        return Content("") if said is None else line(said, self.size.width, more)

    async def on_click(self, event: events.Click) -> None:
        event.stop()
        await self.app.run_action("app.messages")


def line(said: Said, width: int, more: str) -> Content:
    """One message in `width` columns; `more` stands where it is cut. Text is never read as markup."""
    content = Content.assemble((f" {said.glyph} ", STYLES[said.severity]), (said.text, STYLES[said.severity]))
    if content.cell_length <= width:
        return content
    room = max(0, width - len(more))
    return Content.assemble(content.truncate(room), (more, "$muted"))
