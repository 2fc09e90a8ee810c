"""The command palette: every action of the screen in front and of the app, by its description or its id."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content

from tui.keymap import keys_text
from tui.keys import KEYS, Key
from tui.screens.base import ControlScreen

if TYPE_CHECKING:
    from tui.room import Room

WITHIN, OFFERED = ("table", "filter", "transcript", "question", "lines"), ("table.wide",)
"""Groups of keys that mean something only where the focus is, and what of them is offered all the same."""
HIDDEN = frozenset({"app.palette", "app.back"})
WIDTH = 92
"""Cells of the dialog, as in app.tcss; its border, padding and scrollbar take `FRAME` of them."""
FRAME = 8
WIDE = 80
"""From this width on a line also shows the action's id, which a keymap file names."""


def rank(query: str, key: Key) -> float:
    """How well an action answers what was typed, 0 for not at all.

    Its id and label count most, then words and initials of its description, then letters in order within a
    word, then the text in the middle of one, then letters that begin words.
    """
    typed = " ".join(query.casefold().split())
    own = key.id.partition(".")[2].replace("_", " ")
    names = (own, key.label.casefold(), key.id.casefold())
    words = re.findall(r"\w+", key.help.casefold())
    if not typed:
        return 0.0
    if typed in names:
        return 1.0
    if any(name.startswith(typed) for name in names):
        return 0.95
    if words[:1] and words[0].startswith(typed):
        return 0.9
    initials = "".join(part[0] for part in re.split(r"\W+|_", key.id) if part)
    if len(typed) > 1 and typed == initials:
        return 0.88
    known = [*words, *own.split(), *key.label.casefold().split()]
    if all(any(word.startswith(part) for word in known) for part in typed.split()):
        return 0.85
    if len(typed) > 1 and any(
        text.startswith(typed) for text in (initials, "".join(word[0] for word in words))
    ):
        return 0.8
    line = f"{key.help} {key.id}".casefold()
    if re.search(rf"\b{re.escape(typed)}", line):
        return 0.7
    letters = typed.replace(" ", "")
    for best, among in ((0.6, own.split()), (0.5, words)):
        share = max((len(letters) / len(word) for word in among if _in_order(letters, word)), default=0.0)
        if share:
            return best + share / 12
    if typed in line:
        return 0.4
    return 0.3 if len(letters) > 2 and _in_order(letters, "".join(word[0] for word in words)) else 0.0


def _in_order(letters: str, text: str) -> bool:
    """Whether `text` begins with the first of `letters` and holds the others after it, in this order."""
    rest = iter(text)
    return text[:1] == letters[:1] and all(letter in rest for letter in letters)


def _marked(text: str, query: str) -> Content:
    """`text` with the words of the query underlined where they stand in it."""
    shown, folded = Content(text), text.casefold()
    for word in query.casefold().split():
        at = folded.find(word)
        if at >= 0 and len(folded) == len(text):
            shown = shown.stylize("underline", at, at + len(word))
    return shown


class Actions(Provider):
    """The actions available here, each with its keys as remapped."""

    def _actions(self) -> Iterator[tuple[str, str, Key]]:
        room = cast("Room", self.app)
        groups = self.screen.groups if isinstance(self.screen, ControlScreen) else ()
        seen = set()
        for group in (*groups, "app"):
            for key in KEYS[group]:
                if group in WITHIN and key.id not in OFFERED:
                    continue
                if key.id in HIDDEN or key.help in seen or (room.readonly and key.changes):
                    continue
                seen.add(key.help)
                yield key.help, keys_text(key, room.keymap), key

    def _line(self, text: Content, keys: str, key: Key) -> Content:
        """One line: what it does, its id where there is room, its keys at the right."""
        width = min(WIDTH, self.app.size.width * 96 // 100) - FRAME
        right = Content.assemble(
            (f"  {key.id}" if width >= WIDE else "", "$muted"), ("  ", ""), (keys, "bold $accent")
        )
        room = max(10, width - right.cell_length)
        shown = text if text.cell_length <= room else text.truncate(room, ellipsis=True)
        return Content.assemble(shown, " " * (room - shown.cell_length), right)

    async def discover(self) -> Hits:
        for text, keys, key in self._actions():
            yield DiscoveryHit(self._line(Content(text), keys, key), partial(self._run, key), text=text)

    async def search(self, query: str) -> Hits:
        for index, (text, keys, key) in enumerate(self._actions()):
            score = rank(query, key)
            if score > 0:
                shown = self._line(_marked(text, query), keys, key)
                yield Hit(score - index * 1e-5, shown, partial(self._run, key), text=text)

    async def _run(self, key: Key) -> None:
        room = cast("Room", self.app)
        group = key.id.partition(".")[0]
        await self.app.run_action(key.action, room.action_target(group))
