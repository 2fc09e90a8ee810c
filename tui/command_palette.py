"""The command palette: every action of the screen in front and of the app, by its description."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.markup import escape

from tui.keys import KEYS, Key
from tui.screens.base import CHANGING_ACTIONS, ControlScreen
from tui.widgets.bars import key_name

if TYPE_CHECKING:
    from tui.room import Room

HIDDEN = frozenset({"app.palette", "app.back"})


class Actions(Provider):
    """The actions available here, each with its keys."""

    def _actions(self) -> Iterator[tuple[str, str, Key]]:
        room = cast("Room", self.app)
        groups = self.screen.groups if isinstance(self.screen, ControlScreen) else ()
        seen = set()
        for group in (*groups, "app"):
            if group == "table":
                continue
            for key in KEYS[group]:
                name = key.action.removeprefix("app.").partition("(")[0]
                if key.id in HIDDEN or key.help in seen or (room.readonly and name in CHANGING_ACTIONS):
                    continue
                seen.add(key.help)
                yield key.help, " ".join(map(key_name, key.keys.split(","))), key

    async def discover(self) -> Hits:
        for text, keys, key in self._actions():
            yield DiscoveryHit(escape(f"{text}  ·  {keys}"), partial(self._run, key), help=key.id)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for text, keys, key in self._actions():
            score = max(matcher.match(text), matcher.match(key.id))
            if score > 0:
                yield Hit(
                    score,
                    matcher.highlight(text),
                    partial(self._run, key),
                    text=text,
                    help=escape(f"{keys} · {key.id}"),
                )

    async def _run(self, key: Key) -> None:
        room = cast("Room", self.app)
        group = key.id.partition(".")[0]
        await self.app.run_action(key.action, room.action_target(group))
