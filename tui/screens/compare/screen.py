"""Compare: two to six runs side by side: settings, curves over one axis, figures at equal places."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from remote.comparison import MOST_RUNS
from remote.comparison.curves import ALIGNED_AXES
from remote.comparison.lines import BANDS
from remote.comparison.settings import Facts, read_facts
from remote.comparison.table import TOTALS
from tui.data.compare.state import CompareState
from tui.data.overlays import Overlays
from tui.keymap import with_keys
from tui.keys import bindings, plot_bindings
from tui.plots.compare_figures import FigureMaker, FigureTable, Wanted
from tui.plots.derived import Derivation
from tui.plots.frame import MAX_RUNS
from tui.plots.points import Points
from tui.plots.raster import submit
from tui.plots.run_metrics import RunMetrics
from tui.screens.compare.actions import CompareActions
from tui.screens.compare.tables import LEGEND, FiguresTable, SettingsTable
from tui.screens.panes import Split
from tui.screens.plot_panes import PlotPanes
from tui.widgets.compared_runs import ComparedRun, ComparedRuns
from tui.widgets.pane_tabs import PaneTabs
from tui.widgets.plot import Plot
from tui.widgets.plot_grid import NOT_PLOTTED, PlotGrid

if TYPE_CHECKING:
    from remote.runs import Change, RunRow

PANES = (("plots", "curves"), ("figures", "figures"), ("settings", "settings"))
SETTING, LOOKS = "compare", "compare_plots"


class CompareScreen(CompareActions, PlotPanes):
    """The runs of `keys`; the others are compared with the first."""

    place = "Compare"
    groups = ("compare", "plots", "plot", "table", "panes")
    splits = (
        Split("settings", "#settings", "columns", before=True, least=30, leave=44, near="#settings"),
        Split("figures", "#figures", "rows", least=5, leave=12),
    )
    about = (
        "Runs side by side. The settings that differ come first; {compare.differences} shows only those. "
        "Figures are told where all runs have points: at the last common place of the x axis "
        "({plots.axis}: step, tokens, FLOPs, active time), at the cursor ({plot.cursor_left} and "
        "{plot.cursor_right}), at places that were kept ({compare.keep}, {compare.place}) and where each run "
        "ends; between two points a value is interpolated (≈ before an evaluation), beyond a run's last one "
        "there is none. Noisy metrics are smoothed as they are drawn. {compare.gap} draws how far the runs "
        "lie from the base instead, {compare.base} makes the next run the base, {compare.group} takes seeds "
        "or tags together as a mean with a band, {compare.band} changes the band: lowest to highest, or the "
        "mean ± its standard error. {compare.overlay} adds a run, or removes one."
    )
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("compare"), *plot_bindings()]
    AUTO_FOCUS = "Plot"
    PANE_ORDER: ClassVar[tuple[str, ...]] = ("settings", "plots", "figures")

    def __init__(self, keys: Sequence[str]) -> None:
        super().__init__()
        self.state = CompareState(list(keys))
        self.state.set_looks(self.room.setting(SETTING))
        self.heads = ComparedRuns(id="compared")
        self.notes = Static(id="compare-notes", markup=False)
        self.panes = PaneTabs(PANES, id="panes", next_key="compare.next_pane")
        self.plots = PlotGrid(unicode=self.room.unicode, id="plots")
        self.plots.most_runs = MOST_RUNS
        self.plots.axes = ALIGNED_AXES
        self.plots.left_out = (*NOT_PLOTTED, *TOTALS)
        self.plots.set_looks(self.room.setting(LOOKS) or self.room.setting("plots"))
        if self.plots.view.axis not in ALIGNED_AXES:
            self.plots.view = replace(self.plots.view, axis="step")
        self.settings = SettingsTable(id="settings")
        self.figures = FiguresTable(id="figures")
        self._overlays = Overlays(lambda: self.room.store, self._draw_overlay)
        self._maker = FigureMaker()
        self._due = False
        self._computing = False
        self._reading_facts = False

    def body(self) -> Iterable[Widget]:
        self._set_first_classes()
        self.settings.border_title, self.figures.border_title = "settings", "figures"
        yield self.heads
        yield self.notes
        yield self.panes
        with Horizontal(id="upper"):
            yield self.settings
            with Vertical(id="compare-right"):
                yield self.plots
                yield self.figures

    def on_mount(self) -> None:
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        for key in self.state.keys:
            self._overlays.add(key)
        self._read()

    # ---- data ----------------------------------------------------------------------------------------

    @property
    def chosen_run(self) -> RunRow | None:
        """The run that the others are compared with."""
        return self.state.rows.get(self.state.keys[0])

    @property
    def chosen_runs(self) -> list[RunRow]:
        """The runs that are compared."""
        return [self.state.rows[key] for key in self.state.keys if key in self.state.rows]

    def changed(self, changes: frozenset[Change]) -> None:
        self.plots.freeze(self.room.frozen)
        if self.room.frozen:
            return
        self.state.see(self.room.rows)
        self._show_heads()
        if self._overlays.note(change.key for change in changes):
            self._read()
        self._read_facts()

    def _read(self) -> None:
        self.run_worker(self._overlays.read(), group="overlays")

    async def _draw_overlay(self, key: str, metrics: Mapping[str, Points]) -> None:
        if key in self.plots.run_keys:
            self.plots.extend(key, metrics)
        elif key in self.state.rows:
            self.plots.load(key, "", metrics)
            self._show_lines()
        self._request_figures()

    def _read_facts(self) -> None:
        if self.state.stale_facts and not self._reading_facts:
            self._reading_facts = True
            self.run_worker(self._facts(), group="facts")

    async def _facts(self) -> None:
        store = self.room.store
        try:
            for key in self.state.stale_facts:
                run = self.state.rows.get(key)
                if run is None:
                    continue  # removed while the facts of another were read
                facts: Facts = await asyncio.to_thread(read_facts, store, run)
                if key in self.state.rows:
                    self.state.facts[key] = facts
        finally:
            self._reading_facts = False
        self._show_settings()
        self._show_lines()
        self._request_figures()

    # ---- what is shown -------------------------------------------------------------------------------

    def _show_all(self) -> None:
        self._show_heads()
        self._show_settings()
        self._show_lines()
        self._request_figures()

    def _show_heads(self) -> None:
        comparison = self.state.comparison()
        colours = self.state.colours(comparison, MAX_RUNS)
        self.heads.show(
            [
                ComparedRun(
                    facts.run,
                    comparison.letter(at),
                    comparison.names[at],
                    colours[at],
                    at == 0,
                    at in comparison.gone,
                )
                for at, facts in enumerate(comparison.facts)
            ]
        )

    def _show_settings(self) -> None:
        comparison, only = self.state.comparison(), self.state.only_differences
        found = comparison.settings
        self.settings.show_settings(found, comparison.letters, only)
        count = sum(one.differs for one in found)
        title = f"settings · {count} of {len(found)} differ" + (" · only those" if only else "")
        self.settings.border_title = Content(title)

    def _show_lines(self) -> None:
        """Tells the plots what to draw: the runs, their distances to the first, or groups."""
        comparison = self.state.comparison()
        loaded = [facts.run.key for facts in comparison.facts]
        named = zip(loaded, comparison.names, strict=True)
        self.plots.rename({key: self.state.label(key, name) for key, name in named})
        drawing = self.state.drawing(comparison, MAX_RUNS)
        if drawing is None:
            self.plots.set_shown(loaded[:MAX_RUNS])
        else:
            made = Derivation(drawing.groups, drawing.labels, drawing.gap, drawing.band, drawing.caption)
            self.plots.set_shown(loaded, made if all(map(self.plots.metrics_of, loaded)) else None)
        self._show_heads()

    def _request_figures(self) -> None:
        """Computes the table of figures, once more when that is under way."""
        self._due = True
        if not self._computing and self.is_mounted:
            self._computing = True
            self.run_worker(self._compute(), group="figures")

    async def _compute(self) -> None:
        try:
            while self._due:
                self._due = False
                runs = self._loaded()
                table = await asyncio.wrap_future(submit(self._maker.make, self._wanted(), runs))
                self._show_figures(table)
        finally:
            self._computing = False

    def _loaded(self) -> dict[str, RunMetrics]:
        found = {key: self.plots.metrics_of(key) for key in self.state.keys}
        return {key: run for key, run in found.items() if run is not None}

    def _wanted(self) -> Wanted:
        state = self.state
        return Wanted(
            state.comparison(),
            self.plots.view,
            state.by,
            state.band,
            state.places_on(self.plots.view.axis),
            self.plots.cursor,
        )

    def _show_figures(self, table: FigureTable) -> None:
        self.figures.show_figures(table)
        band = f" · mean, {BANDS[self.state.band]}" if self.state.by else ""
        self.figures.border_title = Content(f"figures at equal {self.plots.view.axis}{band}")
        self.figures.border_subtitle = Content(
            with_keys(f"{LEGEND} · {{plots.axis}} x axis", self.room.keymap)
        )
        text = " · ".join(table.notes)
        self.notes.display = bool(text)
        self.notes.update(f" ⚠ {text}" if text else "")

    # ---- panes ---------------------------------------------------------------------------------------

    def _pane_widget(self, pane: str) -> Widget:
        if pane == "plots":
            return self.plots.current or self.plots
        return self.settings if pane == "settings" else self.figures

    def _panes_in_turn(self) -> list[str]:
        return [name for name, _ in PANES] if self._narrow else list(self.PANE_ORDER)

    def on_plot_grid_looks_changed(self) -> None:
        self.room.remember(LOOKS, self.plots.looks)
        self._request_figures()

    def on_plot_cursor_moved(self, event: Plot.CursorMoved) -> None:
        self._request_figures()

    def on_plot_zoomed(self, event: Plot.Zoomed) -> None:
        self._request_figures()
