"""Many changes told as few: of each thing at once where it was quiet, else when its pause is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Thing = TypeVar("Thing", bound=Hashable)


class Coalescer(Generic[Thing]):
    """`tell(thing)` is called in the event loop, at most once in `seconds` for each thing, and always once
    more after its last change."""

    def __init__(self, tell: Callable[[Thing], None], seconds: float) -> None:
        self._tell_one, self._seconds = tell, seconds
        self._told: dict[Thing, float] = {}
        self._due: dict[Thing, asyncio.TimerHandle] = {}

    def mark(self, thing: Thing) -> None:
        """Notes a change."""
        if thing in self._due:
            return
        wait = self._told.get(thing, 0.0) + self._seconds - time.monotonic()
        self._due[thing] = asyncio.get_running_loop().call_later(max(0.0, wait), self._tell, thing)

    def forget(self, thing: Thing) -> None:
        """Tells no more of a thing."""
        timer = self._due.pop(thing, None)
        if timer is not None:
            timer.cancel()
        self._told.pop(thing, None)

    def _tell(self, thing: Thing) -> None:
        self._due.pop(thing, None)
        self._told[thing] = time.monotonic()
        self._tell_one(thing)
