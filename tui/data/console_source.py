"""Where the text of a run's log comes from: its console.log, else the log events of a stage run directly."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from nanochat.common.text import clock

if TYPE_CHECKING:
    from remote.runs import Found
    from remote.store.store import Store
    from tui.room import Room

LOG = "console.log"


class LogSource(Protocol):
    """A log of any length that may be growing, read and searched by byte offset."""

    async def fetch(self, offset: int, most: int) -> tuple[bytes, int, int]:
        """`(bytes, offset, size of the file)`; a negative offset counts from the end."""
        ...

    async def search(self, text: str, offset: int, back: bool, most: int) -> Found:
        """The nearest `most` lines that hold `text`: see `Fleet.search`."""
        ...


class RunLog:
    """The log of one run, through the fleet.

    A stage run directly printed to its own terminal and has no console.log: then the lines it logged as
    events are shown, with their time.
    """

    def __init__(self, room: Room, key: str) -> None:
        self._room = room
        self._key = key

    async def fetch(self, offset: int, most: int) -> tuple[bytes, int, int]:
        data, at, size = await self._room.fleet.console(self._key, offset, most)
        if size:
            return data, at, size
        text = await asyncio.to_thread(logged_text, self._room.store, self._key)
        at = max(0, len(text) + offset) if offset < 0 else min(offset, len(text))
        return text[at : at + most], at, len(text)

    async def search(self, text: str, offset: int, back: bool, most: int) -> Found:
        fleet = self._room.fleet
        found = await fleet.search(self._key, LOG, text, offset=offset, back=back, most=most)
        if found.size:
            return found
        return await asyncio.to_thread(self._search_logged, text, offset, back, most)

    def _search_logged(self, text: str, offset: int, back: bool, most: int) -> Found:
        from remote.agent.search import MOST_SECONDS, Wanted, find_lines
        from remote.fleet.answers import found_of

        log = logged_text(self._room.store, self._key)
        wanted = Wanted(text, offset, back, most, MOST_SECONDS)
        return found_of("local", find_lines(lambda at, size: log[at : at + size], len(log), wanted))


def logged_text(store: Store, key: str) -> bytes:
    """The lines of a run's log events, each behind its time of day."""
    lines = [
        f"{clock(event.t)} {event.data.get('text', '')}\n" for event in store.events(key, kinds=("log",))
    ]
    return "".join(lines).encode()
