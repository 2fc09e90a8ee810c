"""Many changes told as few: at once where it was quiet, else together when the pause is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Thing = TypeVar("Thing", bound=Hashable)


class Coalescer(Generic[Thing]):
    """`tell(thing)` is called in the event loop, at most once in `seconds` for each thing, and always once
    more after its last change. Things that change together are told together: a screen is painted once."""

    def __init__(self, tell: Callable[[Thing], None], seconds: float) -> None:
        self._tell_one, self._seconds = tell, seconds
        self._told = 0.0
        self._due: dict[Thing, None] = {}
        """What has changed since the last round."""
        self._round: dict[Thing, None] = {}
        """What is still to be told in this one."""
        self._handle: asyncio.Handle | None = None

    def mark(self, thing: Thing) -> None:
        """Notes a change."""
        self._due[thing] = None
        if self._handle is None:
            wait = self._told + self._seconds - time.monotonic()
            self._handle = asyncio.get_running_loop().call_later(max(0.0, wait), self._begin)

    def forget(self, thing: Thing) -> None:
        """Tells no more of a thing."""
        self._due.pop(thing, None)
        self._round.pop(thing, None)

    def _begin(self) -> None:
        self._told = time.monotonic()
        self._round, self._due = self._due, {}
        self._next()

    def _next(self) -> None:
        """Tells the next of the round. Each in a turn of the loop of its own: together they may take long."""
        thing = next(iter(self._round), None)
        self._handle = None
        if thing is not None:
            del self._round[thing]
        if self._round:
            self._handle = asyncio.get_running_loop().call_soon(self._next)
        elif self._due:
            self.mark(next(iter(self._due)))
        if thing is not None:
            self._tell_one(thing)
