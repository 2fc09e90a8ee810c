"""Which run to draw over the one on screen, found by a few letters of its name, stage, host or id."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content

from nanochat.common.text import sanitize, when
from remote.comparison.names import distinct_names
from remote.key_metric import key_figure
from tui.screens.find_dialog import FindDialog
from tui.style.status import status_style
from tui.widgets.columns import Cell, Column
from tui.widgets.table import VirtualTable

if TYPE_CHECKING:
    from remote.runs import RunRow

COLUMNS = (
    Column("drawn", "", 1),
    Column("name", "run", 10, grow=2),
    Column("stage", "stage", 10, grow=1),
    Column("figure", "result", 13),
    Column("started", "started", 12, "right"),
)


NAMED = 200
"""Runs that are told apart from others of their name: of thousands that would take too long."""


class Overlay(FindDialog[str | None]):
    """Returns the key of a run to draw, or to remove where it is drawn; None when it is cancelled.

    The names tell the runs apart, also from those `beside`, which are not offered.
    """

    def __init__(
        self,
        runs: Sequence[RunRow],
        drawn: Collection[str],
        title: str = "draw a run over this one",
        beside: Sequence[RunRow] = (),
    ) -> None:
        table: VirtualTable[RunRow] = VirtualTable(
            COLUMNS, lambda run: self._cells(run, run.key in drawn), lambda run: run.key, empty="no such run"
        )
        super().__init__(table, "name, stage, host or id")
        self._title = title
        named = [*beside, *runs[:NAMED]]
        told = dict(zip((run.key for run in named), distinct_names(named), strict=True))
        self._names = {run.key: told.get(run.key) or sanitize(run.label, 60) for run in runs}
        self._runs = sorted(runs, key=lambda run: run.key not in drawn)
        self._now = time.time()

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog overlay") as box:
            box.border_title = Content(self._title)
            box.border_subtitle = "⏎ add, or remove one that is there (●) · ↑ ↓ · esc"
            yield self.search
            yield self.table

    def _cells(self, run: RunRow, drawn: bool) -> Mapping[str, Cell]:
        status = status_style(run.status)
        return {
            "drawn": ("●" if drawn else "", "accent"),
            "name": (f"{status.glyph} {self._names[run.key]}", "strong"),
            "stage": (sanitize(run.stage, 40), ""),
            "figure": (str(key_figure(run)), ""),
            "started": (when(run.created_at, self._now), "muted"),
        }

    def find(self, words: list[str]) -> None:
        def text(run: RunRow) -> str:
            known = (self._names[run.key], run.label, run.stage, run.host, run.run_id, run.plan_name)
            return " ".join(known).lower()

        self.table.show([run for run in self._runs if all(word in text(run) for word in words)])

    def choose(self) -> None:
        if self.table.current is not None:
            self.dismiss(self.table.current_key)
