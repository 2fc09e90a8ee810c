"""When Python looks for garbage: while nobody is typing.

A full collection walks over every object of the app and takes 50 to 150 ms. Left to itself it comes in the
middle of what makes most objects, such as opening a screen.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.style import Style
    from textual.strip import Strip

SETTLED = 5.0
"""Seconds after the start at which what is there is taken to stay."""
QUIET = 2.0
"""Seconds without a key or a mouse event."""
APART = 20.0
"""Seconds between two full collections."""
YOUNG, MIDDLE = 2_000, 5
DUE, OVERDUE = 40, 800
"""Collections of the middle generation after which a full one is due, and then not put off any longer."""


def hold_collections() -> None:
    """Puts collections off until an `IdleCollector` takes over: while modules are loaded there is no garbage,
    and looking for it takes a tenth of the time."""
    gc.disable()


def free_strips() -> None:
    """Lets the lines that Textual paints (`Strip`) go as soon as nobody has them.

    In Textual 8.2 a strip that is divided at its own end, or given the length it has, keeps itself in its own
    caches: a circle of seven objects, left for the collector. Four panes of text that stream made 170,000 of
    them in half a minute, and a full collection took 0.3 s. Here such a strip is given back and not kept.
    """
    from textual.strip import Strip

    adjust, divide = Strip.adjust_cell_length, Strip.divide
    if divide.__module__ == __name__:
        return  # done before

    def adjust_cell_length(strip: Strip, cell_length: int, style: Style | None = None) -> Strip:
        return strip if strip.cell_length == cell_length else adjust(strip, cell_length, style)

    def divide_at(strip: Strip, cuts: Iterable[int]) -> Sequence[Strip]:
        within = [cut for cut in cuts if cut <= strip.cell_length]
        return [strip] if within == [strip.cell_length] else divide(strip, within)

    def crop_extend(strip: Strip, start: int, end: int, style: Style | None) -> Strip:
        return strip.extend_cell_length(end, style).crop(start, end)

    methods = {"adjust_cell_length": adjust_cell_length, "divide": divide_at, "crop_extend": crop_extend}
    for name, method in methods.items():
        setattr(Strip, name, method)


class IdleCollector:
    """Takes full collections over from Python. `tick` is called about once a second."""

    def __init__(self) -> None:
        free_strips()
        gc.freeze()  # what is loaded by now stays: it need not be looked at again
        gc.set_threshold(YOUNG, MIDDLE, 1_000_000)
        self._started = self._last = time.monotonic()
        self._settled = False

    def tick(self, last_input: float) -> None:
        """Collects if that is due and the last input (`last_input`, monotonic time in s) is a while ago."""
        gc.enable()  # the first frame is painted
        now = time.monotonic()
        waiting = gc.get_count()[2]
        quiet = now - last_input > QUIET
        if not self._settled and quiet and now - self._started > SETTLED:
            self._settled, self._last = True, now
            gc.collect()
            gc.freeze()  # modules loaded after the first frame, and the screens, which are kept
        elif waiting >= OVERDUE or (waiting >= DUE and quiet and now - self._last > APART):
            self._last = now
            gc.collect()
