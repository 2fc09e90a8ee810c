"""The alerts of a run, newest on top; `enter` on one moves the plots there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.content import Content

from nanochat.common.text import clock, sanitize
from tui.keys import bindings
from tui.widgets.columns import Cell, Column
from tui.widgets.table import VirtualTable

if TYPE_CHECKING:
    from nanochat.run.events import Event

COLUMNS = (
    Column("level", "alert", 7, sort=lambda event: (0, event.data.get("level") != "error")),
    Column("time", "time", 8, sort=lambda event: (0, event.t), descending=True),
    Column(
        "step",
        "step",
        7,
        "right",
        sort=lambda event: None if event.step is None else (0, event.step),
        descending=True,
    ),
    Column("message", "what happened", 20, grow=1),
)


def alert_step(event: Event) -> float:
    """The step an alert was raised at, NaN when it had none."""
    return float(event.step) if event.step is not None else math.nan


def cells(event: Event) -> dict[str, Cell]:
    """One alert as cells."""
    error = event.data.get("level") == "error"
    return {
        "level": ("✗ error" if error else "⚠ warn", "bad" if error else "warn"),
        "time": (clock(event.t), "muted"),
        "step": (f"{event.step:,}" if event.step is not None else "", "muted"),
        "message": (sanitize(str(event.data.get("message", "")), 500), ""),
    }


class Alerts(VirtualTable["Event"]):
    """The table of alerts, hidden while there are none."""

    BINDINGS = bindings("alerts")

    def __init__(self, id: str | None = None) -> None:
        super().__init__(COLUMNS, cells, lambda event: str(event.seq), order="time", id=id)
        self.display = False

    def show(self, items: Sequence[Event]) -> None:
        self.display = bool(items)
        self.border_title = Content(f"alerts · {len(items)}")
        self.styles.height = min(6, len(items) + 3)
        super().show(items)
