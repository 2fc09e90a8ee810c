"""Reports from the control room: written with a key, and at the end of a plan that was started here."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nanochat.common.text import sanitize

if TYPE_CHECKING:
    from remote.report.write import Written
    from remote.runs import RunRow
    from tui.room import Room

LOOK = 2.0
"""Seconds between two looks whether a plan has ended."""
_LOOKS = 30  # in vain, after which its runs are taken for deleted


async def write_report(room: Room, run: RunRow) -> None:
    """Writes the report of the run's plan, or of the run where it belongs to none, and shows it."""
    room.say(f"writing the report of {sanitize(run.plan_name or run.label)} …")
    written = await _write(room, {run.key})
    room.say(f"report: {written.markdown}")
    room.show_report(written)


async def report_at_end(room: Room, keys: Sequence[str]) -> None:
    """Waits until these runs have ended, writes their report and says where it lies."""
    missed, ids = 0, {key.rpartition("/")[2] for key in keys}
    while missed < _LOOKS:
        rows = [run for run in room.rows if run.run_id in ids]
        missed = 0 if rows else missed + 1
        if len(rows) == len(keys) and not any(run.live or run.partial for run in rows):
            written = await _write(room, keys)
            failed = next((run for run in rows if run.status in ("failed", "lost")), None)
            what = f"{sanitize(failed.label)} {failed.status} · " if failed is not None else ""
            room.say(f"{what}report: {written.markdown}")
            return
        await asyncio.sleep(LOOK)


async def _write(room: Room, keys: Collection[str]) -> Written:
    """From what the app has heard: it follows its hosts, none is asked again."""
    from remote.report.make import make_report
    from remote.report.scope import of_runs

    fleet = room.fleet
    return await make_report(
        fleet, room.layout, lambda: of_runs(fleet.store.runs(), fleet.store, keys), ask=False
    )


def has_display(env: Mapping[str, str] = os.environ) -> bool:
    """Whether a browser started here would be seen: not over SSH, and not on a console without windows."""
    if env.get("SSH_CONNECTION"):
        return False
    return sys.platform == "darwin" or bool(env.get("DISPLAY") or env.get("WAYLAND_DISPLAY"))


def open_page(path: Path) -> bool:
    """Opens a page in the browser; False where there is none. Blocks for some moments."""
    import webbrowser

    return webbrowser.open(path.as_uri())
