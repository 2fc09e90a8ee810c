"""What the Compare screen's keys do: base, gap, groups, places, which runs, copying."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from remote.comparison.figures import place_text
from remote.comparison.lines import BANDS
from tui.plots.frame import MAX_RUNS
from tui.plots.raster import submit

if TYPE_CHECKING:
    from textual.app import App

    from remote.comparison.comparison import Comparison
    from tui.data.compare.state import CompareState
    from tui.data.overlays import Overlays
    from tui.plots.compare_figures import FigureMaker, Wanted
    from tui.plots.run_metrics import RunMetrics
    from tui.room import Room
    from tui.widgets.plot_grid import PlotGrid


class CompareActions:
    """The actions over `state`; every one of them shows what it changed."""

    state: CompareState
    plots: PlotGrid
    _overlays: Overlays
    _maker: FigureMaker

    if TYPE_CHECKING:

        @property
        def room(self) -> Room: ...

        app: App[object]

        def _show_all(self) -> None: ...

        def _show_settings(self) -> None: ...

        def _request_figures(self) -> None: ...

        def _read(self) -> None: ...

        def _wanted(self) -> Wanted: ...

        def _loaded(self) -> dict[str, RunMetrics]: ...

    def _remember(self) -> None:
        self.room.remember("compare", self.state.looks)

    def action_differences(self) -> None:
        """Shows all settings, or only those that differ."""
        self.state.only_differences = not self.state.only_differences
        self._remember()
        self._show_settings()

    def action_gap(self) -> None:
        """Draws how far the runs lie from the base, or the runs."""
        self.state.gap = not self.state.gap
        self._remember()
        self._show_all()
        drawing = self.state.drawing(self.state.comparison(), MAX_RUNS)
        if self.state.gap and not (drawing and drawing.gap):
            self.room.say("all runs are one group: it has no other to lie apart from", "warning")
        else:
            self.room.say(
                "curves: how far each lies from the base" if self.state.gap else "curves: the values"
            )

    def action_group(self) -> None:
        """Takes seeds, or a tag, together; or each run alone."""
        by = self.state.next_grouping()
        self._remember()
        self._show_all()
        groups = self.state.comparison().columns("step", by).groups
        alone = all(len(group.members) == 1 for group in groups)
        what = {"seed": "runs that differ only in their seed and name", "tag": "runs with the same tag"}
        if not by:
            self.room.say("each run alone")
        elif alone:
            self.room.say(f"no two of these are {what[by]}", "warning")
        else:
            self.room.say(f"{what[by]} together: mean, {BANDS[self.state.band]}")

    def action_band(self) -> None:
        """Shows the other kind of band around means."""
        kind = self.state.next_band()
        self._remember()
        self._show_all()
        self.room.say(f"bands: {BANDS[kind]}")

    def action_base(self) -> None:
        """Makes the next run the one that the others are compared with."""
        self.state.rotate()
        self._show_all()
        comparison = self.state.comparison()
        self.room.say(f"compared with {comparison.letter(0)} {comparison.names[0]}")

    # ---- places --------------------------------------------------------------------------------------

    def action_keep(self) -> None:
        """Keeps the figures at the cursor as rows of the table, or drops them."""
        at = self.plots.cursor
        if at is None:
            self.room.say("no cursor: , and . move it over the curves", "warning")
            return
        self._keep_place(self.plots.view.axis, at)

    def _keep_place(self, axis: str, at: float) -> None:
        kept = self.state.keep_place(axis, at)
        self._request_figures()
        where = place_text(at, axis)
        self.room.say(f"figures at {where} are kept" if kept else f"{where} is dropped")

    def action_place(self) -> None:
        """Asks for a place of the axis whose figures are kept."""
        self.room.do(self._ask_place())

    async def _ask_place(self) -> None:
        from remote.cli.compare import place

        axis = self.plots.view.axis
        text = await self.room.ask(
            f"figures at which {axis}?", "2000, 1.5M, 30m, or 50%; empty: drop all kept"
        )
        if text is None:
            return
        if not text.strip():
            self.state.drop_places(axis)
            self._request_figures()
            return
        columns = (await self._whole()).columns(axis, self.state.by, self.state.band)
        self._keep_place(axis, place(text.strip(), columns, columns.metrics()))

    async def _whole(self) -> Comparison:
        """The comparison with its curves as they are drawn now."""
        return await asyncio.wrap_future(submit(self._maker.curves, self._wanted(), self._loaded()))

    # ---- runs ----------------------------------------------------------------------------------------

    def action_overlay(self) -> None:
        """Asks for a run to compare too; one that is compared already is removed."""
        from tui.screens.overlay import Overlay

        state = self.state
        runs = [run for run in self.room.rows if run.last_seq >= 0 or run.key in state.keys]

        def chosen(key: str | None) -> None:
            if key is not None:
                self._turn(key)

        self.app.push_screen(Overlay(runs, state.keys, "compare a run too"), chosen)

    def _turn(self, key: str) -> None:
        """Adds a run, or removes it. Raises `UserError` when there are too many, or too few are left."""
        state = self.state
        if key in state.keys:
            state.remove(key)
            self._overlays.remove(key)
            self.plots.unload(key)
        else:
            state.add(key)
            state.see(self.room.rows)
            self._overlays.add(key)
            self._read()
        self._show_all()

    def action_copy(self) -> None:
        """Copies all of it as Markdown."""
        self.room.do(self._copy())

    async def _copy(self) -> None:
        from remote.cli.compare_report import text_document
        from remote.comparison.comparison import notes
        from remote.comparison.table import blocks
        from tui.actions.run import copy_text

        axis, state, cursor = self.plots.view.axis, self.state, self.plots.cursor
        places = state.places_on(axis)
        comparison = await self._whole()

        def document() -> str:
            columns = comparison.columns(axis, state.by, state.band)
            found = [block for _, block in blocks(columns, places, cursor)]
            told = notes(comparison, axis)
            return text_document(
                comparison, columns, found, (), told, differences=state.only_differences, md=True
            )

        await copy_text(self.room, await asyncio.to_thread(document), "the comparison as Markdown")
