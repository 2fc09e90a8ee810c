"""The keys that write files, on every screen with plots or runs. Their work is loaded at the first press."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from nanochat.common.text import size_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from textual.app import App

    from remote.runs import RunRow
    from tui.room import Room
    from tui.screens.save_as import SaveAs, Target
    from tui.widgets.plot import Plot


class Exporting(Protocol):
    """The screen whose keys these are."""

    @property
    def app(self) -> App[Any]: ...

    @property
    def room(self) -> Room: ...


class ExportActions:
    """`export_plot` writes `exported_plot`, `export_run` the tables of `chosen_runs`."""

    if TYPE_CHECKING:

        @property
        def room(self) -> Room: ...

        @property
        def chosen_runs(self) -> Sequence[RunRow]: ...

    @property
    def exported_plot(self) -> Plot | None:
        """The plot that the key writes: the focused one."""
        return None

    def action_export_plot(self) -> None:
        plot = self.exported_plot
        if plot is None or not plot.metric or plot.frame is None or plot.frame.empty:
            self.room.say("there is no plot to write yet", "warning")
        else:
            self.room.do(export_plot(cast("Exporting", self), plot))

    def action_export_run(self) -> None:
        if self.chosen_runs:
            self.room.do(export_runs(cast("Exporting", self), list(self.chosen_runs)))


async def export_plot(screen: Exporting, plot: Plot) -> None:
    """Asks for a file and writes the plot as it is when that is answered."""
    from tui.plots.export.write import KINDS, file_stem, write_plot
    from tui.screens.save_as import SaveAs

    runs = [run.label for run in plot.runs]
    stem = file_stem(*runs[:2], *([f"and-{len(runs) - 2}-more"] if len(runs) > 2 else []), plot.metric)
    title = f"write the plot of {plot.metric}"
    path, kinds = await _offered(screen.room, "plot", stem, KINDS)
    about = "SVG and PNG look as on screen. CSV holds every point in view, as measured and as smoothed."
    target = await _asked(screen, SaveAs(title, path, kinds, about), "plot")
    if target is not None:
        screen.room.say(await write_plot(plot.spec, target.path, target.kind, target.replace))


async def export_runs(screen: Exporting, runs: Sequence[RunRow]) -> None:
    """Asks for a file, several runs get names of their own beside it, and writes their tables."""
    from remote.run_summary import reading
    from tui.actions.export import RUN_KINDS, write_runs
    from tui.screens.save_as import SaveAs

    path, kinds = await _offered(screen.room, "run", runs[0].run_id, RUN_KINDS)
    about = "A row per event: step, time, attempt, then a column per metric. NaN stays NaN."
    if len(runs) > 1:
        about += f" Each of the {len(runs)} runs gets a file of its own in that folder, named after the run."
    partly = next((reading(run) for run in runs if run.partial), "")
    if partly:
        about += f" Still {partly}: what is read by then is written."
    title = f"write {runs[0].run_id}" if len(runs) == 1 else f"write {len(runs)} runs"
    target = await _asked(screen, SaveAs(title, path, kinds, about), "run")
    if target is not None:
        await write_runs(screen.room, runs, target.path, target.kind, target.replace)


async def _offered(room: Room, what: str, stem: str, kinds: Sequence[str]) -> tuple[Path, Sequence[str]]:
    """A free name in the folder and of the kind that were chosen last."""
    from tui.screens.save_as import offered

    kept = room.setting("export")
    kept = kept if isinstance(kept, dict) else {}
    kind = kept.get(what) if kept.get(what) in kinds else kinds[0]
    path = await asyncio.to_thread(offered, kept.get("folder"), stem, str(kind), room.layout.base)
    return path, kinds


async def _asked(screen: Exporting, dialog: SaveAs, what: str) -> Target | None:
    """What the dialog is answered with; that is offered the next time. None while one is open already."""
    from tui.screens.save_as import SaveAs

    if isinstance(screen.app.screen, SaveAs):
        return None
    target = await screen.app.push_screen_wait(dialog)
    if target is not None:
        kept = screen.room.setting("export")
        kept = dict(kept) if isinstance(kept, dict) else {}
        screen.room.remember("export", {**kept, "folder": str(target.path.parent), what: target.kind})
    return target


async def export_text(
    screen: Exporting,
    title: str,
    stem: str,
    kinds: Sequence[str],
    about: str,
    written: Callable[[str], Iterable[str]],
) -> None:
    """Asks for a file and writes the pieces that `written` gives for its kind, made in a thread."""
    from nanochat.common.new_file import new_file
    from tui.plots.export.write import file_stem
    from tui.screens.save_as import SaveAs

    path, kinds = await _offered(screen.room, "table", file_stem(stem), kinds)
    target = await _asked(screen, SaveAs(title, path, kinds, about), "table")
    if target is None:
        return

    def write() -> int:
        with new_file(target.path, target.replace) as temp, temp.open("wb") as file:
            return sum(file.write(piece.encode()) for piece in written(target.kind))

    size = await asyncio.to_thread(write)
    screen.room.say(f"wrote {target.path}: {size_bytes(size)}")
