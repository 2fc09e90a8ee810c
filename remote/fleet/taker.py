"""What a host's stream brings, taken into the store: in a thread, or in a child process while it is much."""

from __future__ import annotations

import asyncio
from pathlib import Path

from nanochat.common import fields
from remote.fleet.agent_client import frame_of
from remote.fleet.follower import Follower
from remote.fleet.intake import Intake, Taken
from remote.store.database import StoreUnwritable
from remote.store.store import Store

MUCH = 8 << 20
"""Bytes that a host's logs must be ahead of the store for a process of its own to read them."""
LITTLE = 1 << 20
"""Bytes below which that process has done its work."""
_SMALL = 512  # bytes that a ping is never longer than


class Taker:
    """Takes the frames of one stream, in order. `taken` is told what each has changed, once committed."""

    def __init__(self, store: Store, host: str, taken: Taken) -> None:
        self._store = store
        self._host = host
        self._taken = taken
        self._follower = Follower(store, host)
        self._intake: Intake | None = None

    async def take(self, content: bytes) -> float | None:
        """Takes one frame in, or passes it on; the host's time where it is a ping.

        Raises `Resync`, or `UserError` when the store fails.
        """
        frame = frame_of(content) if self._intake is None or len(content) < _SMALL else None
        ping = frame is not None and frame.get("type") == "ping"
        if ping:
            await self._choose()
        if self._intake is not None:
            await self._give(self._intake, content)
        elif frame is not None:
            self._taken(await asyncio.to_thread(self._follower.take, frame))
        return fields.moment(frame.get("t")) if frame is not None and ping else None

    async def _give(self, intake: Intake, content: bytes) -> None:
        try:
            await intake.give(content)
        except StoreUnwritable as error:
            self._store.note_trouble(str(error))
            raise

    async def _choose(self) -> None:
        """Starts the process when the host is far ahead, ends it when all is read: asked at each ping."""
        unread = await asyncio.to_thread(self._store.unread_bytes, self._host)
        if self._intake is None and unread > MUCH:
            self._intake = await Intake.start(Path(self._store.path), self._host, self._taken)
        elif self._intake is not None and unread < LITTLE:
            await self._intake.settle()
            await self.close()

    async def close(self) -> None:
        """Ends the process, if there is one."""
        intake, self._intake = self._intake, None
        if intake is not None:
            await intake.close()
