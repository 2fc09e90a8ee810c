"""Where the text of a run's log comes from: its console.log, else the log events of a stage run directly."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from nanochat.common.text import clock
from tui.data.console import Fetch

if TYPE_CHECKING:
    from remote.store.store import Store
    from tui.room import Room


def console_of(room: Room, key: str) -> Fetch:
    """Reads a run's console.log through the fleet.

    A stage run directly printed to its own terminal and has none: then the lines it logged as events are
    shown, with their time.
    """

    async def fetch(offset: int, most: int) -> tuple[bytes, int, int]:
        data, at, size = await room.fleet.console(key, offset, most)
        if size:
            return data, at, size
        text = await asyncio.to_thread(logged_text, room.store, key)
        at = max(0, len(text) + offset) if offset < 0 else min(offset, len(text))
        return text[at : at + most], at, len(text)

    return fetch


def logged_text(store: Store, key: str) -> bytes:
    """The lines of a run's log events, each behind its time of day."""
    lines = [
        f"{clock(event.t)} {event.data.get('text', '')}\n" for event in store.events(key, kinds=("log",))
    ]
    return "".join(lines).encode()
