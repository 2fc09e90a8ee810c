"""Lines through the points of metrics, compared where both have points: never beyond the ends of either."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Numbers: TypeAlias = NDArray[np.float64]
BandKind = Literal["range", "stderr"]
BANDS: dict[BandKind, str] = {"range": "min to max", "stderr": "± standard error"}
"""What a band around the mean of several runs shows."""


@dataclass(frozen=True, eq=False)
class Line:
    """Points (x, y) joined by straight lines; x rises, and every number is finite."""

    x: Numbers
    y: Numbers

    def __len__(self) -> int:
        return len(self.x)

    @classmethod
    def of(cls, x: Sequence[float] | Numbers, y: Sequence[float] | Numbers) -> Line:
        """A line with numbers of its own: what they were read from may grow."""
        return cls(np.array(x, dtype=np.float64), np.array(y, dtype=np.float64))

    @property
    def first(self) -> float:
        return float(self.x[0])

    @property
    def last(self) -> float:
        return float(self.x[-1])

    def at(self, x: float) -> float | None:
        """The height at x, between two points interpolated; None before the first and after the last."""
        if not len(self.x) or not self.x[0] <= x <= self.x[-1]:
            return None
        return float(np.interp(x, self.x, self.y))

    def has(self, x: float) -> bool:
        """Whether a point lies at x, so that its height there was measured and not interpolated."""
        near = int(np.searchsorted(self.x, x))
        around = self.x[max(0, near - 1) : near + 1]
        return bool(np.any(np.isclose(around, x, rtol=1e-12, atol=0.0)))

    def over(self, totals: Line) -> Line:
        """The same heights over another axis: `totals` gives the position there for each of our x.

        Beyond the ends of `totals` the position follows its end segment. Points at which the position does
        not rise are left out but for the last of them: nothing can be interpolated between those.
        """
        places = _extended(totals, self.x)
        rises = np.append(np.diff(places) > 0, True)
        return Line(places[rises], self.y[rises])


def _extended(line: Line, at: Numbers) -> Numbers:
    if len(line) < 2:
        return at
    found: Numbers = np.interp(at, line.x, line.y)
    for side, near, beyond in ((0, 1, at < line.x[0]), (-1, -2, at > line.x[-1])):
        run = line.x[side] - line.x[near]
        if run and beyond.any():
            slope = (line.y[side] - line.y[near]) / run
            found[beyond] = line.y[side] + (at[beyond] - line.x[side]) * slope
    return found


def common_range(lines: Sequence[Line]) -> tuple[float, float] | None:
    """From where to where all lines have points; None where they do not overlap."""
    if not lines or not all(len(line) for line in lines):
        return None
    low, high = max(line.first for line in lines), min(line.last for line in lines)
    return (low, high) if low <= high else None


def common_places(lines: Sequence[Line]) -> Numbers:
    """The x of every point of the lines within their common range, its two ends included."""
    limits = common_range(lines)
    if limits is None:
        return np.empty(0)
    low, high = limits
    found = np.unique(np.concatenate([*(line.x for line in lines), np.array(limits)]))
    inside: Numbers = found[(found >= low) & (found <= high)]
    return inside


def gap(base: Line, other: Line) -> Line:
    """How far `other` lies above `base`, at every point of both within their common range."""
    places = common_places((base, other))
    return Line(places, np.interp(places, other.x, other.y) - np.interp(places, base.x, base.y))


@dataclass(frozen=True, eq=False)
class BandLine:
    """The mean of several lines over their common range, and the band around it.

    `kind` "range" is the lowest and highest of them, "stderr" the mean ± the standard error of the mean
    (s/√n with n - 1 in s); of one line the band is the line.
    """

    mean: Line
    low: Numbers
    high: Numbers
    count: int


def band(lines: Sequence[Line], kind: BandKind) -> BandLine:
    """Mean and band of lines, at every point of any of them."""
    places = common_places(lines)
    heights = np.array([np.interp(places, line.x, line.y) for line in lines if len(line)])
    if not len(places):
        return BandLine(Line(places, np.empty(0)), np.empty(0), np.empty(0), len(lines))
    mean = heights.mean(axis=0)
    low, high = spread(heights, kind)
    return BandLine(Line(places, mean), low, high, len(lines))


def spread(heights: Numbers, kind: BandKind) -> tuple[Numbers, Numbers]:
    """The lower and upper edge of a band over the rows of `heights` (lines, places)."""
    if kind == "range" or len(heights) < 2:
        return heights.min(axis=0), heights.max(axis=0)
    mean = heights.mean(axis=0)
    error = heights.std(axis=0, ddof=1) / np.sqrt(len(heights))
    return mean - error, mean + error
