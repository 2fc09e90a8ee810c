"""What the Run screen's keys do to its plots: smooth, zoom, filter, and draw other runs over this one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from nanochat.common.smoothing import UNSMOOTHED
from remote.comparison.names import distinct_names
from tui.keymap import hint
from tui.plots.frame import MAX_RUNS
from tui.plots.points import Points
from tui.screens.export_actions import ExportActions
from tui.screens.panes import PaneScreen

if TYPE_CHECKING:
    from remote.runs import RunRow
    from tui.data.overlays import Overlays
    from tui.widgets.plot import Plot
    from tui.widgets.plot_grid import PlotGrid


class PlotScreen(ExportActions, PaneScreen):
    """A screen with `plots` of the run chosen; `_overlays` are the runs that are drawn over it."""

    plots: PlotGrid
    _overlays: Overlays

    @property
    def chosen_run(self) -> RunRow | None:
        """The run whose metrics are plotted."""
        raise NotImplementedError

    @property
    def exported_plot(self) -> Plot | None:
        """The plot that was focused last, else the first in sight."""
        return self.plots.current

    def go_back(self) -> bool:
        """A plot on the whole screen gives it back first."""
        if self.plots.full is not None:
            self.plots.toggle_full()
            return True
        return super().go_back()

    async def action_plot(self, action: str) -> None:
        """Runs an action of the plots: one of the grid's, else of the current plot."""
        name = "action_" + action.partition("(")[0]
        target = self.plots if hasattr(self.plots, name) else self.plots.current
        if target is not None:
            await self.app.run_action(action, target)

    def action_smooth(self) -> None:
        share = self.plots.next_smoothing()
        over = f"over {100 * share:g} % of the points in view; fewer than {UNSMOOTHED} stay as they are"
        self.room.say(f"smoothing: moving average {over}" if share else "smoothing off: raw values")

    def action_log_y(self) -> None:
        self.room.say("logarithmic y axis" if self.plots.toggle_log() else "linear y axis")

    def action_zoom(self) -> None:
        self.plots.toggle_full()

    def action_overlay(self) -> None:
        """Asks for a run to draw over this one; one that is drawn already is removed."""
        drawn = self._overlays.keys

        def chosen(key: str | None) -> None:
            if key is None:
                return
            if key in drawn:
                self._overlays.remove(key)
                self.plots.unload(key)
                self._name_runs()
            elif len(drawn) + 1 >= MAX_RUNS:
                remove = hint("run.overlay", self.room.keymap)
                self.room.say(f"{MAX_RUNS} runs are drawn already: remove one first ({remove})", "warning")
            else:
                self._overlays.add(key)
                self.run_worker(self._overlays.read(), group="overlays")

        self._choose_run("draw a run over this one", chosen)

    def _choose_run(self, title: str, chosen: Callable[[str | None], None]) -> None:
        """Asks for another run, those of the same stage first."""
        from tui.screens.overlay import Overlay

        here = self.chosen_run
        if here is None:
            return
        others = sorted(
            (run for run in self.room.rows if run.key != here.key and run.last_seq >= 0),
            key=lambda run: run.stage != here.stage,
        )
        if others:
            self.app.push_screen(Overlay(others, self._overlays.keys, title, [here]), chosen)
        else:
            self.room.say("there is no other run", "warning")

    def action_find(self) -> None:
        from tui.screens.ask import Ask

        def chosen(text: str | None) -> None:
            if text is not None:
                self.plots.set_filter(text)

        self.app.push_screen(Ask("metrics to plot", "loss bpb tok …, empty: all"), chosen)

    async def _draw_overlay(self, key: str, metrics: Mapping[str, Points]) -> None:
        if key in self.plots.run_keys:
            self.plots.extend(key, metrics)
        elif any(run.key == key for run in self.room.rows):
            self.plots.load(key, "", metrics)
            self._name_runs()

    def _name_runs(self) -> None:
        """Names the runs drawn by what tells them apart: those of one plan have one name."""
        known = {run.key: run for run in self.room.rows}
        drawn = [known[key] for key in self.plots.run_keys if key in known]
        names = zip(drawn, distinct_names(drawn), strict=True)
        self.plots.rename({run.key: name for run, name in names})
