"""The pictures of Evals: checkpoints with their items, beside GPT-2."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textual.pilot import Pilot

    from tui.app import ControlRoom
    from tui.screens.evals.screen import EvalsScreen

Take = Callable[["ControlRoom", "Pilot[str]", Path, str], Awaitable[None]]
"""Saves the screen in front in every size and theme under a name."""
WAIT = 60.0
"""Seconds until everything that was evaluated is listed, items are compared, or curves are drawn."""


async def take_evals(app: ControlRoom, pilot: Pilot[str], out: Path, take: Take) -> None:
    """CORE and chat tasks as tables, two evaluations item by item, and curves."""
    from tui.screens.evals.curve import CurveScreen
    from tui.screens.evals.difference import DifferenceScreen
    from tui.screens.evals.screen import EvalsScreen

    await pilot.press("4")
    screen = app.screen
    assert isinstance(screen, EvalsScreen)
    await until(pilot, lambda: sum(one.kind == "core" and not one.reference for one in screen.columns) > 1)
    kept = [one for one in screen.columns if one.items is not None and not one.while_training]
    columns = [one for one in kept if one.settings == kept[0].settings]
    published = {one.id for one in screen.columns if one.reference}
    screen.board.choose(screen.evaluations, "core", {columns[0].id, columns[1].id} | published)
    screen.show_table()
    await at(screen, pilot, columns[0].id)
    await take(app, pilot, out, "evals")
    await pilot.press("tab", "down")
    await take(app, pilot, out, "evals-chat")
    await pilot.press("shift+tab")
    await app.push_screen(DifferenceScreen(columns[0], columns[1], columns))
    difference = app.screen
    assert isinstance(difference, DifferenceScreen)
    await until(pilot, lambda: bool(difference.table.items))
    await take(app, pilot, out, "evals-difference")
    difference.table.move_to_key("arc_easy")
    await pilot.press("enter")
    await pilot.pause(1.0)
    await take(app, pilot, out, "evals-items")
    await pilot.press("enter")
    await take(app, pilot, out, "evals-item")
    await pilot.press("escape", "escape", "escape")
    trained = next(one for one in screen.evaluations if one.while_training and one.kind == "core")
    curve = CurveScreen(trained, screen.evaluations)
    await app.push_screen(curve)
    await until(pilot, lambda: bool(curve.drawn))
    await take(app, pilot, out, "evals-curve")
    await pilot.press("escape")


async def at(screen: EvalsScreen, pilot: Pilot[str], evaluation: int) -> None:
    """Puts the cursor on the column of an evaluation."""
    ids = [heading.evaluation for heading in screen.table.headings]
    screen.table.move_to_column(ids.index(evaluation))
    await pilot.pause()


async def until(pilot: Pilot[str], is_so: Callable[[], bool]) -> None:
    """Waits until something is so."""
    deadline = time.monotonic() + WAIT
    while not is_so():
        if time.monotonic() > deadline:
            raise SystemExit("what the pictures of Evals show does not come")
        await pilot.pause(0.2)
