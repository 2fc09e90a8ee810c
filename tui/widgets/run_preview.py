"""The curve of the run under the cursor, beside or below the table of runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Static

from nanochat.common.smoothing import SHARE
from nanochat.common.text import sanitize
from remote.run_summary import said
from tui.data.key_curve import KeyCurve, KeyCurves
from tui.plots.frame import View
from tui.plots.raster import submit
from tui.plots.run_metrics import RunMetrics
from tui.widgets.plot import Plot

if TYPE_CHECKING:
    from remote.runs import RunRow
    from remote.store.series import Series
    from remote.store.store import Store
    from tui.room import Room

REST = 0.12
"""Seconds that the cursor rests on a run before its curve is read: passing over runs reads none."""
NOTHING = "no curve: nothing was measured step by step"
AGAIN = 2.0
"""Seconds between two readings of a run that goes on."""


class RunPreview(Widget):
    """A plot of one metric of one run. `show` returns at once: reading and drawing come after."""

    DEFAULT_CSS = """
    RunPreview { display: none; }
    RunPreview > Plot { height: 1fr; }
    RunPreview > Static { height: auto; padding: 1 2; color: $text-muted; }
    """

    def __init__(self, room: Room, id: str | None = None) -> None:
        super().__init__(id=id)
        self._room = room
        self._curves = KeyCurves()
        self.plot = Plot(unicode=room.unicode)
        self.plot.can_focus = False
        self.words = Static()
        """What stands in place of a curve."""
        self.plot.view = View(smoothing=SHARE)
        self.run: RunRow | None = None
        self.curve: KeyCurve | None = None
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        yield self.plot
        yield self.words

    def show(self, run: RunRow | None) -> None:
        """Shows a run's curve: at once what is known of it, and what is new once the cursor rests."""
        before, self.run = self.run, run
        if not self.display:
            return
        other = before is None or run is None or before.key != run.key
        if run is not None and not other and self.curve is not None and self.curve.last_seq == run.last_seq:
            return
        if other:
            known = self._curves.known(run) if run is not None else None
            if known is not None:
                self._draw(known)
        if other or self._timer is None:
            self._wait(REST if other else AGAIN)

    def set_shown(self, shown: bool, run: RunRow | None) -> None:
        """Brings the preview into sight with a run, or takes it away."""
        if shown != bool(self.display):
            self.display = shown
            self.run = None
            self.show(run)

    def _wait(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(seconds, self._due)

    def _due(self) -> None:
        self._timer = None
        run = self.run
        if run is None:
            self._draw(None)
        elif self.display:
            self.run_worker(self._read(self._room.store, run), group="curve")

    async def _read(self, store: Store, run: RunRow) -> None:
        curve = await asyncio.to_thread(self._curves.read, store, run)
        if self.run is not None and self.run.key == run.key:
            self._draw(curve)

    def _draw(self, curve: KeyCurve | None) -> None:
        """Gives the plot a curve; one that only grew replaces the old one without a blank in between."""
        if curve is self.curve and curve is not None:
            return
        self.curve = curve
        self.plot.display = curve is not None and curve.points is not None
        label = sanitize(curve.label, 40) if curve is not None else ""
        self.border_title = Content(label)
        self.words.display = not self.plot.display
        if curve is None or curve.points is None:
            reason = said(self.run) if self.run is not None else ""
            self.words.update(Content(f"{NOTHING}\n{sanitize(reason)}" if curve is not None else ""))
            return
        run = RunMetrics(label)
        submit(_ingest, run, curve.metric, curve.points)
        self.plot.set_series(curve.metric, (run,), keep=True)


def _ingest(run: RunMetrics, metric: str, points: Series) -> None:
    """Gives the plot thread points of its own: those that are kept are not to be changed."""
    run.ingest({metric: points.part(0, len(points))})
