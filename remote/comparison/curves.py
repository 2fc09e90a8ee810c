"""The metrics of one run as lines over an axis: what counts of them, smoothed as plots smooth them."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from nanochat.common.smoothing import SHARE, decay, moving_average
from remote.comparison.lines import Line, Numbers
from remote.metrics import AXES, AXIS_SOURCES, evaluated, noisy

if TYPE_CHECKING:
    from remote.store.series import Series

ALIGNED_AXES = tuple(axis for axis in AXES if axis != "clock")
"""The axes on which runs are compared; by the clock no two runs stand at the same place."""


@dataclass(frozen=True)
class Track:
    """The points of one metric that count, in order of step: finite, and redone by no later attempt.

    `smooth` is the moving average of a noisy one over steps of its own, None where it is as measured.
    `left_out` counts values that are no finite number, `superseded` those that a later attempt redid.
    """

    raw: Line
    smooth: Line | None = None
    left_out: int = 0
    superseded: int = 0

    @property
    def shown(self) -> Line:
        """The line in full colour: the smoothed one where there is one."""
        return self.raw if self.smooth is None else self.smooth


@dataclass(frozen=True)
class RunCurves:
    """One run's metrics by name. Metrics without steps are not among them: nothing places them."""

    name: str
    tracks: Mapping[str, Track] = field(default_factory=dict)
    _placed: dict[tuple[str, str, bool], Line | None] = field(default_factory=dict, repr=False, compare=False)
    """Lines over axes, made when they are first asked for."""

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes on which this run has a place, in the order of `AXES`."""
        if not self.tracks:
            return ()
        found = [axis for axis, source in AXIS_SOURCES.items() if self._totals(source) is not None]
        return tuple(axis for axis in ALIGNED_AXES if axis == "step" or axis in found)

    def _totals(self, source: str) -> Line | None:
        track = self.tracks.get(source)
        return track.raw if track is not None and len(track.raw) > 1 else None

    def line(self, metric: str, axis: str, *, raw: bool = False) -> Line | None:
        """A metric over an axis; None where the run has none of it or has no place on that axis."""
        key = metric, axis, raw
        if key not in self._placed:
            self._placed[key] = self._line(metric, axis, raw)
        return self._placed[key]

    def _line(self, metric: str, axis: str, raw: bool) -> Line | None:
        track = self.tracks.get(metric)
        if track is None or not len(track.raw):
            return None
        line = track.raw if raw else track.shown
        if axis == "step":
            return line
        totals = self._totals(AXIS_SOURCES[axis])
        if totals is None:
            return None
        # A step's totals count the step; what is evaluated at it was measured before it was taken.
        return line.over(Line(totals.x + 1, totals.y) if evaluated(metric) else totals)


def tracks_of(series: Mapping[str, Series], share: float = SHARE) -> dict[str, Track]:
    """The tracks of a run's metrics as the store gives them; noisy ones smoothed over `share` of them."""
    tracks = {name: track_of(points, share if noisy(name) else 0.0) for name, points in series.items()}
    return {name: track for name, track in tracks.items() if track is not None}


def track_of(points: Series, share: float = 0.0) -> Track | None:
    """One metric's track; None where none of its points has a step."""
    steps, values = np.array(points.step), np.array(points.value)
    placed = steps >= 0
    if not placed.any():
        return None
    redone = np.frombuffer(bytes(points.superseded), dtype=np.uint8).astype(bool)
    kept = placed & ~redone if len(redone) else placed
    finite = np.isfinite(values)
    line = _rising(steps[kept & finite].astype(np.float64), values[kept & finite])
    left_out, superseded = int((kept & ~finite).sum()), int((placed & redone).sum()) if len(redone) else 0
    return Track(line, smoothed(line, share), left_out, superseded)


def _rising(steps: Numbers, values: Numbers) -> Line:
    """Points in order of step, of several at one step the last."""
    order = np.argsort(steps, kind="stable")
    steps, values = steps[order], values[order]
    last = np.append(np.diff(steps) > 0, True) if len(steps) else np.empty(0, dtype=bool)
    return Line(steps[last], values[last])


def smoothed(line: Line, share: float) -> Line | None:
    """The moving average of a line as a plot of all of it draws it; None where it would not smooth."""
    beta = decay(len(line), share)
    if not beta:
        return None
    places, values = moving_average(array("d", line.y), beta)
    return Line(line.x[list(places)], np.array(values))
