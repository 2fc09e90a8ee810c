"""Writing what is on screen to files: a plot as it is drawn, runs as tables."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nanochat.common.new_file import free_name, new_file
from nanochat.common.text import amount, sanitize, size_bytes

if TYPE_CHECKING:
    from remote.runs import RunRow
    from tui.plots.export.drawing import Drawing
    from tui.plots.export.values import Snapshot
    from tui.plots.frame import PlotSpec
    from tui.room import Room

PLOT_KINDS = ("svg", "png", "csv")
RUN_KINDS = ("csv", "parquet")
SETTING = "export"


def file_stem(*words: str) -> str:
    """A name for a file made of `words`, of letters that any file system takes."""
    joined = "-".join(re.sub(r"[^\w.+-]+", "-", sanitize(word, 60)).strip("-.") for word in words)
    return joined.strip("-.") or "plot"


async def write_plot(room: Room, spec: PlotSpec, path: Path, kind: str, replace: bool) -> None:
    """Writes a plot as it is drawn, or its values. Raises `UserError`; the app's `do` says it."""
    from tui.plots.export.picture import picture
    from tui.plots.export.values import snapshot
    from tui.plots.raster import submit

    if kind == "csv":
        found = await asyncio.wrap_future(submit(snapshot, spec))
        size = await asyncio.to_thread(_write_values, found, path, replace)
        where = "of the whole run" if found.whole else "in view"
        if len(spec.runs) > 1:
            where = f"of {len(spec.runs)} runs" if found.whole else f"of {len(spec.runs)} runs in view"
        room.say(f"wrote {path}: {amount(found.count, 'point')} {where}, {size_bytes(size)}")
        return
    drawing = await asyncio.wrap_future(submit(picture, spec))
    size = await asyncio.to_thread(_write_picture, drawing, path, kind, replace)
    room.say(f"wrote {path}: {spec.metric} as on screen, {size_bytes(size)}")


def _write_picture(drawing: Drawing, path: Path, kind: str, replace: bool) -> int:
    from tui.plots.export.png import png
    from tui.plots.export.svg import svg

    content = png(drawing) if kind == "png" else svg(drawing).encode()
    with new_file(path, replace) as temp:
        temp.write_bytes(content)
    return len(content)


def _write_values(found: Snapshot, path: Path, replace: bool) -> int:
    from tui.plots.export.values import csv_lines

    with new_file(path, replace) as temp:
        with temp.open("w", encoding="utf-8", newline="") as file:
            file.writelines(csv_lines(found))
        return temp.stat().st_size


async def write_runs(room: Room, runs: Sequence[RunRow], path: Path, kind: str, replace: bool) -> None:
    """Writes each run's table: one to `path`, several to names of their own in its folder."""
    for run in runs:
        name = path if len(runs) == 1 else free_name(path.parent / f"{run_stem(run)}.{kind}")
        rows, size = await asyncio.to_thread(_write_run, room, run, name, kind, replace)
        room.say(f"wrote {name}: {amount(rows, 'row')}, {size_bytes(size)}")
    if len(runs) > 1:
        room.say(f"wrote {amount(len(runs), 'table')} to {path.parent}")


def run_stem(run: RunRow) -> str:
    """What the file of a run's table is called."""
    return file_stem(run.run_id)


def _write_run(room: Room, run: RunRow, path: Path, kind: str, replace: bool) -> tuple[int, int]:
    from remote.export.run_file import write_run
    from remote.export.run_table import run_table

    table = run_table(room.store, run)
    return table.num_rows, write_run(table, path, kind, replace)
