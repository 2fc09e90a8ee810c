"""The runs drawn over the one on screen: what has to be read of each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from tui.data.run_reader import RunReader

if TYPE_CHECKING:
    from remote.store.series import Series
    from remote.store.store import Store

Deliver = Callable[[str, "Mapping[str, Series]"], Awaitable[None]]


class Overlays:
    """Reads what is new of each overlaid run in a worker thread and delivers (key, metrics), in order."""

    def __init__(self, store: Callable[[], Store], deliver: Deliver) -> None:
        self._store = store
        self._deliver = deliver
        self._readers: dict[str, RunReader] = {}
        self._due: set[str] = set()
        self._reading = False

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(self._readers)

    def add(self, key: str) -> None:
        """Begins with a run; `read` brings it."""
        self._readers[key] = RunReader(self._store(), key)
        self._due.add(key)

    def remove(self, key: str) -> None:
        self._readers.pop(key, None)

    def clear(self) -> None:
        self._readers.clear()

    def note(self, keys: Iterable[str]) -> bool:
        """Remembers which runs have something new; True when `read` has to be called."""
        self._due |= self._readers.keys() & set(keys)
        return bool(self._due) and not self._reading

    async def read(self) -> None:
        """Reads until nothing is due, also what became due meanwhile."""
        if self._reading:
            return
        self._reading = True
        try:
            while self._due:
                reader = self._readers.get(self._due.pop())
                if reader is None:
                    continue
                metrics = await asyncio.to_thread(reader.read_metrics)
                if self._readers.get(reader.key) is reader:
                    await self._deliver(reader.key, metrics)
        finally:
            self._reading = False
