"""Scores over the steps of a training, or over its tokens, FLOPs or time: the mean and every task."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from nanochat.common.errors import UserError
from nanochat.common.text import amount
from tui.data.evals import board
from tui.data.evals.curves import AXES, MEANS, Curve, curve_of, curves, training_of, with_axes
from tui.keys import bindings, plot_bindings
from tui.plots.frame import MAX_RUNS
from tui.screens.plot_screen import PlotScreen
from tui.widgets.plot import Plot
from tui.widgets.plot_grid import PlotGrid

if TYPE_CHECKING:
    from remote.store.evaluations import Evaluation


class CurveGrid(PlotGrid):
    """Plots of scores only: what ties steps to FLOPs is not drawn."""

    @property
    def metrics(self) -> list[str]:
        return [name for name in super().metrics if name not in AXES]


class CurveScreen(PlotScreen):
    """The curve that `one` is a point of, with others of `evaluations` drawn over it by key."""

    place = "Curve"
    groups = ("curve", "plots", "plot")
    about = (
        "Every score of a checkpoint folder over its steps, as evaluated with the same settings. "
        "{plots.axis} goes on to tokens, FLOPs and time, where the training's own log is here; {curve.add} "
        "draws another checkpoint over it, {curve.filter} chooses tasks, {curve.zoom} gives one plot the "
        "whole screen."
    )
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("curve"), *plot_bindings()]
    AUTO_FOCUS = "Plot"

    def __init__(self, one: Evaluation, evaluations: Sequence[Evaluation], task: str = "") -> None:
        super().__init__()
        self.one = one
        self.known: list[Curve] = []
        self._evaluations = list(evaluations)
        self._first_task = task
        self.plots = CurveGrid(unicode=self.room.unicode, id="curves")
        self.note = Static(id="curve-note", markup=False)
        self.drawn: list[Curve] = []
        self._published = " · ".join(
            f"{board.title(known)} {known.mean:.3f}"
            for known in sorted(evaluations, key=lambda known: known.mean or 0.0)
            if known.reference and known.kind == one.kind and known.mean is not None
        )
        self._tied: set[str] = set()
        """Keys of curves whose training is known: they can be drawn over tokens and FLOPs."""

    def body(self) -> Iterable[Widget]:
        yield self.plots
        yield self.note

    def on_mount(self) -> None:
        self.plots.border_title = Content(f"scores of {board.title(self.one)}")
        self.run_worker(self._begin(), group="curve")

    async def _begin(self) -> None:
        self.known = await asyncio.to_thread(curves, self._evaluations)
        curve = curve_of(self.one, self.known)
        if curve is None:
            raise UserError(f"{board.title(self.one)} has no step", "a curve needs checkpoints of a training")
        await self._draw(curve)
        # The task that the cursor was on is looked at first, on the whole screen: there is one curve of each.
        metric = f"{self.one.kind}/{self._first_task}" if self._first_task else MEANS.get(self.one.kind, "")
        self.call_after_refresh(self._focus, metric)

    def _focus(self, metric: str) -> None:
        plot = next((plot for plot in self.plots.query(Plot) if plot.metric == metric), None)
        if plot is not None:
            plot.focus()

    async def _draw(self, curve: Curve) -> None:
        run = training_of(curve, self.room.rows)
        points = await asyncio.to_thread(with_axes, curve, self.room.store, run)
        if curve.key in self.plots.run_keys:
            return
        self.plots.load(curve.key, curve.label, points)
        self.drawn.append(curve)
        if any(name in points for name in AXES):
            self._tied.add(curve.key)
        self._tell()

    def _tell(self) -> None:
        lines = []
        for curve in self.drawn:
            told = f"{curve.label}: evaluated at {amount(curve.steps, 'step')}"
            if curve.steps == 1:
                told += ": a curve needs more, evaluate other steps too"
            if curve.key not in self._tied:
                told += " · the log of its training is not here: no tokens and FLOPs"
            lines.append(f" {told}")
        if self._published:
            lines.append(f" published: {self._published}")
        self.note.update("\n".join(lines))

    # ---- keys ----------------------------------------------------------------------------------------

    def default_focus(self) -> Widget | None:
        return self.plots.current

    def action_add(self) -> None:
        """Asks for another curve of the same kind; one that is drawn already is removed."""
        from tui.screens.evals.curve_picker import CurvePicker

        first = self.drawn[0] if self.drawn else None
        others = [curve for curve in self.known if curve.kind == self.one.kind and curve is not first]
        if not others:
            raise UserError("there is no other checkpoint of this kind", "evaluate another one")

        def chosen(curve: Curve | None) -> None:
            if curve is None:
                return
            if curve in self.drawn:
                self.drawn.remove(curve)
                self.plots.unload(curve.key)
                self._tell()
            elif len(self.drawn) >= MAX_RUNS:
                self.room.say(f"{MAX_RUNS} curves are drawn already: remove one first", "warning")
            else:
                self.run_worker(self._draw(curve), group="curve")

        self.app.push_screen(CurvePicker(others, [curve.key for curve in self.drawn]), chosen)
