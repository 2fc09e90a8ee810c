"""Panes whose sizes the user sets, by key or by dragging the line between them, and that can be hidden."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from textual import events
from textual.widget import Widget

from tui.keymap import hint
from tui.keys import bindings
from tui.screens.base import ControlScreen

if TYPE_CHECKING:
    from textual.timer import Timer

SAVE_SECONDS = 0.3
"""Sizes are kept this long after the last change, so that a drag is one write."""

Axis = Literal["rows", "columns"]


@dataclass(frozen=True)
class Split:
    """A line between two panes that can be moved.

    `pane` (a selector) is the pane whose size is set, in rows or columns: the one below or at the right of
    the line, or with `before` the one above or at the left. It keeps at least `least` cells and leaves
    `leave` to the others of the box around it. The keys move this line first while the focus is in `near`.
    """

    name: str
    pane: str
    axis: Axis
    before: bool = False
    least: int = 6
    leave: int = 10
    near: str = ""


class PaneScreen(ControlScreen):
    """A screen with `splits` to move and panes to hide: `hideable` gives their names and selectors.

    Sizes and what is hidden are kept in the settings under the screen's name, and hold after the next start.
    """

    splits: ClassVar[tuple[Split, ...]] = ()
    hideable: ClassVar[dict[str, str]] = {}
    BINDINGS = bindings("panes")

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[str, int] = {}
        self.hidden: set[str] = set()
        self._dragged: Split | None = None
        self._saving: Timer | None = None
        self._load(self.room.setting(self._setting))

    @property
    def _setting(self) -> str:
        return f"panes.{self.tab or self.place.lower()}"

    def _load(self, kept: Any) -> None:
        """Takes what the settings hold of this screen; what makes no sense there is left out."""
        if not isinstance(kept, dict):
            return
        sizes, hidden = kept.get("sizes"), kept.get("hidden")
        names = {split.name for split in self.splits}
        if isinstance(sizes, dict):
            self.sizes = {name: size for name, size in sizes.items() if name in names and type(size) is int}
        if isinstance(hidden, list):
            self.hidden = {name for name in hidden if name in self.hideable}

    def _save(self) -> None:
        kept = {"sizes": dict(self.sizes), "hidden": sorted(self.hidden)}
        self.room.remember(self._setting, kept)

    def on_resize(self, event: events.Resize) -> None:
        if self.sizes:
            self.fit_panes()
            self.call_after_refresh(self.fit_panes)  # bounded by the new size of the boxes around them

    # ---- sizes ---------------------------------------------------------------------------------------

    def side_by_side(self) -> bool:
        """Whether the panes stand beside each other now, so that sizes and hiding mean something."""
        return True

    def fit_panes(self) -> None:
        """Gives every pane its size, or its own of the style sheet where the user has set none."""
        for split in self.splits:
            for pane in self.query(split.pane):
                size = self.sizes.get(split.name) if self.side_by_side() else None
                self._set_size(split, pane, size)

    def _set_size(self, split: Split, pane: Widget, size: int | None) -> None:
        names = (
            ("height", "min_height", "max_height")
            if split.axis == "rows"
            else ("width", "min_width", "max_width")
        )
        bounded = None if size is None else self._bounded(split, pane, size)
        for name in names:
            setattr(pane.styles, name, bounded)  # None: as the style sheet says

    def _bounded(self, split: Split, pane: Widget, size: int) -> int:
        around = pane.parent.size if isinstance(pane.parent, Widget) else self.size
        whole = around.height if split.axis == "rows" else around.width
        return max(split.least, min(size, whole - split.leave)) if whole else size

    def _shown(self, axis: Axis | None = None) -> Iterator[tuple[Split, Widget]]:
        """The lines that are on screen now, those near the focus first."""
        if not self.side_by_side():
            return
        found = []
        for split in self.splits:
            pane = next(iter(self.query(split.pane)), None)
            if pane is not None and pane.region and (axis is None or split.axis == axis):
                found.append((split, pane))
        around = set(self.focused.ancestors_with_self) if self.focused else set()

        def rank(item: tuple[Split, Widget]) -> int:
            near = item[0].near
            return 1 if not near else 0 if around & set(self.query(near)) else 2

        yield from sorted(found, key=rank)

    def action_line(self, axis: Axis, by: int) -> None:
        """Moves a line between panes `by` cells down or to the right."""
        split, pane = next(self._shown(axis), (None, None))
        if split is None or pane is None:
            return
        now = pane.outer_size.height if axis == "rows" else pane.outer_size.width
        self._resize(split, pane, now + (by if split.before else -by))

    def _resize(self, split: Split, pane: Widget, size: int) -> None:
        self.sizes[split.name] = self._bounded(split, pane, size)
        self._set_size(split, pane, size)
        self._keep()

    def _keep(self) -> None:
        if self._saving is not None:
            self._saving.stop()
        self._saving = self.set_timer(SAVE_SECONDS, self._save)

    def action_reset_panes(self) -> None:
        """All panes as they were at first."""
        self.sizes, self.hidden = {}, set()
        self.show_panes()
        self._keep()

    # ---- hiding --------------------------------------------------------------------------------------

    def hidden_classes(self) -> set[str]:
        """The classes of the screen that hide panes."""
        return {f"-no-{name}" for name in self.hidden} if self.side_by_side() else set()

    def action_hide(self, name: str) -> None:
        """Hides a pane, or shows it again. The focus leaves what is hidden."""
        if not self.side_by_side():
            self.room.say("at this width the panes are tabs, one at a time")
            return
        self.hidden ^= {name}
        if name in self.hidden:
            again = hint(f"{self.tab}.hide_{name}", self.room.keymap)
            self.room.say(f"{name} hidden: {again} shows it again")
        focused = self.focused
        if name in self.hidden and focused is not None:
            inside = {pane for pane in self.query(self.hideable[name]) if pane in focused.ancestors_with_self}
            if inside:
                self.set_focus(self.default_focus())
        self.show_panes()
        self._keep()

    def show_panes(self) -> None:
        """Shows and sizes the panes as they are to be now."""
        self.set_classes(
            {name for name in self.classes if not name.startswith("-no-")} | self.hidden_classes()
        )
        self.fit_panes()

    # ---- the mouse -----------------------------------------------------------------------------------

    def _split_at(self, x: int, y: int) -> Split | None:
        """The line under a cell of the screen: the border between two panes, or the gap beside it."""
        for split, pane in self._shown():
            region = pane.region
            if split.axis == "rows":
                lines = (region.bottom - 1, region.bottom) if split.before else (region.y - 1, region.y)
                if y in lines and region.x <= x < region.right:
                    return split
            else:
                lines = (region.right - 1, region.right) if split.before else (region.x - 1, region.x)
                if x in lines and region.y <= y < region.bottom:
                    return split
        return None

    def on_mouse_down(self, event: events.MouseDown) -> None:
        split = self._split_at(int(event.screen_x), int(event.screen_y)) if event.button == 1 else None
        if split is not None:
            self._dragged = split
            self.clear_selection()
            self.capture_mouse()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        split = self._dragged
        if split is None:
            return
        pane = self.query(split.pane).first()
        region = pane.region
        if split.axis == "rows":
            at = int(event.screen_y)
            size = at - region.y + 1 if split.before else region.bottom - at
        else:
            at = int(event.screen_x)
            size = at - region.x + 1 if split.before else region.right - at
        self._resize(split, pane, size)

    def on_mouse_up(self) -> None:
        if self._dragged is not None:
            self._dragged = None
            self.release_mouse()
