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
        self._timer: asyncio.TimerHandle | None = None

    def mark(self, thing: Thing) -> None:
        """Notes a change."""
        self._due[thing] = None
        if self._timer is None:
            wait = self._told + self._seconds - time.monotonic()
            self._timer = asyncio.get_running_loop().call_later(max(0.0, wait), self._tell)

    def forget(self, thing: Thing) -> None:
        """Tells no more of a thing."""
        self._due.pop(thing, None)

    def _tell(self) -> None:
        self._timer = None
        self._told = time.monotonic()
        due, self._due = self._due, {}
        for thing in due:
            try:
                self._tell_one(thing)
            except Exception as error:  # the others are told all the same
                context = {"message": "a change could not be shown", "exception": error}
                asyncio.get_running_loop().call_exception_handler(context)
