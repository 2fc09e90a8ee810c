"""Which columns the table of runs has: any figure, option or metric, found by a few letters of its name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.containers import Vertical

from nanochat.common.text import sanitize
from tui.screens.find_dialog import FindDialog
from tui.widgets.columns import Cell, Column
from tui.widgets.table import VirtualTable

COLUMNS = (
    Column("shown", "", 1),
    Column("name", "column", 20, grow=2),
    Column("kind", "kind", 8),
    Column("here", "of the run under the cursor", 16, grow=1),
)


@dataclass(frozen=True)
class Offer:
    """A column that can be shown: its name, what it is of, and what it tells of the run under the cursor.

    `title` is what it is called where that is another than its name.
    """

    name: str
    kind: str
    here: str = ""
    title: str = ""


class ColumnDialog(FindDialog[None]):
    """Shows and hides columns one by one; `toggle` does it at once and returns which are shown then."""

    def __init__(
        self,
        offers: Sequence[Offer],
        shown: Collection[str],
        toggle: Callable[[Offer], Collection[str]],
    ) -> None:
        table: VirtualTable[Offer] = VirtualTable(
            COLUMNS, self._cells, lambda offer: offer.name, empty="no such column"
        )
        super().__init__(table, "loss, depth, best:bpb, spent …")
        self._shown = shown
        self._toggle = toggle
        self._offers = list(offers)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog overlay") as box:
            box.border_title = "columns of the table"
            box.border_subtitle = "⏎ show or hide (●) · ↑ ↓ · esc done"
            yield self.search
            yield self.table

    def _cells(self, offer: Offer) -> Mapping[str, Cell]:
        on = offer.name in self._shown
        return {
            "shown": ("●" if on else "○", "accent" if on else "muted"),
            "name": (sanitize(offer.title or offer.name, 80), "strong" if on else ""),
            "kind": (offer.kind, "muted"),
            "here": (offer.here, "muted"),
        }

    def find(self, words: list[str]) -> None:
        self.table.show(
            [
                offer
                for offer in self._offers
                if all(word in f"{offer.name} {offer.title} {offer.kind}".lower() for word in words)
            ]
        )

    def choose(self) -> None:
        offer = self.table.current
        if offer is not None:
            self._shown = self._toggle(offer)
            self.table.refresh()
