"""The pictures of Checkpoints: the table of several trainings, and all about a reinforced model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from docs.tokenizer_pictures import until

if TYPE_CHECKING:
    from textual.pilot import Pilot

    from tui.app import ControlRoom

Take = Callable[["ControlRoom", "Pilot[str]", Path, str], Awaitable[None]]
"""Saves the screen in front in every size and theme under a name."""


async def take_checkpoints(app: ControlRoom, pilot: Pilot[str], out: Path, take: Take) -> None:
    """The table with the cursor on the reinforced model, then that model's lineage back to its text."""
    from tui.screens.checkpoints.detail import CheckpointDetail
    from tui.screens.checkpoints.screen import CheckpointsScreen

    await pilot.press("6")
    await until(pilot, lambda: isinstance(app.screen, CheckpointsScreen))
    screen = app.screen
    assert isinstance(screen, CheckpointsScreen)
    await until(pilot, lambda: len(screen.rows) > 1 and not screen.waiting)
    reinforced = [line for line in screen.table.items if str(line.row.one.name).startswith("rl/")]
    screen.table.move_to_key(screen.table._key(reinforced[-1]))
    await take(app, pilot, out, "checkpoints")
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(app.screen, CheckpointDetail))
    await take(app, pilot, out, "checkpoints-detail")
    await pilot.press("escape")
