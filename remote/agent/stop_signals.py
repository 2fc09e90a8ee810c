"""A stop that gets firmer: SIGINT, then SIGTERM, then SIGKILL, a grace apart."""

from __future__ import annotations

import signal

STEPS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
AGAIN = 2.0


class Escalation:
    """Which signal is due when. Times are seconds of one monotonic clock."""

    def __init__(self, now: float, grace: float, first: int = 0) -> None:
        self.grace = grace
        self._step = first
        self._due = now

    def due(self, now: float) -> int | None:
        """The signal to send at `now`, or None. SIGKILL is due again and again: a fork can outrun it."""
        if now < self._due:
            return None
        number = STEPS[self._step]
        if number == signal.SIGKILL:
            self._due = now + AGAIN
        else:
            self._step += 1
            self._due = now + self.grace
        return int(number)

    def shorten(self, now: float, grace: float) -> None:
        """Takes a new grace; the next step never comes later for it."""
        if grace < self.grace:
            self.grace = grace
            self._due = min(self._due, now + grace)
