"""Writing a plot to a file: the picture as it is drawn, or its values."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from nanochat.common.new_file import new_file
from nanochat.common.text import amount, sanitize, size_bytes
from remote.export.run_file import write_run
from tui.plots.export.drawing import Drawing
from tui.plots.export.picture import picture
from tui.plots.export.png import png
from tui.plots.export.svg import svg
from tui.plots.export.values import snapshot, table_of
from tui.plots.frame import PlotSpec
from tui.plots.raster import submit

KINDS = ("svg", "png", "csv")


def file_stem(*words: str) -> str:
    """A name for a file made of `words`, of letters that any file system takes."""
    joined = "-".join(re.sub(r"[^\w.+-]+", "-", sanitize(word, 60)).strip("-.") for word in words)
    return joined.strip("-.") or "plot"


async def write_plot(spec: PlotSpec, path: Path, kind: str, replace: bool) -> str:
    """Writes a plot as one of `KINDS`; returns what was written, in words. Raises `UserError`."""
    if kind == "csv":
        found = await asyncio.wrap_future(submit(snapshot, spec))
        size = await asyncio.to_thread(lambda: write_run(table_of(found), path, "csv", replace))
        where = "of the whole run" if found.whole else "in view"
        if len(spec.runs) > 1:
            where = f"of {len(spec.runs)} runs" if found.whole else f"of {len(spec.runs)} runs in view"
        return f"wrote {path}: {amount(found.count, 'point')} {where}, {size_bytes(size)}"
    drawing = await asyncio.wrap_future(submit(picture, spec))
    size = await asyncio.to_thread(_write_picture, drawing, path, kind, replace)
    return f"wrote {path}: {spec.metric} as on screen, {size_bytes(size)}"


def _write_picture(drawing: Drawing, path: Path, kind: str, replace: bool) -> int:
    content = png(drawing) if kind == "png" else svg(drawing).encode()
    with new_file(path, replace) as temp:
        temp.write_bytes(content)
    return len(content)
