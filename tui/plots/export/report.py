"""The pictures of a report: plots as the app exports them, in colours that the page decides.

Named in `nanochat.commands.table`: the report is made below the screens, and has no other way here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.style import Style

from nanochat.common.errors import UserError
from nanochat.common.smoothing import SHARE
from remote.store.series import Series
from tui.plots.export.picture import picture
from tui.plots.export.svg import svg
from tui.plots.frame import PlotSpec, View
from tui.plots.raster import submit
from tui.plots.run_metrics import RunMetrics
from tui.style.palette import Palette

WIDTH, HEIGHT = 58, 13
"""Cells of a picture: two stand side by side on a page."""
ROLES = ("text", "muted", "rule", "error", "warning", "good", "line", "faint", "ground")
"""The custom properties that a page gives colours to: `--plot-text` …"""

_PAINT = re.compile(r'(fill|stroke)="#0000([0-9a-f]{2})"')


def pictures(label: str, found: dict[str, Series], names: Sequence[str]) -> list[tuple[str, str]]:
    """`(name, svg)` of each metric of one run that can be drawn. Waits for the plot thread, which draws what
    is on screen in between.

    Every colour is a custom property of the page's, `var(--plot-line)` and so on: see `ROLES`.
    """
    run = submit(_read, label, found).result()
    drawn = ((name, submit(_drawn, run, name).result()) for name in names)
    return [(name, text) for name, text in drawn if text]


def _read(label: str, found: dict[str, Series]) -> RunMetrics:
    run = RunMetrics(label)
    run.ingest(found)
    return run


def _drawn(run: RunMetrics, name: str) -> str:
    """The picture of a metric; "" where it has no finite value, which the table of figures says."""
    spec = PlotSpec(name, (run,), View(smoothing=SHARE), WIDTH, HEIGHT, _palette())
    try:
        return _PAINT.sub(_property, svg(picture(spec)))
    except UserError:
        return ""


def _palette() -> Palette:
    """A palette whose colours are numbers of `ROLES`."""
    styles = {name: _style(name) for name in ROLES}
    return Palette(
        text=styles["text"],
        muted=styles["muted"],
        rule=styles["rule"],
        title=_style("text", bold=True),
        focus=_style("text", bold=True),
        cursor=styles["text"],
        error=styles["error"],
        warning=styles["warning"],
        good=styles["good"],
        line=(styles["line"],) * 8,
        faint=(styles["faint"],) * 8,
        heat=(styles["line"],) * 8,
    )


def _style(role: str, bold: bool = False) -> Style:
    ground = f"#0000{ROLES.index('ground'):02x}"
    return Style(color=f"#0000{ROLES.index(role):02x}", bgcolor=ground, bold=bold)


def _property(match: re.Match[str]) -> str:
    return f'style="{match[1]}:var(--plot-{ROLES[int(match[2], 16)]})"'
