"""What a model's thread tells event loops: all that one step has to say in one call.

A call wakes the loop by a byte in its pipe. The thread lets go of the interpreter to write it, and the loop
has it before the thread: a call a row would cost as many turns of the two.
"""

import asyncio
from collections.abc import Callable
from typing import TypeAlias

Call: TypeAlias = Callable[[], None]


class HandOver:
    """Calls that wait to be handed to their loops, in order."""

    def __init__(self) -> None:
        self._calls: dict[asyncio.AbstractEventLoop, list[tuple[Call, Call]]] = {}

    def add(self, loop: asyncio.AbstractEventLoop, call: Call, closed: Call) -> None:
        """Has `call` called in `loop` after `flush`; `closed` at once where the loop is closed by then."""
        self._calls.setdefault(loop, []).append((call, closed))

    def flush(self) -> None:
        """Hands over what was added since the last time."""
        if not self._calls:
            return
        waiting, self._calls = self._calls, {}
        for loop, calls in waiting.items():
            try:
                loop.call_soon_threadsafe(_call_all, [call for call, _ in calls])
            except RuntimeError:  # the loop is closed: nobody waits any more
                for _, closed in calls:
                    closed()


def _call_all(calls: list[Call]) -> None:
    for call in calls:
        call()
