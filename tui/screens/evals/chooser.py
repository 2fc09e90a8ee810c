"""Dialogs that choose evaluations: one to compare with, or those that are columns."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ScreenResultType

from nanochat.common.text import sanitize, when
from tui.data.evals import board
from tui.screens.find_dialog import FindDialog
from tui.widgets.columns import Cell, Column
from tui.widgets.table import VirtualTable

if TYPE_CHECKING:
    from remote.store.evaluations import Evaluation

COLUMNS = (
    Column("name", "checkpoint", 20, grow=2, ideal=36),
    Column("score", "score", 14, rank=1),
    Column("note", "", 14, grow=1, rank=2, ideal=24),
    Column("host", "host", 8, rank=3, ideal=14),
    Column("when", "made", 12, "right", rank=4),
)


class EvaluationList(FindDialog[ScreenResultType]):
    """Evaluations with a field that finds them."""

    def __init__(self, evaluations: Sequence[Evaluation], title: str) -> None:
        table: VirtualTable[Evaluation] = VirtualTable(
            COLUMNS, self._cells, lambda one: str(one.id), empty="nothing of that name"
        )
        super().__init__(table, "words of a checkpoint, a host or its settings")
        self._title = title
        self._all = list(evaluations)
        self._now = time.time()

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog picker") as box:
            box.border_title = Content(self._title)
            box.border_subtitle = Content(self.how_to())
            yield self.search
            yield self.table

    def how_to(self) -> str:
        """The keys, in a line."""
        return "⏎ choose · ↑ ↓ · type to find · esc"

    def find(self, words: list[str]) -> None:
        found = self._all
        if words:
            texts = zip(self._all, self._texts, strict=True)
            found = [one for one, text in texts if all(word in text for word in words)]
        self.table.show(found)

    @cached_property
    def _texts(self) -> list[str]:
        """What of each evaluation is searched, in small letters: made at the first letter of a search."""
        return [
            f"{one.name} {one.host} {board.note(one, ())[0]} {board.about(one, self._now)}".lower()
            for one in self._all
        ]

    def _cells(self, one: Evaluation) -> Mapping[str, Cell]:
        note, role = board.note(one, ())
        error = "" if one.mean_stderr is None else f" ±{one.mean_stderr:.3f}"
        return {
            "name": (board.title(one), "strong"),
            "score": ("" if one.mean is None else f"{one.mean:.4f}{error}", ""),
            "note": (note, role),
            "host": (sanitize(one.host, 60), "muted"),
            "when": (when(one.t, self._now) if one.t else "", "muted"),
        }


class EvaluationPicker(EvaluationList["Evaluation | None"]):
    """Returns one evaluation; None when it is cancelled."""

    def choose(self) -> None:
        if self.table.current is not None:
            self.dismiss(self.table.current)


class ColumnChooser(EvaluationList["frozenset[int] | None"]):
    """Returns the ids of those that shall be columns; None when it is cancelled."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "mark", "mark", show=False),
        Binding("ctrl+a", "mark_all", "all", show=False, priority=True),
    ]

    def __init__(self, evaluations: Sequence[Evaluation], chosen: Collection[int]) -> None:
        super().__init__(evaluations, "columns")
        self._chosen = set(chosen)

    def how_to(self) -> str:
        return "tab marks · ctrl+a all or none of those shown · ⏎ take them · esc"

    def on_mount(self) -> None:
        super().on_mount()
        self._show_marks()

    def _show_marks(self) -> None:
        self.table.chosen = frozenset(str(one) for one in self._chosen)
        self.table.refresh()

    def action_mark(self) -> None:
        one = self.table.current
        if one is not None:
            self._chosen ^= {one.id}
            self._show_marks()
            self.table.action_move(1)

    def action_mark_all(self) -> None:
        shown = {one.id for one in self.table.items}
        self._chosen = self._chosen - shown if shown <= self._chosen else self._chosen | shown
        self._show_marks()

    def choose(self) -> None:
        self.dismiss(frozenset(self._chosen))
