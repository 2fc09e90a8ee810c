"""Whose lines move before the next frame: painting a pane of which every line has moved takes some 8 ms, and
four of them in one frame would hold the event loop for too long."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from textual.app import App
    from textual.widget import Widget

MOST = 2
"""Widgets that may move in one frame."""
OVERDUE = 0.5
"""Seconds after which a frame is taken to have passed, also for what was not painted: it may be hidden."""


class PaintTurns:
    """Gives turns in the order of asking. Ask with `take` before lines are moved, and again later where that
    is False; tell what became of it with `moved`, `painted` and `leave`."""

    def __init__(self) -> None:
        self._moved: dict[Widget, float] = {}
        """What has moved and was not painted since, and when."""
        self._waiting: list[Widget] = []

    def take(self, widget: Widget) -> bool:
        """Whether the lines of `widget` may move now."""
        now = time.monotonic()
        self._moved = {one: at for one, at in self._moved.items() if now - at < OVERDUE}
        free = MOST - len(self._moved.keys() - {widget})
        ahead = self._waiting.index(widget) if widget in self._waiting else len(self._waiting)
        if ahead < free:
            self.leave(widget)
            return True
        if widget not in self._waiting:
            self._waiting.append(widget)
        return False

    def moved(self, widget: Widget) -> None:
        """Its lines have moved, so that all of it is painted in the next frame."""
        self._moved.setdefault(widget, time.monotonic())

    def painted(self, widget: Widget) -> None:
        """It was painted."""
        self._moved.pop(widget, None)

    def leave(self, widget: Widget) -> None:
        """It waits no longer: it has nothing to move any more, or is gone."""
        if widget in self._waiting:
            self._waiting.remove(widget)


_TURNS: WeakKeyDictionary[App[object], PaintTurns] = WeakKeyDictionary()


def turns_of(widget: Widget) -> PaintTurns:
    """Those of the app that a widget is in."""
    return _TURNS.setdefault(widget.app, PaintTurns())
