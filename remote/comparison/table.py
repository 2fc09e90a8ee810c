"""What metrics are of several runs at one place of an axis, and how far they lie apart there."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from remote.comparison.curves import RunCurves
from remote.comparison.groups import Group
from remote.comparison.lines import BandKind, Line, common_range, spread
from remote.metrics import AXIS_SOURCES, by_importance

TOTALS = (*AXIS_SOURCES.values(), "train/epoch")
"""Running totals: they place runs on an axis, and are compared only where they are asked for by name."""


@dataclass(frozen=True)
class Cell:
    """A metric of a run at one place, or the mean of a group of `count` runs with its band `low` to `high`.

    `raw` is the measured value where `value` is of a smoothed line. `interpolated`: no point lies there.
    """

    value: float
    low: float
    high: float
    count: int = 1
    raw: float | None = None
    interpolated: bool = False


@dataclass(frozen=True)
class Row:
    """One metric at place `at` of the axis: a cell a column, None where it has no value there."""

    metric: str
    at: float
    cells: tuple[Cell | None, ...]

    @property
    def differences(self) -> tuple[float | None, ...]:
        """How far each column lies above the first; None for that one and where there is no value."""
        base = self.cells[0] if self.cells else None
        if base is None:
            return (None,) * len(self.cells)
        return (None, *(None if cell is None else cell.value - base.value for cell in self.cells[1:]))


@dataclass(frozen=True)
class Block:
    """Rows of one place: `place` "common" is, for each metric, the last that all of its runs reach, "end"
    each run's own last point (`at` is then that of the first column), "point" the place `at`."""

    place: str
    at: float | None
    rows: tuple[Row, ...] = field(default_factory=tuple)


@dataclass(frozen=True)
class Columns:
    """The columns of a table of metrics: runs, alone or in groups, on one axis."""

    runs: Sequence[RunCurves]
    groups: Sequence[Group]
    axis: str
    band: BandKind = "range"

    def lines(self, metric: str, group: Group, *, raw: bool = False) -> list[Line]:
        """The lines of a group's runs; those without the metric are left out."""
        found = (self.runs[at].line(metric, self.axis, raw=raw) for at in group.members)
        return [line for line in found if line is not None and len(line)]

    def metrics(self, wanted: Iterable[str] = ()) -> list[str]:
        """The metrics that at least two columns have on the axis, or the only one; important ones first.

        With `wanted` those whose name holds one of its words.
        """
        words, least = [word.lower() for word in wanted], min(2, len(self.groups))
        names = {name for run in self.runs for name in run.tracks}
        kept = (
            name
            for name in names
            if (any(word in name.lower() for word in words) if words else name not in TOTALS)
            and sum(bool(self.lines(name, group)) for group in self.groups) >= least
        )
        return by_importance(kept)

    def last_common(self, metric: str) -> float | None:
        """The last place that every run with the metric reaches; None where their ranges do not overlap."""
        limits = common_range([line for group in self.groups for line in self.lines(metric, group)])
        return None if limits is None else limits[1]

    def cell(self, metric: str, group: Group, at: float) -> Cell | None:
        """The metric of a column at a place that all its runs with the metric reach."""
        lines = self.lines(metric, group)
        values = [line.at(at) for line in lines]
        known = [value for value in values if value is not None]
        if not known or len(known) < len(lines):
            return None
        heights = np.array(known)[:, None]
        low, high = spread(heights, self.band)
        raws = [line.at(at) for line in self.lines(metric, group, raw=True)]
        smooth = any(raw is not None and raw != value for raw, value in zip(raws, known, strict=True))
        raw = (
            float(np.mean([raw for raw in raws if raw is not None])) if smooth and None not in raws else None
        )
        measured = all(line.has(at) for line in lines)
        return Cell(float(heights.mean()), float(low[0]), float(high[0]), len(known), raw, not measured)

    def block(self, metrics: Sequence[str], at: float) -> Block:
        """The metrics at a chosen place."""
        rows = [Row(name, at, tuple(self.cell(name, group, at) for group in self.groups)) for name in metrics]
        return Block("point", at, tuple(row for row in rows if any(row.cells)))

    def common_block(self, metrics: Sequence[str]) -> Block:
        """Each metric at the last place that all of its runs reach."""
        rows = []
        for name in metrics:
            at = self.last_common(name)
            if at is not None:
                rows.append(Row(name, at, tuple(self.cell(name, group, at) for group in self.groups)))
        places = {row.at for row in rows}
        return Block("common", places.pop() if len(places) == 1 else None, tuple(rows))

    def end_block(self, metrics: Sequence[str]) -> Block:
        """Each metric where each run ends, whichever place that is."""
        rows = []
        for name in metrics:
            ends = [self._end(name, group) for group in self.groups]
            first = next((at for at, _ in ends if at is not None), math.nan)
            rows.append(Row(name, first, tuple(cell for _, cell in ends)))
        return Block("end", None, tuple(rows))

    def _end(self, metric: str, group: Group) -> tuple[float | None, Cell | None]:
        lines = self.lines(metric, group)
        if not lines:
            return None, None
        heights = np.array([line.y[-1] for line in lines])[:, None]
        low, high = spread(heights, self.band)
        cell = Cell(float(heights.mean()), float(low[0]), float(high[0]), len(lines))
        return lines[0].last, cell

    def extent(self, metrics: Sequence[str]) -> tuple[float, float] | None:
        """From the first to the last place that any run has one of the metrics."""
        lines = [line for name in metrics for group in self.groups for line in self.lines(name, group)]
        return (min(line.first for line in lines), max(line.last for line in lines)) if lines else None


def blocks(columns: Columns, places: Sequence[float], cursor: float | None) -> list[tuple[str, Block]]:
    """The blocks of the table of figures: at the cursor, at the last common point, kept places, the ends."""
    metrics = columns.metrics()
    found = [] if cursor is None else [("cursor", columns.block(metrics, cursor))]
    found.append(("common", columns.common_block(metrics)))
    found += [("kept", columns.block(metrics, at)) for at in places]
    return [*found, ("end", columns.end_block(metrics))]
