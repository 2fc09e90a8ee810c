"""A stop that gets firmer: SIGINT, then SIGTERM, then SIGKILL, a grace apart.

A stage says in its run directory what it does that must not be broken off (`activity.json`). While it saves a
checkpoint it is never killed; an evaluation that several processes can only end together gets more time.
"""

from __future__ import annotations

import signal

from . import procs
from .rundirs import RunDir

STEPS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
AGAIN = 2.0
SAVING = "saving"
PATIENCE = {"evaluating": 600.0}
"""Seconds that an activity puts off SIGKILL; saving does so for as long as it takes."""


class Escalation:
    """Which signal is due when. Times are seconds of one monotonic clock."""

    def __init__(self, now: float, grace: float, first: int = 0) -> None:
        self.grace = grace
        self._step = first
        self._due = now

    def kills(self, now: float) -> bool:
        """Whether the signal due at `now` is SIGKILL."""
        return now >= self._due and STEPS[self._step] == signal.SIGKILL

    def overdue(self, now: float) -> float:
        """Seconds since the present signal became due."""
        return max(0.0, now - self._due)

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


def puts_off_kill(directory: RunDir, overdue: float) -> str:
    """What the stage does that puts off a SIGKILL which is `overdue` for so many seconds; "" when nothing.

    What a process wrote that has died since counts for nothing.
    """
    activity = directory.read_activity()
    if activity is None:
        return ""
    doing = str(activity["doing"])
    if not procs.alive(activity["pid"], None):
        return ""
    if doing == SAVING or overdue < PATIENCE.get(doing, 0.0):
        return doing
    return ""
