"""Two evaluations compared on the same items: wins, losses, intervals and exact tests, task by task."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from nanochat.common.errors import UserError
from nanochat.common.text import amount, sanitize
from tui.actions.command_line import evals_line
from tui.actions.run import copy_text
from tui.data.evals import board
from tui.data.evals.differences import DifferenceRow, figure_rows, interval, paired_rows, reach_of
from tui.data.evals.item_source import ItemSource, comparison_notes
from tui.keys import bindings
from tui.screens.base import ControlScreen
from tui.widgets.columns import Cell, Column
from tui.widgets.table import VirtualTable

if TYPE_CHECKING:
    from nanochat.evals.paired import Comparison
    from remote.store.evaluations import Evaluation

INTERVAL_WIDTH = 25


def _number(value: float | None) -> tuple[int, float] | None:
    return None if value is None or math.isnan(value) else (0, value)


COLUMNS = (
    Column("task", "task", 16, ideal=32, rank=0, sort=lambda row: (0, row.name)),
    Column("verdict", "verdict", 12, rank=1, ideal=16, sort=lambda row: (0, row.verdict)),
    Column(
        "difference", "B − A", 6, "right", rank=0, sort=lambda row: _number(row.difference), descending=True
    ),
    Column("range", "95 % range", 11, "right", rank=2, sort=lambda row: _number(row.low)),
    Column("wins", "wins", 5, "right", rank=1, sort=lambda row: _number(row.wins), descending=True),
    Column("losses", "losses", 6, "right", rank=1, sort=lambda row: _number(row.losses), descending=True),
    Column("p", "McNemar p", 9, "right", rank=4, sort=lambda row: _number(row.p)),
    Column("holm", "Holm p", 7, "right", rank=3, sort=lambda row: _number(row.p_holm)),
    Column("a", "A", 6, "right", rank=5, sort=lambda row: _number(row.a), descending=True),
    Column("b", "B", 6, "right", rank=5, sort=lambda row: _number(row.b), descending=True),
    Column("items", "items", 7, "right", rank=6, sort=lambda row: _number(row.paired), descending=True),
    Column("picture", "A better │ B better", INTERVAL_WIDTH, rank=7),
)


class DifferenceTable(VirtualTable[DifferenceRow]):
    """Means stay on top, whatever the order of the tasks."""

    def __init__(self, unicode: bool) -> None:
        super().__init__(COLUMNS, self._difference, lambda row: row.name, id="differences")
        self.unicode = unicode
        self.reach = 1.0

    def in_order(self, items: Sequence[DifferenceRow]) -> list[DifferenceRow]:
        means = [row for row in items if row.is_mean]
        return [*means, *super().in_order([row for row in items if not row.is_mean])]

    def _difference(self, row: DifferenceRow) -> Mapping[str, Cell]:
        role = "" if not row.is_sure else "good" if row.difference > 0 else "bad"
        picture = interval(row, self.reach, INTERVAL_WIDTH, self.unicode)
        unpaired = row.only_a + row.only_b
        items = "" if row.paired is None else f"{row.paired:,}" + (f" −{unpaired:,}" if unpaired else "")
        return {
            "task": (sanitize(row.name, 60), "strong" if row.is_mean else ""),
            "verdict": (row.verdict, role or "muted"),
            "difference": (_signed(row.difference), role or "strong"),
            "range": (_range(row), ""),
            "wins": (_count(row.wins), ""),
            "losses": (_count(row.losses), ""),
            "p": (_p(row.p), "muted"),
            "holm": (_p(row.p_holm), "strong" if row.is_sure else "muted"),
            "a": (f"{row.a:.3f}", "muted"),
            "b": (f"{row.b:.3f}", "muted"),
            "items": (items, "warn" if unpaired else "muted"),
            "picture": (picture, role or "muted"),
        }


class DifferenceScreen(ControlScreen):
    """B less A. `others` can take B's place."""

    place = "Difference"
    groups = ("paired", "table")
    about = (
        "Two evaluations on the items that both have: a win is an item that B has right and A wrong. p is "
        "the exact McNemar test of wins against losses, Holm's p corrects it for the number of tasks; the "
        "interval is a bootstrap over items. Only what both have is compared; what they were asked "
        "differently stands below. {paired.open} opens the items of a task that the two differ in."
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("paired")
    AUTO_FOCUS = "#differences"

    def __init__(self, one: Evaluation, other: Evaluation, others: Sequence[Evaluation]) -> None:
        super().__init__()
        self.one, self.other = one, other
        self.others = [*others, one]
        self.table = DifferenceTable(self.room.unicode)
        self.table.empty = "comparing …"
        self.note = Static(id="difference-note", markup=False)
        self.source = ItemSource(lambda: self.room.fleet, self._tell)

    def body(self) -> Iterable[Widget]:
        yield self.table
        yield self.note

    def on_mount(self) -> None:
        self._compare()

    def default_focus(self) -> Widget:
        return self.table

    def _tell(self, text: str) -> None:
        if self.is_attached:
            self.table.border_subtitle = Content(text)

    def _compare(self) -> None:
        self.table.border_title = Content(
            f"A {board.title(self.one)} · B {board.title(self.other)} · B less A"
        )
        self.run_worker(self._work(), group="compare", exclusive=True)

    async def _work(self) -> None:
        one, other = self.one, self.other
        rows, notes = await self._compared(one, other)
        self.table.reach = reach_of(rows)
        self.table.empty = "the two have no task in common"
        self.table.show(rows)
        self.table.refresh()
        tasks = [row for row in rows if not row.is_mean and not row.subject]
        better = sum(row.is_sure and row.difference > 0 for row in tasks)
        worse = sum(row.is_sure and row.difference < 0 for row in tasks)
        told = f"B better in {better}, A in {worse} of {amount(len(tasks), 'task')}"
        self.table.border_subtitle = Content(told)
        self.note.update("\n".join(f" {sanitize(line, 300)}" for line in notes[:5]))

    async def _compared(self, one: Evaluation, other: Evaluation) -> tuple[list[DifferenceRow], list[str]]:
        """The rows, and what is to be said of them: from the items, else from the figures alone."""
        if one.items is None or other.items is None:
            missing = [board.title(each) for each in (one, other) if each.items is None]
            lines = [f"! no items of {' and '.join(missing)}: figures alone, not paired by item"]
            return figure_rows(one, other), [*lines, *_settings_line(one, other)]
        from nanochat.evals.paired import DRAWS, SEED

        try:
            comparison: Comparison = await self.source.compare(one, other)
        except UserError as error:
            lines = [f"! {sanitize(str(error), 200)}", "figures alone, not paired by item"]
            return figure_rows(one, other), [*lines, *_settings_line(one, other)]
        notes = [f"! {line}" for line in comparison_notes(one, other, comparison)]
        drawn = f"{len(comparison.pairs):,} items paired · {DRAWS:,} bootstrap draws, seed {SEED}"
        return paired_rows(comparison), [drawn, *notes]

    # ---- keys ----------------------------------------------------------------------------------------

    def on_virtual_table_selected(self, event: VirtualTable.Selected) -> None:
        self.action_open()

    def action_open(self) -> None:
        from tui.screens.evals.items import ItemsScreen

        row = self.table.current
        if row is None:
            return
        if row.paired is None and not row.is_mean:
            raise UserError("these two are not paired by item", "one of them came without its items")
        task = "" if row.is_mean else row.task
        self.app.push_screen(ItemsScreen(self.one, task, row.subject, self.others, self.other, self.source))

    def action_other(self) -> None:
        from tui.screens.evals.chooser import EvaluationPicker

        known = [other for other in self.others if other.id != self.one.id]

        def chosen(other: Evaluation | None) -> None:
            if other is not None:
                self.other = other
                self._compare()

        self.app.push_screen(EvaluationPicker(known, f"compare {board.title(self.one)} with"), chosen)

    def action_swap(self) -> None:
        if all(other.id != self.other.id for other in self.others):
            self.others.append(self.other)
        self.one, self.other = self.other, self.one
        self._compare()

    def action_sort(self) -> None:
        self.table.action_sort()

    def action_reverse(self) -> None:
        if self.table.order:
            self.table.action_reverse()

    def action_copy(self) -> None:
        known = list({other.id: other for other in (*self.others, self.one, self.other)}.values())
        words = ["compare", *(board.command_name(each, known) for each in (self.one, self.other))]
        line = evals_line(words, self.one.kind, str(self.room.layout.base))
        self.room.do(copy_text(self.room, line, "the command"))


def _settings_line(one: Evaluation, other: Evaluation) -> list[str]:
    from remote.evaluation_tables import setting_differences

    found = setting_differences(one, other)
    return [f"! other settings: {' · '.join(found)}"] if found else []


def _signed(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:+.3f}".replace("+0.", "+.").replace("-0.", "-.")


def _range(row: DifferenceRow) -> str:
    if row.low is None or row.high is None or math.isnan(row.low):
        return "–"
    return f"{_signed(row.low)} {_signed(row.high)}"


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _p(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "–"
    return "<0.0001" if value < 0.0001 else f"{value:.4f}"
