"""The panes of the Chat screen together: one input to all or one, and who hears of changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nanochat.common.errors import UserError
from nanochat.common.fields import text, texts
from nanochat.common.paths import expanded
from nanochat.serve import chat_log
from nanochat.serve.conversation import AnswerSettings, Conversation
from tui.data.chat.coalescer import Coalescer
from tui.data.chat.connection import ServiceSource
from tui.data.chat.pane import Pane
from tui.data.chat.pane_settings import NAMES, read_settings, settings_document
from tui.data.chat.target import MOST, PaneTarget, parse_target
from tui.data.chat.tree import TurnNode

__all__ = ["CHANGE_SECONDS", "MOST_PANES", "PaneSet", "ServiceSource", "save_log"]

MOST_PANES = 4
CHANGE_SECONDS = 0.022
"""How far apart the calls of `on_change` for a pane are at least: a token is to be seen within 100 ms."""
MAX_SYSTEM = 100_000
"""Characters of a system message that are kept between starts."""


class PaneSet:
    """One to four panes. `on_change(pane)` is called in the event loop at most 45 times a second a pane,
    and always once more after its last change. `services` None: only endpoints can be opened (yet)."""

    def __init__(self, services: ServiceSource | None, on_change: Callable[[Pane], None]) -> None:
        self.panes: list[Pane] = []
        self.services = services
        """May be set when the fleet is there."""
        self._news = Coalescer(on_change, CHANGE_SECONDS)

    # ---- the panes -------------------------------------------------------------------------------------

    def add(self, target: PaneTarget, settings: AnswerSettings | None = None) -> Pane:
        """A new pane, still closed. Raises `UserError` when there are four."""
        if len(self.panes) >= MOST_PANES:
            raise UserError(f"there are {MOST_PANES} panes already", "close one first")
        pane = Pane(target, settings or AnswerSettings(), lambda: self.services, self._changed)
        self.panes.append(pane)
        return pane

    async def remove(self, pane: Pane) -> None:
        """Takes a pane out and closes it."""
        self.panes.remove(pane)
        await pane.close()
        self._news.forget(pane)

    async def close(self) -> None:
        """Ends everything. Services stay with the fleet, which ends them with the app."""
        await asyncio.gather(*(pane.close() for pane in self.panes))
        for pane in self.panes:
            self._news.forget(pane)

    # ---- talking ---------------------------------------------------------------------------------------

    def ask(self, question: str, panes: Sequence[Pane] | None = None) -> list[TurnNode]:
        """Asks in all panes, or in those. Raises `UserError`, and asks none, when an answer is coming in
        one of them."""
        asked = self.panes if panes is None else panes
        if not asked:
            raise UserError("there is no pane to ask", "open one first")
        for pane in asked:
            pane.check_free()
        return [pane.ask(question) for pane in asked]

    def stop(self) -> bool:
        """Ends every answer and every opening that is under way; False when there is none."""
        busy = [pane for pane in self.panes if pane.state.is_busy]
        for pane in busy:
            pane.stop()
        return bool(busy)

    def link_changed(self, host: str, is_up: bool) -> None:
        """Tells the panes on `host` that its link is cut, or back."""
        for pane in self.panes:
            pane.link_changed(host, is_up)

    # ---- between starts --------------------------------------------------------------------------------

    def document(self) -> dict[str, Any]:
        """Targets and settings of the panes as JSON, to be remembered; no conversations."""
        return {
            "panes": [
                {
                    "target": str(pane.target),
                    # A GPU that was free may have a training now: that is asked again.
                    "device": "cpu" if pane.chosen_device == "cpu" else "",
                    "system": pane.system[:MAX_SYSTEM],
                    "settings": settings_document(pane.settings),
                    "given": sorted(pane.given),
                }
                for pane in self.panes
            ]
        }

    def restore(self, document: object) -> None:
        """Makes the panes of a document, closed; what is wrong in it is left out."""
        entries = document.get("panes") if isinstance(document, dict) else None
        for entry in (entries if isinstance(entries, list) else [])[: MOST_PANES - len(self.panes)]:
            if not isinstance(entry, dict):
                continue
            try:
                target = parse_target(text(entry.get("target"), MOST) or "")
            except UserError:
                continue
            pane = self.add(target, read_settings(entry.get("settings")))
            pane.chosen_device = "cpu" if entry.get("device") == "cpu" else ""
            system = entry.get("system")
            pane.system = system[:MAX_SYSTEM] if isinstance(system, str) else ""
            pane.given = set(texts(entry.get("given"), 20, len(NAMES)) or ()) & set(NAMES)

    def _changed(self, pane: Pane) -> None:
        if pane in self.panes:
            self._news.mark(pane)


def save_log(conversation: Conversation, folder: Path, name: str = "") -> list[Path]:
    """Writes a pane's conversation as a chat log: to `name` (NAME.md with NAME.json beside it, or NAME.json;
    relative ones under `folder`), else to `cc_YYYYMMDD_HHMMSS.md` there. Returns the files.

    Blocks: call it in a thread. Raises `UserError`, also where a file of that name is there.
    """
    if not conversation.turns:
        raise UserError("there is nothing to save yet")
    path = folder / expanded(name) if name else chat_log.default_path(folder, conversation)
    for file in chat_log.log_files(path):
        if file.exists():
            raise UserError(f"{file} is there already", "choose another name")
    return chat_log.save(conversation, path)
