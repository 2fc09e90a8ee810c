"""Jump labels: a letter over every pane, field and tab; pressing it goes there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Protocol, runtime_checkable

from textual import events
from textual.app import ComposeResult
from textual.content import Content
from textual.geometry import Offset
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from tui.screens.base import Dialog

LETTERS = "asdfghjklqwertyuiopzxcvbnm"
"""The home row first."""


@dataclass(frozen=True)
class Place:
    """Somewhere to jump to: a cell of the screen, and the widget to focus or the action to run there."""

    at: Offset
    widget: Widget
    action: str = ""


@runtime_checkable
class HasPlaces(Protocol):
    """A widget with places of its own within it, such as a bar of tabs."""

    def places(self) -> Sequence[tuple[int, str]]:
        """The column of each place, and the action that goes there."""


def places(screen: Screen[object]) -> list[Place]:
    """Every place on `screen` that is in sight, from the top left to the bottom right."""
    found = []
    for widget in screen.query("*"):
        if not widget.display or not widget.region:
            continue
        if isinstance(widget, HasPlaces):
            left, top = widget.content_region.offset
            found += [Place(Offset(left + x, top), widget, action) for x, action in widget.places()]
        elif widget.focusable:
            seen = screen.find_widget(widget).visible_region
            if seen:
                found.append(Place(seen.offset, widget))
    return sorted(found, key=lambda place: (place.at.y, place.at.x))


def labels(count: int) -> list[str]:
    """`count` labels, none the beginning of another: letters, or pairs of letters when those are too few."""
    if count <= len(LETTERS):
        return list(LETTERS[:count])
    return ["".join(pair) for pair in product(LETTERS, repeat=2)][:count]


class Jump(Dialog[Place | None]):
    """Labels over the screen below; returns the place chosen, or None when anything else was pressed."""

    def __init__(self, found: Iterable[Place]) -> None:
        super().__init__()
        self._found = list(found)
        self._labels = dict(zip(labels(len(self._found)), self._found, strict=False))
        self._typed = ""
        self._left = False
        self._size_at_first = self.app.size

    def compose(self) -> ComposeResult:
        for label, place in self._labels.items():
            shown = Static(Content(f" {label} "), classes="jump")
            shown.styles.offset = place.at
            yield shown

    def _leave(self, place: Place | None) -> None:
        """Goes away once, whatever comes before it is gone."""
        if not self._left:
            self._left = True
            self.dismiss(place)

    def on_key(self, event: events.Key) -> None:
        event.stop()
        event.prevent_default()
        self._typed += event.character or "\0"
        if self._typed in self._labels:
            self._leave(self._labels[self._typed])
        elif not any(label.startswith(self._typed) for label in self._labels):
            self._leave(None)

    def on_click(self) -> None:
        self._leave(None)

    def on_resize(self, event: events.Resize) -> None:
        """What lies below has moved: the labels no longer stand over it."""
        if event.size != self._size_at_first:
            self._leave(None)
