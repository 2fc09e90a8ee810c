"""Which curve is to be drawn over the one on screen."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Vertical

from nanochat.common.text import sanitize
from tui.screens.find_dialog import FindDialog
from tui.widgets.columns import Cell, Column
from tui.widgets.table import VirtualTable

if TYPE_CHECKING:
    from tui.data.evals.curves import Curve

COLUMNS = (
    Column("name", "checkpoint", 24, grow=2, ideal=44),
    Column("steps", "steps", 6, "right", rank=1),
    Column("host", "host", 8, grow=1, rank=2, ideal=14),
)


class CurvePicker(FindDialog["Curve | None"]):
    """Returns a curve; None when it is cancelled. Those drawn are marked."""

    def __init__(self, known: Sequence[Curve], drawn: Collection[str]) -> None:
        table: VirtualTable[Curve] = VirtualTable(
            COLUMNS, self._cells, lambda curve: curve.key, empty="nothing of that name"
        )
        super().__init__(table, "words of a checkpoint or a host")
        self._known = list(known)
        table.chosen = drawn

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog picker") as box:
            box.border_title = "draw a checkpoint over this one"
            box.border_subtitle = "⏎ draws it, or removes it · ↑ ↓ · esc"
            yield self.search
            yield self.table

    def find(self, words: list[str]) -> None:
        self.table.show(
            [one for one in self._known if all(word in f"{one.label} {one.host}".lower() for word in words)]
        )

    def _cells(self, curve: Curve) -> Mapping[str, Cell]:
        return {
            "name": (curve.label, "strong"),
            "steps": (f"{curve.steps:,}", ""),
            "host": (sanitize(curve.host, 60), "muted"),
        }

    def choose(self) -> None:
        if self.table.current is not None:
            self.dismiss(self.table.current)
