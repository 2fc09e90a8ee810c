"""A grid of plots over the metrics of up to four runs, with one cursor and one x range for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from math import ceil
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from nanochat.common.errors import UserError
from nanochat.common.smoothing import SHARE
from remote.metrics import AXES, by_importance
from tui.keymap import keymap_of, with_keys
from tui.keys import bindings
from tui.plots.frame import MAX_RUNS, Alert, PlotSpec, View
from tui.plots.points import Points
from tui.plots.raster import submit
from tui.plots.run_metrics import RunMetrics
from tui.widgets.grid_shape import MOST_COLUMNS, NARROWEST, grid_shape, most_columns
from tui.widgets.plot import Plot

SMOOTHINGS = (0.0, SHARE, 0.05, 0.15)
"""Time constants of the average that `e` walks through, as shares of the points in view."""
NOT_PLOTTED = ("progress", "eta_s")


class PlotGrid(Widget):
    """Plots of a run's metrics, the important ones first, as many as fit; the rest on further pages.

    load(run_key, label, metrics)  show a run (replacing what was loaded under that key); up to four overlaid
    extend(run_key, metrics)       append live points, in order of seq
    unload(run_key)                remove a run
    metrics maps a name to points as the store gives them, or to rows of (seq, step, t, value, attempt).

    next_smoothing, next_axis, toggle_log, toggle_superseded, toggle_full, next_columns, set_filter,
    set_alerts, go_to and freeze are what a screen's keys call; `current` is the plot that the keys of one
    plot act on. Messages of its plots (`Plot.CursorMoved`) bubble to the screen.
    """

    class FullChanged(Message):
        """One plot was given the whole screen, or gave it back."""

    class LooksChanged(Message):
        """What `looks` tells was changed by key."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("plots")]
    DEFAULT_CSS = """
    PlotGrid { height: 1fr; width: 1fr; }
    PlotGrid > #plots { layout: grid; grid-gutter: 0 1; height: 1fr; }
    PlotGrid > #reading { height: 1; color: $warning; text-style: bold; display: none; padding: 0 1; }
    PlotGrid > #page { height: 1; color: $text-muted; display: none; padding: 0 1; }
    """

    def __init__(self, *, unicode: bool = True, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.unicode = unicode
        self.view = View(smoothing=SHARE)
        self.cursor: float | None = None
        self.full: str | None = None
        self.page = 0
        self.columns = 0
        """Plots side by side; 0 for as many as fit well."""
        self._current = ""
        self._runs: dict[str, RunMetrics] = {}
        self._names: dict[str, set[str]] = {}
        self._filter = ""
        self._alerts: tuple[Alert, ...] = ()
        self._frozen = False
        self._reading = ""
        self.axes: Sequence[str] = AXES
        """The x axes that `next_axis` goes through."""
        self.left_out: Collection[str] = NOT_PLOTTED
        """Metrics that have no plot unless the filter names them."""
        self.most_runs = MAX_RUNS
        """Runs that may be loaded: more than are drawn where lines are made out of them."""
        self._shown: tuple[str, ...] | None = None
        self._derive: Callable[[PlotSpec], PlotSpec] | None = None

    def compose(self) -> ComposeResult:
        yield Static(id="reading")
        with Container(id="plots"):
            yield Plot(unicode=self.unicode)
        yield Static(id="page")

    # Data

    def load(self, run_key: str, label: str, metrics: Mapping[str, Points]) -> None:
        """Show a run. Raises UserError when four others (`most_runs`) are loaded already."""
        if run_key not in self._runs and len(self._runs) >= self.most_runs:
            raise UserError(f"{self.most_runs} runs are overlaid already", "remove one first")
        self._runs[run_key] = RunMetrics(label)
        self._names[run_key] = set()
        self.extend(run_key, metrics)
        self._arrange()

    def extend(self, run_key: str, metrics: Mapping[str, Points]) -> None:
        """Append points to a loaded run; rows of a run that is not loaded are ignored."""
        run = self._runs.get(run_key)
        if run is None or not metrics:
            return
        ingested = submit(run.ingest, dict(metrics))
        self.call_later(self._report_failure, ingested)
        fresh = metrics.keys() - self._names[run_key]
        self._names[run_key] |= fresh
        if fresh:
            self._arrange()
        for plot in self._plots():
            plot.data_changed()

    def _report_failure(self, ingested: Future[None]) -> None:
        """Await the ingest in a worker, so that a failure becomes an error and not a silent gap."""

        async def wait() -> None:
            await asyncio.wrap_future(ingested)

        self.run_worker(wait(), group="ingest")

    def unload(self, run_key: str) -> None:
        """Remove a run from the plots; unknown keys are ignored."""
        if self._runs.pop(run_key, None) is not None:
            del self._names[run_key]
            self._arrange()

    def set_shown(self, keys: Sequence[str], derive: Callable[[PlotSpec], PlotSpec] | None = None) -> None:
        """Draw these of the loaded runs, in this order, or what `derive` makes of them."""
        self._shown, self._derive = tuple(keys), derive
        self._arrange()

    def _drawn_runs(self) -> tuple[RunMetrics, ...]:
        keys = self._runs if self._shown is None else [key for key in self._shown if key in self._runs]
        return tuple(self._runs[key] for key in keys)

    def rename(self, labels: Mapping[str, str]) -> None:
        """Calls loaded runs otherwise."""
        for key, label in labels.items():
            run = self._runs.get(key)
            if run is not None and run.label != label:
                run.label = label
                for plot in self._plots():
                    plot.data_changed()

    def metrics_of(self, run_key: str) -> RunMetrics | None:
        """What is loaded of a run. It belongs to the plot thread."""
        return self._runs.get(run_key)

    @property
    def run_keys(self) -> tuple[str, ...]:
        return tuple(self._runs)

    @property
    def metrics(self) -> list[str]:
        """The metrics with a plot, in order; with a filter those whose name holds one of its words."""
        names = set().union(*self._names.values()) if self._names else set()
        words = self._filter.lower().split()
        if words:
            return by_importance(name for name in names if any(word in name.lower() for word in words))
        return by_importance(name for name in names if name not in self.left_out)

    def show_reading(self, text: str) -> None:
        """Says over the plots that they show a part of the run; empty text takes it away."""
        before, self._reading = self._reading, text
        if bool(text) != bool(before):
            self.view = replace(self.view, partial=bool(text))
            self._arrange()
        elif text != before and self.is_mounted:
            # Several times a second while a log is read: the place of everything stays as it is.
            self.query_one("#reading", Static).update(Content(text), layout=False)

    # View

    def set_filter(self, text: str) -> None:
        """Show only metrics whose name holds one of the words of `text`."""
        self._filter, self.page = text, 0
        self._arrange()

    def set_alerts(self, alerts: Sequence[Alert]) -> None:
        self._alerts = tuple(alerts)
        for plot in self._plots():
            plot.set_alerts(self._alerts)

    @property
    def looks(self) -> dict[str, object]:
        """How plots look whatever the run: to be kept for the next start."""
        view = self.view
        return {"smoothing": view.smoothing, "log": view.log, "axis": view.axis, "columns": self.columns}

    def set_looks(self, kept: object) -> None:
        """Take over what `looks` told once; what makes no sense is left out."""
        known = kept if isinstance(kept, Mapping) else {}
        log_y, columns = known.get("log"), known.get("columns")
        smoothing = next(
            (share for share in SMOOTHINGS if share == known.get("smoothing")), self.view.smoothing
        )
        axis = next((axis for axis in AXES if axis == known.get("axis")), self.view.axis)
        self.view = replace(self.view, smoothing=smoothing, axis=axis, log=log_y is True)
        self.columns = columns if type(columns) is int and 0 <= columns <= MOST_COLUMNS else 0
        self._arrange()

    def next_smoothing(self) -> float:
        """The next of `SMOOTHINGS`; returns it."""
        at = SMOOTHINGS.index(self.view.smoothing) if self.view.smoothing in SMOOTHINGS else -1
        self._set_view(replace(self.view, smoothing=SMOOTHINGS[(at + 1) % len(SMOOTHINGS)]))
        self.post_message(self.LooksChanged())
        return self.view.smoothing

    def toggle_log(self) -> bool:
        self._set_view(replace(self.view, log=not self.view.log, y=None))
        self.post_message(self.LooksChanged())
        return self.view.log

    def toggle_superseded(self) -> bool:
        self._set_view(replace(self.view, superseded=not self.view.superseded))
        return self.view.superseded

    async def next_axis(self) -> str:
        """The next x axis that every loaded run has; returns its name."""
        known = await asyncio.gather(*(asyncio.wrap_future(submit(run.axes)) for run in self._runs.values()))
        some = [run for run in known if run != ["clock"]] or known  # a run without a point has no other axis
        axes = [axis for axis in self.axes if all(axis in run for run in some)] or ["step"]
        at = axes.index(self.view.axis) if self.view.axis in axes else -1
        self.cursor = None
        self._set_view(replace(self.view, axis=axes[(at + 1) % len(axes)], x=None))
        self.post_message(self.LooksChanged())
        return self.view.axis

    @property
    def current(self) -> Plot | None:
        """The plot that was focused last, else the first in sight."""
        shown = self._plots()
        return next((plot for plot in shown if plot.metric == self._current), shown[0] if shown else None)

    def toggle_full(self, plot: Plot | None = None) -> None:
        """Give one plot (`plot`, else the current one) the whole grid, or show all again."""
        chosen = plot or self.current
        if self.full is not None:
            self.full = None
        elif chosen is not None and chosen.metric:
            self.full = self._current = chosen.metric
        else:
            return
        self._arrange()
        self.post_message(self.FullChanged())

    def next_columns(self) -> int:
        """One more plot side by side, up to what fits, then as many as read well (0); returns the number."""
        most = most_columns(self.size.width // NARROWEST, len(self.metrics))
        self.columns = self.columns + 1 if self.columns < most else 0
        self._arrange()
        self.post_message(self.LooksChanged())
        return self.columns

    def go_to(self, x: float | None) -> None:
        """Put the cursor of every plot at x on the current axis; None removes it."""
        self.cursor = x
        for plot in self._plots():
            plot.set_cursor(x)

    def freeze(self, frozen: bool) -> None:
        """Keep the frames while data keeps coming."""
        self._frozen = frozen
        for plot in self._plots():
            plot.freeze(frozen)

    def _set_view(self, view: View) -> None:
        self.view = view
        self._arrange()

    # Arrangement

    def _plots(self) -> list[Plot]:
        return [plot for plot in self.query(Plot) if plot.display]

    def shape(self, count: int) -> tuple[int, int]:
        """(columns, rows) of the grid for `count` plots at the present size."""
        return grid_shape(self.size, count, self.columns)

    def _arrange(self) -> None:
        """Put the plots of one page in place: the one with the current plot, else the present one."""
        if not self.is_mounted or not self.size.width:
            return
        names = [self.full] if self.full in self.metrics else self.metrics
        columns, rows = self.shape(len(names))
        size = columns * rows
        pages = max(1, ceil(len(names) / size))
        if self._current in names:
            self.page = names.index(self._current) // size
        self.page = min(self.page, pages - 1)
        first = self.page * size
        here = names[first : first + size]
        reading = self.query_one("#reading", Static)
        reading.display = bool(self._reading)
        reading.update(Content(self._reading), layout=False)
        box = self.query_one("#plots", Container)
        box.styles.grid_size_columns, box.styles.grid_size_rows = columns, rows
        self._show(box, here or [""])
        note = self.query_one("#page", Static)
        note.display = pages > 1
        turn = with_keys("{plots.next} {plots.previous}", keymap_of(self))
        note.update(f"metrics {first + 1}–{first + len(here)} of {len(names)} · {turn}")

    def _show(self, box: Container, names: Sequence[str]) -> None:
        plots = list(box.query(Plot))
        missing = [Plot(unicode=self.unicode) for _ in range(len(names) - len(plots))]
        if missing:
            box.mount(*missing)
        focused = any(plot.has_focus for plot in plots)
        for index, plot in enumerate([*plots, *missing]):
            if index >= len(names):
                continue
            plot.display = True
            plot.set_series(names[index], self._drawn_runs(), self._derive)
            plot.set_view(self.view)
            plot.set_alerts(self._alerts)
            plot.set_named(self.full is not None)
            plot.set_cursor(self.cursor)
            plot.freeze(self._frozen)
        if focused:  # before plots are hidden: focus would go elsewhere
            chosen = names.index(self._current) if self._current in names else 0
            [*plots, *missing][chosen].focus()
        for plot in plots[len(names) :]:
            plot.display = False

    def on_mount(self) -> None:
        self.call_after_refresh(self._arrange)

    def on_resize(self) -> None:
        self._arrange()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        if isinstance(event.widget, Plot) and event.widget.display:
            self._current = event.widget.metric

    # Messages and keys

    def on_plot_cursor_moved(self, event: Plot.CursorMoved) -> None:
        self.go_to(event.x)

    def on_plot_zoomed(self, event: Plot.Zoomed) -> None:
        self._set_view(replace(self.view, x=event.x))

    def on_plot_full_screen(self, event: Plot.FullScreen) -> None:
        event.stop()
        self.toggle_full(event.plot)

    def on_plot_left(self, event: Plot.Left) -> None:
        event.stop()
        self.go(event.plot, event.across, event.down)

    def go(self, plot: Plot, across: int, down: int) -> None:
        """Focus the plot `across` columns and `down` rows from `plot`; over the edge the page turns.

        From the end of a row it goes on to the next one. A plot on the whole screen gives way to the next.
        """
        names = self.metrics
        if plot.metric not in names:
            return
        columns, _ = self.shape(len(names))
        at = names.index(plot.metric)
        to = at + (across + down if self.full is not None else across + down * columns)
        if self.full is None and to >= len(names) and at // columns < (len(names) - 1) // columns:
            to = len(names) - 1  # the last row is not full
        if not 0 <= to < len(names):
            return
        self._current = names[to]
        if self.full is not None:
            self.full = names[to]
        self._arrange()
        here = self.current
        if here is not None:
            here.focus()

    async def action_next_axis(self) -> None:
        await self.next_axis()

    def action_superseded(self) -> None:
        self.toggle_superseded()

    def action_columns(self) -> None:
        self.next_columns()

    def action_page(self, direction: int) -> None:
        names = self.metrics
        columns, rows = self.shape(len(names))
        to = (self.page + direction) * columns * rows
        if self.full is None and 0 <= to < len(names):
            self._current = names[to]
            self._arrange()
