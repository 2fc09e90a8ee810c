"""The curve of the run under the cursor, beside or below the table of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui.screens.base import ControlScreen

if TYPE_CHECKING:
    from tui.widgets.run_preview import RunPreview
    from tui.widgets.run_table import RunTable

WIDTH, HEIGHT, BESIDE = 120, 32, 170
"""The least screen with a curve below the table, and the width from which it stands beside it."""


class CurvePreview(ControlScreen):
    """A screen with a `table` of runs in a box `#runs-and-curve`; `with_curve` is the user's choice."""

    table: RunTable

    def __init__(self) -> None:
        super().__init__()
        self.preview: RunPreview | None = None
        self.with_curve = True

    def remember(self) -> None:
        """Keeps how the screen looks for the next start."""
        raise NotImplementedError

    def on_resize(self) -> None:
        self.call_after_refresh(self._place_preview)  # the first frame needs no plot

    async def _place_preview(self) -> None:
        """At the side of a wide screen, else below the table; not on a small one."""
        width, height = self.app.size
        fits = self.with_curve and width >= WIDTH
        beside = fits and width >= BESIDE
        below = fits and not beside and height >= HEIGHT
        self.set_class(beside, "-curve-beside")
        self.set_class(below, "-curve-below")
        if self.preview is None and (beside or below):
            from tui.widgets.run_preview import RunPreview

            self.preview = RunPreview(self.room, id="preview")
            await self.query_one("#runs-and-curve").mount(self.preview)
        if self.preview is not None:
            self.preview.set_shown(beside or below, self.table.run)

    def show_curve(self) -> None:
        """Shows the curve of the run under the cursor, where there is room for one."""
        if self.preview is not None:
            self.preview.show(self.table.run)

    def on_virtual_table_highlighted(self) -> None:
        self.show_curve()

    async def action_preview(self) -> None:
        self.with_curve = not self.with_curve
        await self._place_preview()
        self.remember()
        if self.with_curve and not (self.preview is not None and self.preview.display):
            width, height = self.app.size
            needed = f"the curve needs {WIDTH}×{HEIGHT} cells or more"
            self.room.say(f"{needed}: this screen has {width}×{height}", "warning")
