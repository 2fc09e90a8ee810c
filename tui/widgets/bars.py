"""The bar on top (screens and the state of the links) and the bar below (the most useful keys)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.dom import DOMNode
from textual.widget import Widget

from tui.keymap import key_name
from tui.keys import BY_ID
from tui.style.status import ROLE_STYLES, link_style

if TYPE_CHECKING:
    from tui.room import Room

BAR_KEYS = 7
SHORT = {"Tokenizer": "Tok", "Checkpoints": "Ckpt"}
"""Titles of screens where the bar is too narrow for all of them."""
LEAST_RIGHT = 9
"""Columns at the right of the bar that are left to the state of the app and one link."""
HERE = "bold $block-cursor-foreground on $block-cursor-background"
"""The style of the place in front."""


@dataclass(frozen=True)
class Piece:
    """A part of a bar: its text, its style, and the action that a click runs on `node`."""

    text: str
    style: str = ""
    action: str = ""
    node: DOMNode | None = None


class ClickBar(Widget):
    """One line of pieces, some of which run an action when clicked."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._spans: list[tuple[int, int, Piece]] = []

    def line(self, pieces: list[Piece]) -> Content:
        """Content from `pieces`; keeps the columns of those with an action."""
        self._spans = []
        at = 0
        for piece in pieces:
            width = cell_len(piece.text)
            if piece.action:
                self._spans.append((at, at + width, piece))
            at += width
        return Content.assemble(*((piece.text, piece.style) for piece in pieces))

    def places(self) -> list[tuple[int, str]]:
        """The column and the action of each piece that goes somewhere, for the jump labels."""
        return [
            (start, piece.action) for start, _, piece in self._spans if piece.action.startswith("app.go(")
        ]

    async def on_click(self, event: events.Click) -> None:
        for start, end, piece in self._spans:
            if start <= event.x < end:
                await self.app.run_action(piece.action, piece.node or self.screen)
                return


def _width(pieces: list[Piece]) -> int:
    return sum(cell_len(piece.text) for piece in pieces)


class TopBar(ClickBar):
    """The app's name, the screens with their numbers; at the right the state of the app, runs and links."""

    _shown: tuple[Piece, ...] = ()

    def update(self) -> None:
        """Draws the bar again if it would say anything else. News may come before its screen is mounted."""
        if self.is_attached and tuple(self._pieces()) != self._shown:
            self.refresh()

    def render(self) -> Content:
        pieces = self._pieces()
        self._shown = tuple(pieces)
        return self.line(pieces)

    def _pieces(self) -> list[Piece]:
        room = cast("Room", self.app)
        pieces = self._left(room)
        if _width(pieces) > self.size.width - LEAST_RIGHT:
            pieces = self._left(room, is_short=True)
            if _width(pieces) > self.size.width - LEAST_RIGHT:
                pieces = pieces[1:]  # the app's name
        right = self._right(room, self.size.width - _width(pieces))
        pad = self.size.width - _width(pieces) - _width(right)
        return [*pieces, Piece(" " * max(0, pad)), *right]

    def _left(self, room: Room, is_short: bool = False) -> list[Piece]:
        """The app's name and the screens; with `is_short` long titles are cut, but for that in front."""
        pieces = [Piece(" nanochat ", "bold $primary"), Piece(" ")]
        here = getattr(self.screen, "tab", "")
        for number, name, title in room.tabs:
            style = HERE if name == here else "$muted"
            title = SHORT.get(title, title) if is_short and name != here else title
            pieces += [Piece(f" {number} {title} ", style, f"app.go('{name}')"), Piece(" ")]
        place = getattr(self.screen, "place", "")
        return [*pieces, Piece(f" {place} ", HERE), Piece(" ")] if place else pieces

    def _right(self, room: Room, width: int) -> list[Piece]:
        pieces = []
        if room.frozen:
            pieces.append(Piece(" frozen ", "bold $background on $warning", "app.freeze"))
        if room.readonly:
            pieces.append(Piece(" read only ", "$warning"))
        running = [run.status for run in room.rows].count("running")
        if running:
            pieces.append(Piece(f" {running} running ", "$primary", "app.go('runs')"))
        for host, link in room.links.items():
            status = link_style(link.status)
            pieces.append(Piece(f" {status.glyph} {host[:16]} ", ROLE_STYLES[status.role], "app.go('hosts')"))
        while len(pieces) > 1 and _width(pieces) > width:
            pieces.pop()
        return pieces


class KeyBar(ClickBar):
    """The seven most useful keys, then `? more`. Follows focus, the keymap and `--readonly`."""

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, lambda _screen: self.refresh())

    def render(self) -> Content:
        shown = [
            (Piece(f" {key_name(key)} ", "bold $accent", action, node), Piece(f"{label} ", "", action, node))
            for key, label, action, node in self._shown()
        ]
        more = [Piece(" ? ", "bold $accent", "app.help"), Piece("more ", "", "app.help")]
        width = self.size.width - _width(more)
        while shown and sum(_width(list(pair)) for pair in shown) > width:
            shown.pop()
        return self.line([*(piece for pair in shown for piece in pair), *more])

    def _shown(self) -> list[tuple[str, str, str, DOMNode]]:
        seen: dict[str, tuple[str, str, str, DOMNode]] = {}
        for node, binding, enabled, _ in self.screen.active_bindings.values():
            if binding.show and enabled and binding.id in BY_ID and binding.id not in seen:
                seen[binding.id] = (binding.key, binding.description, binding.action, node)
        order = list(BY_ID)

        def rank(name: str) -> tuple[int, int]:
            """The focused pane's own keys first, then the screen's, then the app's."""
            node = seen[name][3]
            return {self.app: 2, self.screen: 1}.get(node, 0), order.index(name)

        ids = sorted(seen, key=rank)
        return [seen[name] for name in ids[:BAR_KEYS]]
