"""Sweeps over the size of the vocabulary: what a larger one saves and costs, as a table and drawn."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from nanochat.commands.tok_sweep_print import cells
from nanochat.common.errors import UserError
from nanochat.common.text import amount, sanitize
from nanochat.config.data_options import TokSweepOptions
from nanochat.config.options import Value
from nanochat.tokenizer.sweep_figures import read_sweep
from tui.actions.run import copy_text
from tui.data.tokenizer import sweeps
from tui.data.tokenizer.corpora import elsewhere
from tui.data.tokenizer.kept import Kept
from tui.keymap import with_keys
from tui.keys import bindings, plot_bindings
from tui.plots.frame import MAX_RUNS, View
from tui.screens.plot_screen import PlotScreen
from tui.screens.tokenizer.kept_results import KeptResults
from tui.widgets.columns import Cell, Column
from tui.widgets.plot_grid import PlotGrid
from tui.widgets.table import VirtualTable

if TYPE_CHECKING:
    from nanochat.tokenizer.sweep_figures import Sweep
    from tui.data.tokenizer.chosen import Chosen

KIND = "sweep"
SETTING = "tok_sweep"
MOST_ROWS = 10
RANKS = {"vocabulary": 0, "bytes/tok": 0, "compute": 0, "tables": 1, "of model": 2, "tokens": 3, "fewer": 4}
"""Which columns are there at 80 cells."""
EMPTY = "no sweep yet: {sweep.run} runs one, {sweep.open} opens what `nanochat tok_sweep --json` wrote"


class SweepGrid(PlotGrid):
    """The plots of sweeps, in their own order."""

    @property
    def metrics(self) -> list[str]:
        known = set(super().metrics)
        return [metric for metric in sweeps.METRICS if metric in known]


class SweepScreen(KeptResults["Sweep"], PlotScreen):
    """One sweep at a time, or several drawn over each other."""

    place = "Sweep"
    groups = ("sweep", "plots", "plot")
    kind = noun = KIND
    setting = SETTING
    command = ("tok_sweep",)
    results = sweeps.FOLDER
    about = (
        "What a vocabulary of each size makes of the validation text, and what its tables cost in a model. "
        "{sweep.run} runs a sweep on this machine: all sizes from one training. The x axis has the sizes as "
        "their logarithms. {sweep.older} and {sweep.newer} go through the sweeps, {sweep.overlay} draws the "
        "others over this one, {sweep.open} opens a file that `nanochat tok_sweep --json` wrote."
    )
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("sweep"), *plot_bindings()]
    AUTO_FOCUS = "Plot"

    def __init__(self, chosen: Chosen) -> None:
        super().__init__()
        self.table: VirtualTable[int] = VirtualTable((), self._cells, str, id="sweep-table")
        self.table.can_focus = False
        self.plots = SweepGrid(unicode=self.room.unicode, id="sweep-plots")
        self.plots.view = View(axis_name="ids")
        self.note = Static(id="sweep-note", markup=False)
        self.is_overlaid = False
        self._rows: list[list[str]] = []
        self._header: list[str] = []

    def body(self) -> Iterable[Widget]:
        yield self.table
        yield self.plots
        yield self.note
        yield self.line

    def on_mount(self) -> None:
        self.note.update(" reading the sweeps …")

    def read_result(self, path: Path) -> Sweep:
        return read_sweep(path)

    def located(self, path: Path) -> Path:
        return path / "sweep.json" if path.is_dir() else path

    # ---- showing -------------------------------------------------------------------------------------

    def show_result(self) -> None:
        here = self.here
        self._header, self._rows = ([], []) if here is None else cells(here.document)
        if self._header:
            self.table.columns = [
                Column(name, name, max(len(name), 9), "right", rank=RANKS.get(name, 9), grow=1)
                for name in self._header
            ]
        self.table.styles.height = min(len(self._rows), MOST_ROWS) + 3
        self.set_class(here is None, "-empty")
        self.table.show(range(len(self._rows)))
        self.table.rearrange()
        self.table.border_title = Content("sweep" if here is None else self._title(here))
        nothing = with_keys(EMPTY, self.room.keymap)
        self.note.update(f" {nothing if here is None else sweeps.about(here.document)}")
        self._draw()

    def _title(self, here: Kept[Sweep]) -> str:
        size = amount(len(here.document.points), "size")
        return f"{sanitize(here.name, 60)} · {size} · {self.at + 1} of {amount(len(self.known), 'sweep')}"

    def _draw(self) -> None:
        for key in self.plots.run_keys:
            self.plots.unload(key)
        drawn = self._drawn()
        marks = sweeps.places([one.document for one in drawn])
        self.plots.view = replace(self.plots.view, places=marks, x=None)
        for one in drawn:
            self.plots.load(str(one.path), sanitize(one.path.stem, 20), sweeps.points(one.document))

    def _drawn(self) -> list[Kept[Sweep]]:
        here = self.here
        if here is None:
            return []
        others = [one for one in self.known if one is not here] if self.is_overlaid else []
        return [here, *others[: MAX_RUNS - 1]]

    def _cells(self, row: int) -> Mapping[str, Cell]:
        here = self.here
        if here is None or row >= len(self._rows):
            return {}
        is_least = here.document.points[row] is here.document.cheapest
        look = "good" if is_least else ""
        told = dict(zip(self._header, ((cell, look) for cell in self._rows[row]), strict=True))
        if is_least:
            told["compute"] = f"{self._rows[row][-1]} ★", "good"
        return told

    def on_plot_grid_full_changed(self) -> None:
        self.set_class(self.plots.full is not None, "-full")

    # ---- keys ----------------------------------------------------------------------------------------

    def default_focus(self) -> Widget | None:
        return self.plots.current

    def action_overlay(self) -> None:
        if len(self.known) < 2 and not self.is_overlaid:
            raise UserError("there is no other sweep to draw", "run one with other options")
        self.is_overlaid = not self.is_overlaid
        self._draw()

    async def ask_options(self) -> None:
        from tui.screens.tokenizer.form_dialog import FormDialog, kept_values

        found = await asyncio.to_thread(elsewhere, self.room.layout)
        first: dict[str, Value] = {"data_dir": found} if found else {}
        known = first | kept_values(TokSweepOptions, self.room.setting(SETTING))

        def chosen(options: object) -> None:
            if isinstance(options, TokSweepOptions):
                self.start(options)

        self.app.push_screen(FormDialog("sweep over vocabulary sizes", TokSweepOptions, known), chosen)

    def action_copy(self) -> None:
        here = self.here
        if here is None:
            raise UserError("there is no sweep to copy")
        self.room.do(copy_text(self.room, here.document.document(), "the sweep as JSON"))
