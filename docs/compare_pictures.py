"""The pictures of runs side by side: trainings of two sizes with three seeds each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textual.pilot import Pilot

    from tui.app import ControlRoom

Take = Callable[["ControlRoom", "Pilot[str]", Path, str], Awaitable[None]]
"""Saves the screen in front in every size and theme under a name."""


async def take_compare(app: ControlRoom, pilot: Pilot[str], out: Path, take: Take) -> None:
    """Six runs, their gap to the first, and the seeds of each size together; then runs over another."""
    from tui.screens.compare.screen import CompareScreen

    runs = sorted((run for run in app.rows if run.stage == "base_train"), key=lambda run: run.created_at)[:6]
    await app.open_comparison([run.key for run in runs])
    screen = app.screen
    assert isinstance(screen, CompareScreen)
    while len(screen.plots.run_keys) < len(runs) or not screen.figures.items:
        await pilot.pause(0.2)
    await take(app, pilot, out, "compare")
    await pilot.press("d", "v")
    await take(app, pilot, out, "compare-gap")
    await pilot.press("v", "b", *["comma"] * 4)
    await take(app, pilot, out, "compare-seeds")
    await pilot.press("escape")
    app.open_run(runs[0].key)
    await pilot.pause(1.0)
    for run in (runs[3], runs[4]):
        app.screen._overlays.add(run.key)  # type: ignore[attr-defined]
        await app.screen._overlays.read()  # type: ignore[attr-defined]
    await pilot.press("z")
    await take(app, pilot, out, "run-overlaid")
