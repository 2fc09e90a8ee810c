"""Run: one run, live. Plots, machine, samples and log, side by side on a wide screen, else behind tabs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widget import Widget
from textual.widgets import Input

from nanochat.common.text import sanitize
from remote.run_summary import reading
from tui.actions.mark_bindings import MarkActions
from tui.actions.run_bindings import RunActions
from tui.data.console_source import RunLog
from tui.data.overlays import Overlays
from tui.data.run_reader import RunReader, RunUpdate
from tui.keys import bindings, plot_bindings
from tui.plots.frame import Alert
from tui.screens.panes import Split
from tui.screens.plot_panes import PlotPanes
from tui.widgets.alerts import Alerts, alert_step
from tui.widgets.ended_summary import EndedSummary, Outcome
from tui.widgets.gpu_grid import GpuGrid
from tui.widgets.log_pane import LogPane
from tui.widgets.pane_tabs import PaneTabs
from tui.widgets.plot_grid import PlotGrid
from tui.widgets.run_header import RunHeader
from tui.widgets.samples import Samples
from tui.widgets.table import VirtualTable

if TYPE_CHECKING:
    from nanochat.run.events import Event
    from remote.runs import Change, RunRow

LOG_SECONDS = 1.5
LOG_DRAIN_SECONDS = 5.0
"""Seconds for which a log is still read after its run ended, or after an ended run was opened."""
TELEMETRY_SLICE = 200
PANES = (("plots", "plots"), ("machine", "machine"), ("samples", "samples"), ("log", "log"))


class RunScreen(MarkActions, RunActions, PlotPanes):
    """The run that `ControlRoom.run_key` names."""

    tab = "run"
    groups = ("run", "plots", "plot", "panes", "samples", "gpus", "alerts", "log")
    splits = (
        Split("machine", "#machine", "rows", before=True, least=4, leave=5, near="#side"),
        Split("log", "LogPane", "rows", least=5, leave=14),
        Split("side", "#side", "columns", least=30, leave=44),
    )
    hideable: ClassVar[dict[str, str]] = {"log": "LogPane", "side": "#side"}
    about = (
        "One run, live. Curves are smoothed ({run.smooth}) over the faint raw line, and figures are those of "
        "the bright line, the raw ones in brackets. Arrow keys go from plot to plot, {run.zoom} gives one "
        "the whole screen; one cursor ({plot.cursor_left} and {plot.cursor_right}) reads all of them. In the "
        "log {log.find} finds, {log.filter} filters and {log.follow} follows. On a narrow screen the panes "
        "are tabs: {run.log} shows the next one. On a wide one {run.hide_log} hides the log, {run.hide_side} "
        "the side panel."
    )
    # The keys of plots work from everywhere on the screen; a pane with focus takes its own keys first.
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("run"), *plot_bindings()]
    AUTO_FOCUS = "Plot"
    PANE_ORDER: ClassVar[tuple[str, ...]] = tuple(name for name, _ in PANES)

    def __init__(self) -> None:
        super().__init__()
        self.header = RunHeader(id="header")
        self.panes = PaneTabs(PANES, id="panes")
        self.plots = PlotGrid(unicode=self.room.unicode, id="plots")
        self.plots.set_looks(self.room.setting("plots"))
        self.gpus = GpuGrid(unicode=self.room.unicode, id="gpus")
        self.summary = EndedSummary(id="summary")
        self.outcome = Outcome()
        self.samples = Samples(id="samples")
        self.alerts = Alerts(id="alerts")
        self.log_pane = LogPane(id="log")
        self._reader: RunReader | None = None
        self._drawn = False
        self._reading = False
        self._wanted = False
        self._behind = False
        self._alerts: list[Event] = []
        self._log_polled = 0.0
        self._log_until = 0.0
        self._overlays = Overlays(lambda: self.room.store, self._draw_overlay)

    def body(self) -> Iterable[Widget]:
        self._set_first_classes()
        yield self.header
        yield self.panes
        with Horizontal(id="upper"):
            yield self.plots
            with Vertical(id="side"):
                yield self.summary
                machine = VerticalScroll(self.gpus, id="machine", can_focus=False)
                machine.border_title = "machine"
                yield machine
                yield self.samples
        yield self.alerts
        yield self.log_pane

    @property
    def chosen_run(self) -> RunRow | None:
        """The run shown, as last read."""
        return self.room.shown_run

    @property
    def chosen_runs(self) -> list[RunRow]:
        """The run shown."""
        return [run for run in (self.chosen_run,) if run is not None]

    # ---- panes ---------------------------------------------------------------------------------------

    def _show_pane(self, pane: str, focus: bool = True) -> None:
        super()._show_pane(pane, focus)
        if pane == "log":  # a hidden log is not read
            self.log_pane.view.poll()

    def _pane_widget(self, pane: str) -> Widget:
        if pane == "log":
            return self.log_pane.view
        if pane == "plots":
            return self.plots.current or self.plots
        return self.gpus if pane == "machine" else self.samples

    def _panes_in_turn(self) -> list[str]:
        """The panes in sight; alerts are not a pane, but stand among them while there are some."""
        order = [name for name in self.PANE_ORDER if self._narrow or self._pane_widget(name).region]
        if self.alerts.display:
            order.insert(len(order) - ("log" in order), "alerts")
        return order

    @property
    def _pane_here(self) -> str:
        return "alerts" if self.alerts.has_focus else self.pane

    def _go_to_pane(self, pane: str) -> None:
        if pane == "alerts":
            self.alerts.focus()
        else:
            super()._go_to_pane(pane)

    # ---- data ----------------------------------------------------------------------------------------

    def changed(self, changes: frozenset[Change]) -> None:
        run = self.chosen_run
        self._show_cost(run)
        self.header.show(run, self.room.links.get(run.host) if run else None)
        self.plots.freeze(self.room.frozen)
        if not self.room.frozen:
            self.plots.show_reading(reading(run) if run is not None else "")
        if run is None or self.room.frozen:
            return
        if not self._drawn:  # first frame first: the plots load modules that it does not need
            self.call_after_refresh(self._first_data)
            return
        if self._reader is None or self._reader.key != run.key:
            self._open(run)
        if self._overlays.note(change.key for change in changes):
            self.run_worker(self._overlays.read(), group="overlays")
        if not changes or any(change.key == run.key for change in changes):
            # Of a run that is being read what is new comes four times a second: plots follow once a second.
            self._behind = run.partial and bool(changes)
            if not self._behind:
                self._request_update()
            self._poll_log()

    def _show_cost(self, run: RunRow | None) -> None:
        """What the run costs needs its host's price, and how long its earlier attempts took."""
        facts = self.header.facts
        facts.links = self.room.links
        facts.set_hosts(self.room.hosts)
        priced = run is not None and facts.prices.get(run.host) is not None
        if run is not None and priced and facts.earlier(run) is None:
            self.run_worker(asyncio.to_thread(facts.fill, self.room.store, [run], ()), group="cost")

    def _first_data(self) -> None:
        self._drawn = True
        self.changed(frozenset())

    def tick(self) -> None:
        run = self.chosen_run
        self.header.show(run, self.room.links.get(run.host) if run else None)
        link = self.header.link
        self.gpus.set_stale((link.silence() or 0.0) if link and self.header.stale else None)
        self._show_end()
        if self._behind:
            self._behind = False
            self._request_update()
        if run is None:
            return
        if run.live:
            self._log_until = time.monotonic() + LOG_DRAIN_SECONDS
        if time.monotonic() < self._log_until or self.log_pane.view.error:
            self._poll_log()

    def _open(self, run: RunRow) -> None:
        """Switches to another run, after removing everything of the previous one."""
        self._overlays.clear()
        for key in self.plots.run_keys:
            self.plots.unload(key)
        self.plots.set_alerts(())
        self.gpus.clear()
        self.samples.clear()
        self.outcome = Outcome()
        self._alerts = []
        self.alerts.show([])
        self._reader = RunReader(self.room.store, run.key)
        self._log_until = time.monotonic() + LOG_DRAIN_SECONDS
        self.log_pane.view.open(RunLog(self.room, run.key))

    def _request_update(self) -> None:
        """Reads what is new, once more when a reading is under way: what comes meanwhile may be the last."""
        self._wanted = True
        if not self._reading and self._reader is not None:
            self._reading = True
            self.run_worker(self._read_updates(), group="update")

    async def _read_updates(self) -> None:
        try:
            while self._wanted and (reader := self._reader) is not None:
                self._wanted = False
                update = await asyncio.to_thread(reader.read_update)
                if reader is self._reader:
                    await self._apply_update(reader.key, update)
        finally:
            self._reading = False

    async def _apply_update(self, key: str, update: RunUpdate) -> None:
        if key not in self.plots.run_keys:
            run = self.chosen_run
            self.plots.load(key, sanitize(run.label, 40) if run else key, update.metrics)
        else:
            self.plots.extend(key, update.metrics)
        self.samples.add(update.events)
        self.outcome.add(update.events)
        self._show_end()
        fresh = [event for event in update.events if event.kind == "alert"]
        if fresh:
            self._alerts += fresh
            self.alerts.show(list(reversed(self._alerts)))
            marks = [
                Alert(alert_step(event), event.t, str(event.data.get("level", "warn")))
                for event in self._alerts
            ]
            self.plots.set_alerts(marks)
        for at in range(0, len(update.telemetry), TELEMETRY_SLICE):
            part = update.telemetry[at : at + TELEMETRY_SLICE]
            self.gpus.load((event.t, event.data) for event in part)  # type: ignore[misc]
            await asyncio.sleep(0)  # an hour of telemetry at once would block the event loop

    def _show_end(self) -> None:
        """What an ended run came to, in place of gauges that no longer move."""
        run = self.chosen_run
        self.gpus.set_ended(run is not None and not run.live)
        self.summary.show(run, self.outcome)

    def _poll_log(self) -> None:
        if self.log_pane.region and time.monotonic() - self._log_polled > LOG_SECONDS:
            self._log_polled = time.monotonic()
            self.log_pane.view.poll()

    # ---- keys ----------------------------------------------------------------------------------------

    def leave_field(self) -> bool:
        if isinstance(self.focused, Input) and self.focused.id == "log-field":
            self.log_pane.close_field()
            return True
        return super().leave_field()

    def go_back(self) -> bool:
        return self.log_pane.view.cancel() or super().go_back()

    def on_plot_grid_looks_changed(self) -> None:
        self.room.remember("plots", self.plots.looks)

    def action_compare(self) -> None:
        """Sets the run side by side with those drawn over it, else with one that is asked for."""
        from tui.actions.compare import compare

        run = self.chosen_run
        if run is None:
            return
        over = [other for other in self.room.rows if other.key in self._overlays.keys]
        if over:
            self.room.do(compare(self.room, [run, *over]))
            return

        def chosen(key: str | None) -> None:
            found = [other for other in self.room.rows if other.key == key]
            if found:
                self.room.do(compare(self.room, [run, *found]))

        self._choose_run("compare this run with", chosen)

    def action_neighbour(self, direction: int) -> None:
        keys = [run.key for run in self.room.rows]
        if self.room.run_key in keys:
            at = keys.index(self.room.run_key) - direction
            if 0 <= at < len(keys):
                self.room.open_run(keys[at])
            else:
                self.room.say("no newer run" if direction > 0 else "no older run")

    def on_samples_opened(self, event: Samples.Opened) -> None:
        from tui.screens.sample import SampleScreen

        self.app.push_screen(SampleScreen(event.samples))

    def on_virtual_table_selected(self, event: VirtualTable.Selected) -> None:
        self._go_to_alert(event.key)

    def _go_to_alert(self, key: str) -> None:
        """Moves every plot to where the alert was raised."""
        alert = next((event for event in self._alerts if str(event.seq) == key), None)
        if alert is not None and alert.step is not None:
            self.plots.go_to(float(alert.step))
