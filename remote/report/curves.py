"""The curves of a run: which metrics, their figures as a table, and their pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from nanochat.commands.table import PICTURES, load_any
from nanochat.common.text import number
from remote.metrics import better, by_importance, evaluated
from remote.report.blocks import Curves, Table
from remote.runs import RunRow
from remote.store.series import Series
from remote.store.store import Store

Pictures = Callable[[str, dict[str, Series], Sequence[str]], list[tuple[str, str]]]
"""From a label, metrics with what their axes need, and the names to draw: `(name, svg)` of each."""

SHOWN = (
    "train/loss",
    "val/bpb",
    "core/core",
    "chat/ChatCORE",
    "rl/reward",
    "rl/held_out_reward",
    "rl/pass@1",
    "rl/pass@8",
    "train/lrm",
    "train/mfu",
    "train/tok_per_sec",
    "train/grad_norm",
)
"""What is drawn, where a run has two points of it at least."""


def read_curves(store: Store, run: RunRow, pictures: bool = True) -> Curves | None:
    """The curves of a run; None where it has none. Blocks on the disk, and draws."""
    known = store.metric_names(run.key)
    names = [name for name in by_importance(known) if name in SHOWN]
    if not names:
        return None
    every = store.all_series(run.key, {}, names)
    found = {name: series for name, series in every.items() if len(series) > 1}
    names = [name for name in names if name in found]
    if not names:
        return None
    draw: Pictures = load_any(PICTURES)
    drawn = draw(run.name or run.stage or run.run_id, found, names) if pictures else []
    return Curves(tuple(drawn), figures(names, found))


def figures(names: Iterable[str], found: dict[str, Series]) -> Table:
    """First and last value of each metric, and the best of an evaluated one; what was redone is left out."""
    rows = []
    for name in names:
        points = [point for point in _current(found[name]) if math.isfinite(point[1])]
        if not points:
            rows.append((name, "NaN", "", "", "NaN", f"{len(found[name]):,}"))
            continue
        way = better(name) if evaluated(name) else 0
        best = max(points, key=lambda point: way * point[1]) if way else None
        rows.append(
            (
                name,
                number(points[0][1]),
                "" if best is None else number(best[1]),
                "" if best is None or best[0] < 0 else f"{best[0]:,}",
                number(points[-1][1]),
                f"{len(points):,}",
            )
        )
    return Table(("curve", "first", "best", "at step", "last", "points"), tuple(rows))


def _current(series: Series) -> list[tuple[int, float]]:
    """`(step, value)` of the points that count."""
    old: Any = series.superseded or bytes(len(series))
    return [
        (step, value) for step, value, gone in zip(series.step, series.value, old, strict=True) if not gone
    ]
