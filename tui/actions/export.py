"""Writing runs to files as tables."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nanochat.common.new_file import free_name
from nanochat.common.text import amount, size_bytes

if TYPE_CHECKING:
    from remote.runs import RunRow
    from tui.room import Room

RUN_KINDS = ("csv", "parquet")


async def write_runs(room: Room, runs: Sequence[RunRow], path: Path, kind: str, replace: bool) -> None:
    """Writes each run's table: one to `path`, several to names of their own in its folder."""
    for run in runs:
        name = path if len(runs) == 1 else free_name(path.parent / f"{run.run_id}.{kind}")
        rows, size = await asyncio.to_thread(_write_run, room, run, name, kind, replace)
        room.say(f"wrote {name}: {amount(rows, 'row')}, {size_bytes(size)}")
    if len(runs) > 1:
        room.say(f"wrote {amount(len(runs), 'table')} to {path.parent}")


def _write_run(room: Room, run: RunRow, path: Path, kind: str, replace: bool) -> tuple[int, int]:
    from remote.export.run_file import write_run
    from remote.export.run_table import run_table

    table = run_table(room.store, run)
    return table.num_rows, write_run(table, path, kind, replace)
