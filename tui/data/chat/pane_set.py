"""The panes of the Chat screen together: one input to all or one, and who hears of changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from nanochat.serve.conversation import AnswerSettings
from tui.data.chat.pane import Pane
from tui.data.chat.target import PaneTarget
from tui.data.chat.tree import TurnNode

MOST_PANES = 4
CHANGE_SECONDS = 0.05
"""How far apart the calls of `on_change` for a pane are at least."""


class OpenService(Protocol):
    """What a service tells: see `remote.fleet.services.Service`."""

    @property
    def url(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def device(self) -> str: ...


class ServiceSource(Protocol):
    """What the panes need of `remote.fleet.services.Services`."""

    async def open(self, host: str, device: str | None, waiting: Callable[[str], None]) -> OpenService: ...


class PaneSet:
    """One to four panes. `on_change(pane)` is called in the event loop at most 20 times a second a pane,
    and always once more after its last change. `services` None: only endpoints can be opened."""

    def __init__(self, services: ServiceSource | None, on_change: Callable[[Pane], None]) -> None: ...

    panes: list[Pane]
    given: set[str]

    def add(self, target: PaneTarget, settings: AnswerSettings | None = None) -> Pane:
        """A new pane, still closed. Raises `UserError` when there are four."""
        raise NotImplementedError

    async def remove(self, pane: Pane) -> None:
        """Closes it and takes it out."""

    def ask(self, question: str, panes: Sequence[Pane] | None = None) -> list[TurnNode]:
        """Asks in all panes (or those) that can be asked now. Raises `UserError` when none can."""
        raise NotImplementedError

    def stop(self) -> None:
        """Ends every answer that is coming."""

    async def close(self) -> None:
        """Ends everything. Services stay with the fleet, which ends them with the app."""

    def save(self, pane: Pane, folder: Path, path: Path | None = None) -> list[Path]:
        """Writes the pane's path as a chat log (`nanochat.serve.chat_log`): to `path`, else to the next free
        name in `folder`. Blocks: call it in a thread. Raises `UserError`."""
        raise NotImplementedError

    def document(self) -> dict[str, Any]:
        """Targets and settings of the panes as JSON, for `Room.remember("chat", …)`; no conversations."""
        raise NotImplementedError

    def restore(self, document: object) -> None:
        """Makes the panes of a document, closed; what is wrong in it is left out."""
