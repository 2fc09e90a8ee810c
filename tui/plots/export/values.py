"""The values behind a plot as CSV: every point in view, as measured and as smoothed, never shrunk.

`snapshot` copies them on the plot thread; `csv_lines` spells them in any other.
"""

from __future__ import annotations

import csv
import io
import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from nanochat.common.errors import UserError
from tui.plots.draw import arrange
from tui.plots.frame import PlotSpec
from tui.plots.marks import Trace
from tui.plots.run_metrics import RunMetrics
from tui.plots.series import Series

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
_AXES = {"tokens": "train/total_tokens", "flops": "train/total_flops", "active_time": "train/total_time"}
_SLICE = 4_096
_SPELLED = {"NaN": "NaN", "Infinity": "inf", "-Infinity": "-inf"}
"""Values that are no number, as numpy, pandas and Python's `float` read them."""


@dataclass(frozen=True, slots=True)
class Points:
    """Points of one run in view. `broken` are (index, step, time, spelled value) of what is not finite, each
    before the point at `index`."""

    run: str
    x: Sequence[float]
    steps: Sequence[float]
    times: array[float]
    values: array[float]
    smoothed: array[float] | None
    superseded: bool
    band: tuple[array[float], array[float]] | None = None
    axes: dict[str, tuple[array[float], array[float]]] = field(default_factory=dict)
    broken: Sequence[tuple[int, float, float, str]] = ()


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
    direct = times if axis == "clock" else steps if axis == "step" and not unplaced else None
    places = direct if direct is not None else [run.x_of(series.at(index), axis) for index in view]
    edge = (low, high)
    broken = [
        (mark.index - view.start, mark.step, mark.t, _SPELLED[mark.kind])
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


def csv_lines(found: Snapshot) -> Iterator[str]:
    """The document in pieces of some thousand lines."""
    yield ",".join(HEADER) + "\n"
    for part in found.parts:
        lines: list[Sequence[object]] = []
        at = _Axes(part)
        broken = sorted(part.broken, key=lambda mark: mark[0])
        for index, value in enumerate(part.values):
            while broken and broken[0][0] <= index:
                lines.append(at.broken(found.metric, broken.pop(0)))
            lines.append(at.line(found.metric, index, value))
            if len(lines) >= _SLICE:
                yield _spelled(lines)
                lines = []
        lines += [at.broken(found.metric, mark) for mark in broken]
        yield _spelled(lines)


def _spelled(lines: Sequence[Sequence[object]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(lines)
    return out.getvalue()


class _Axes:
    """The fields of one run's points; what is placed between two known steps is read off the line there."""

    def __init__(self, part: Points) -> None:
        import numpy as np

        self._part = part
        steps = np.asarray(part.steps, dtype=float)
        self._known = {
            name: np.interp(steps, np.asarray(at), np.asarray(values)).tolist()
            for name, (at, values) in part.axes.items()
        }

    def line(self, metric: str, index: int, value: float) -> Sequence[object]:
        part = self._part
        axes = [_number(self._known[name][index]) if name in self._known else "" for name in _AXES]
        smoothed = "" if part.smoothed is None else repr(part.smoothed[index])
        return (
            part.run,
            metric,
            _number(part.x[index]),
            _number(part.steps[index]),
            *axes,
            _exact(part.times[index]),
            repr(value),
            smoothed,
            int(part.superseded),
            *([""] * 2 if part.band is None else (repr(edge[index]) for edge in part.band)),
        )

    def broken(self, metric: str, mark: tuple[int, float, float, str]) -> Sequence[object]:
        _, step, t, spelled = mark
        none = [""] * len(_AXES)
        return (
            self._part.run,
            metric,
            "",
            _number(step),
            *none,
            _exact(t),
            spelled,
            "",
            int(self._part.superseded),
            "",
            "",
        )


def _exact(value: float) -> str:
    """A number in full; empty for NaN."""
    return "" if math.isnan(value) else repr(value)


def _number(value: float) -> str:
    """A number in full; whole ones without a point; empty for NaN."""
    if math.isnan(value):
        return ""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)
