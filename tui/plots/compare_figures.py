"""The table of figures, computed on the plot thread from what it has of the runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from remote.comparison.comparison import Comparison, notes
from remote.comparison.curves import RunCurves
from remote.comparison.figures import metric_cells, short_titles
from remote.comparison.groups import Grouping
from remote.comparison.lines import BandKind
from remote.comparison.table import blocks
from tui.plots.derived import curves_of
from tui.plots.frame import View
from tui.plots.run_metrics import RunMetrics


@dataclass(frozen=True)
class FigureRow:
    """A metric at one place, its cells as text: metric, place, a value a column, their differences."""

    where: str
    metric: str
    cells: tuple[str, ...]

    @property
    def key(self) -> str:
        """What tells the row from others, also when its figures change."""
        return f"{self.where} {self.metric} {self.cells[1] if self.where == 'kept' else ''}"


@dataclass(frozen=True)
class FigureTable:
    """All rows, the letters of the columns, and the notes on what is compared."""

    letters: tuple[str, ...] = ()
    rows: tuple[FigureRow, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """What is to be computed: the runs without their curves, and how they are looked at."""

    comparison: Comparison
    view: View
    by: Grouping
    band: BandKind
    places: tuple[float, ...]
    cursor: float | None


class FigureMaker:
    """Computes tables, keeping what it made of a run until that changes. Used on the plot thread only."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[object, RunCurves]] = {}

    def make(self, wanted: Wanted, runs: Mapping[str, RunMetrics]) -> FigureTable:
        """The table as the runs are now; `runs` are those of the comparison by key."""
        axis = wanted.view.axis
        keys = [facts.run.key for facts in wanted.comparison.facts]
        curves = [self._curves(key, runs.get(key), wanted.view) for key in keys]
        comparison = replace(wanted.comparison, curves=curves)
        columns = comparison.columns(axis, wanted.by, wanted.band)
        rows = [
            FigureRow(where, row.metric, tuple(metric_cells(row, block, columns)))
            for where, block in blocks(columns, wanted.places, wanted.cursor)
            for row in block.rows
        ]
        return FigureTable(
            tuple(short_titles(comparison, columns)), tuple(rows), tuple(notes(comparison, axis))
        )

    def curves(self, wanted: Wanted, runs: Mapping[str, RunMetrics]) -> Comparison:
        """The comparison with its curves, as the runs are now."""
        keys = [facts.run.key for facts in wanted.comparison.facts]
        return replace(
            wanted.comparison, curves=[self._curves(key, runs.get(key), wanted.view) for key in keys]
        )

    def _curves(self, key: str, run: RunMetrics | None, view: View) -> RunCurves:
        if run is None:
            return RunCurves("")
        now = (
            id(run),
            view.smoothing,
            view.x,
            view.axis if view.x is not None else "",
            tuple((name, len(s), s.attempt, len(s.marks)) for name, s in run.series.items()),
        )
        known = self._made.get(key)
        if known is None or known[0] != now:
            known = self._made[key] = now, curves_of(run, view)
        return known[1]
