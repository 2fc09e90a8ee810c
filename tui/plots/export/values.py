"""The values behind a plot as CSV: every point in view, as measured and as smoothed, never shrunk.

`snapshot` copies them on the plot thread; `table_of` makes a table of them in any other.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from nanochat.common.errors import UserError
from remote.metrics import AXIS_SOURCES
from tui.plots.draw import arrange
from tui.plots.frame import PlotSpec
from tui.plots.marks import Trace
from tui.plots.run_metrics import RunMetrics
from tui.plots.series import Series

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

HEADER = (
    "run",
    "metric",
    "x",
    "step",
    "tokens",
    "flops",
    "active_time",
    "time",
    "value",
    "smoothed",
    "superseded",
    "low",
    "high",
)
"""`x` is on the plot's axis; times are seconds, `time` since 1970; `smoothed` is empty where nothing is
smoothed, and `superseded` is 1 for points that a later attempt redid. `low` and `high` are the band around
the mean of a group of runs. A line made out of several runs has no time, and a step only as its axis."""
_COLUMN = {"step": "step", "tokens": "tokens", "FLOPs": "flops", "active time": "active_time"}
"""The column that an axis of a plot is."""
_AXES = {_COLUMN[axis]: metric for axis, metric in AXIS_SOURCES.items()}
"""The metric that a column is read from."""


class Broken(NamedTuple):
    """A value that is no number, ahead of point number `before` of those in view."""

    before: int
    step: float
    t: float
    value: float


@dataclass(frozen=True, slots=True)
class Points:
    """Points of one run in view. `x` are their places on the plot's axis, or the column that tells them.
    `broken` are (index, step, time, spelled value) of what is not finite, each
    before the point at `index`."""

    run: str
    x: Sequence[float] | str
    steps: Sequence[float]
    times: array[float]
    values: array[float]
    smoothed: array[float] | None
    superseded: bool
    band: tuple[array[float], array[float]] | None = None
    axes: dict[str, tuple[array[float], array[float]]] = field(default_factory=dict)
    broken: Sequence[Broken] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is written of one plot. `whole` where no limits cut the run short."""

    metric: str
    parts: Sequence[Points]
    whole: bool

    @property
    def count(self) -> int:
        """How many points there are, those that are no number included."""
        return sum(len(part.values) + len(part.broken) for part in self.parts)


def snapshot(spec: PlotSpec) -> Snapshot:
    """The points of a plot within its x limits. Runs on the plot thread.

    Raises `UserError` where there is none.
    """
    made = arrange(spec)
    parts = [part for trace in made.traces for part in _parts(trace, made.spec, made.frame.x)]
    found = Snapshot(spec.metric, parts, spec.view.x is None)
    if not found.count:
        raise UserError(f"{spec.metric or 'the plot'} has no value to write yet", "wait for the first one")
    return found


def _parts(trace: Trace, spec: PlotSpec, x: tuple[float, float]) -> Iterator[Points]:
    run = trace.run
    axes = {
        name: (source.steps[:], source.values[:])
        for name, metric in _AXES.items()
        if (source := run.series.get(metric)) is not None and len(source)
    }
    yield _points(trace.series, run, spec, x, axes=axes, smooth=trace.smooth is not None)
    if spec.view.superseded:
        for old in trace.series.superseded:
            yield replace(_points(old, run, spec, x, axes=axes, smooth=False), superseded=True)


def _points(
    series: Series,
    run: RunMetrics,
    spec: PlotSpec,
    x: tuple[float, float],
    *,
    axes: dict[str, tuple[array[float], array[float]]],
    smooth: bool,
) -> Points:
    axis = spec.view.axis
    (low, high), by = run.edges(series, axis, list(x))
    view = series.within(low, high, by)
    made = "clock" not in run.axes()  # a line out of several runs: its places are on the axis alone
    times = array("d", [math.nan]) * len(view) if made else series.times[view.start : view.stop]
    unplaced = series.stepless or (made and axis != "step")
    steps = [math.nan] * len(view) if unplaced else series.steps[view.start : view.stop]
    places: Sequence[float] | str
    if not unplaced and (axis == "step" or _COLUMN.get(axis, "") in axes):
        places = _COLUMN.get(axis, "step")  # a million points are placed by the other thread
    else:
        places = times if axis == "clock" else [run.x_of(series.at(index), axis) for index in view]
    edge = (low, high)
    broken = [
        Broken(mark.index - view.start, mark.step, mark.t, float(mark.kind))
        for mark in series.marks
        if edge[0] <= (mark.t if by == "time" else mark.step) <= edge[1]
    ]
    return Points(
        run=run.label,
        x=places,
        steps=steps,
        times=times,
        values=series.values[view.start : view.stop],
        smoothed=series.smoothed(view) if smooth else None,
        superseded=False,
        band=series.band(view),
        axes=axes,
        broken=broken,
    )


def table_of(found: Snapshot) -> pa.Table:
    """The points as a table with the columns `HEADER`; what has no value is null, a NaN stays one."""
    import pyarrow as pa

    return pa.concat_tables([_table(found.metric, part) for part in found.parts])


def _table(metric: str, part: Points) -> pa.Table:
    import numpy as np
    import pyarrow as pa

    marks = sorted(part.broken)
    at = [min(max(0, mark.before), len(part.values)) for mark in marks]
    # A value that is no number stands where it broke the line.
    steps = np.insert(np.asarray(part.steps, dtype=float), at, [mark.step for mark in marks])
    times = np.insert(np.asarray(part.times), at, [mark.t for mark in marks])
    values = np.insert(np.asarray(part.values), at, [mark.value for mark in marks])
    count = len(values)
    known = {
        name: _along(np.asarray(where), np.asarray(tells), steps)
        for name, (where, tells) in part.axes.items()
    }
    if isinstance(part.x, str):
        x = {**known, "step": steps}[part.x]
    else:
        x = np.insert(np.asarray(part.x, dtype=float), at, np.nan)
    none = np.full(count, np.nan)

    def beside(measured: Sequence[float] | None) -> Numbers:
        return none if measured is None else np.insert(np.asarray(measured), at, np.nan)

    low, high = part.band or (None, None)
    numbers = {
        "x": x,
        "step": steps,
        **{name: known.get(name, none) for name in _AXES},
        "time": times,
        "smoothed": beside(part.smoothed),
        "low": beside(low),
        "high": beside(high),
    }
    columns = {name: pa.array(column, mask=np.isnan(column)) for name, column in numbers.items()}
    columns["value"] = pa.array(values, from_pandas=False)
    columns["superseded"] = pa.array(np.full(count, part.superseded))
    same = pa.array(np.zeros(count, dtype=np.int8))
    for name, text in (("run", part.run), ("metric", metric)):
        columns[name] = pa.DictionaryArray.from_arrays(same, [text])
    return pa.table({name: columns[name] for name in HEADER})


def _along(at: Numbers, values: Numbers, steps: Numbers) -> Numbers:
    """The values at `steps` on the line through (at, values); beyond its ends along its outermost pieces."""
    import numpy as np

    if len(at) < 2:
        return np.full(len(steps), values[0])
    right = np.clip(np.searchsorted(at, steps), 1, len(at) - 1)
    run = at[right] - at[right - 1]
    share = np.divide(steps - at[right - 1], run, out=np.ones(len(steps)), where=run > 0)
    return np.where(np.isnan(steps), np.nan, values[right - 1] + share * (values[right] - values[right - 1]))
