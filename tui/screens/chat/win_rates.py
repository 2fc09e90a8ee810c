"""The votes of blind mode as win rates, with their intervals."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from nanochat.common.text import amount, sanitize
from tui.screens.base import ControlScreen
from tui.widgets.columns import Cell, Column
from tui.widgets.table import VirtualTable

if TYPE_CHECKING:
    from tui.data.chat.win_rates import WinRate

COLUMNS = (
    Column("model", "model", 20, grow=2, ideal=40, sort=lambda row: (1, row.model), frozen=True),
    Column("rate", "win rate", 8, "right", sort=lambda row: (0, row.rate), descending=True),
    Column("interval", "95 % interval", 13, "right"),
    Column("bar", "0 % to 100 %", 21, grow=1, rank=2, ideal=41),
    Column("votes", "votes", 6, "right", sort=lambda row: (0, row.votes), descending=True),
    Column("wins", "wins", 5, "right", rank=1),
    Column("ties", "ties", 5, "right", rank=1),
    Column("losses", "losses", 6, "right", rank=1),
    Column("bad", "all bad", 7, "right", rank=3),
)
BAR = 21


class WinRatesScreen(ControlScreen):
    """A row a model, the best first."""

    place = "Win rates"
    groups = ("table",)
    about = (
        "How often each model's answer was preferred in blind mode. A tie counts as half a win; votes that "
        "found all answers bad are told and not counted. The interval is Wilson's score interval for 95 % "
        "(Wilson 1927): two models whose intervals overlap are not told apart by these votes."
    )
    AUTO_FOCUS = "VirtualTable"

    def __init__(self) -> None:
        super().__init__()
        self.table: VirtualTable[WinRate] = VirtualTable(
            COLUMNS, _cells, lambda row: row.model, empty="no vote yet: blind mode, then a vote", order="rate"
        )
        self.note = Static(id="win-note", markup=False)

    def body(self) -> Iterable[Widget]:
        yield self.table
        yield self.note

    def on_mount(self) -> None:
        self.table.border_title = "win rates"
        self.run_worker(self._read(), group="read")

    async def _read(self) -> None:
        from tui.data.chat.win_rates import win_rates

        votes = await asyncio.to_thread(self.room.store.votes)
        self.table.show(win_rates(votes))
        self.table.border_title = Content(f"win rates · {amount(len(votes), 'vote')}")
        self.note.update(
            " ├─●─┤ the rate within its 95 % interval · half a win for a tie · all bad not counted"
        )


def _cells(row: WinRate) -> Mapping[str, Cell]:
    return {
        "model": (sanitize(row.model, 100), "strong"),
        "rate": (f"{100 * row.rate:.0f} %", ""),
        "interval": (f"{100 * row.low:.0f}–{100 * row.high:.0f} %", "muted"),
        "bar": (interval_bar(row.rate, row.low, row.high), "live"),
        "votes": (f"{row.votes:,}", ""),
        "wins": (f"{row.wins:,}", ""),
        "ties": (f"{row.ties:,}", ""),
        "losses": (f"{row.losses:,}", ""),
        "bad": (f"{row.all_bad:,}" if row.all_bad else "", "muted"),
    }


def interval_bar(rate: float, low: float, high: float, width: int = BAR) -> str:
    """An interval on a line from 0 to 1: `·····├──●───┤·····`."""
    left, at, right = (round((width - 1) * max(0.0, min(1.0, share))) for share in (low, rate, high))
    cells = ["·"] * width
    cells[left : right + 1] = ["─"] * (right + 1 - left)
    cells[left], cells[right] = "├", "┤"
    cells[at] = "●"
    return "".join(cells)
