"""The y axis: limits that hold what is drawn, with every tick on the centre of a cell.

A gridline is a character in the middle of its cell, a curve is made of dots a quarter of a cell high. Only
where a tick's value falls on a cell's centre does the gridline tell the truth: a value above 0 is never drawn
below the 0 line.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tui.plots.canvas import Band
from tui.plots.ticks import Tick, linear_ticks, log_ticks, nice_step, number_labels

_CROWDED = {1: 1.5, 2: 1.15, 3: 1.0, 4: 1.0, 5: 1.05, 6: 1.15}
"""How much worse a scale with labels so many rows apart is than one with labels three or four rows apart."""
_DECADES = (1, 2, 5, 10, 20, 50, 100, 200)
_SPLIT_FROM = 6
"""Rows a decade from which its 2 and 5 are labelled too."""
_NEAR_CENTRE = 0.125
_LEAST_FILLED = 0.7
"""The share of a log axis that the values must fill for its limits to be moved to where ticks align."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Limits of the y axis and labels by canvas row, 0 = top. `grid` are rows whose label is their centre.

    `values` are what the labels stand for.
    """

    low: float
    high: float
    labels: Mapping[int, str]
    grid: frozenset[int]
    values: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class _Fit:
    """Rows of height `height` from (`first` - ½) × `height` on; every `stride`-th row is a tick of `step`."""

    height: float
    first: int
    stride: int
    step: float

    def limits(self, rows: int) -> tuple[float, float]:
        return (self.first - 0.5) * self.height, (self.first - 0.5 + rows) * self.height

    def ticks(self, rows: int) -> dict[int, float]:
        """The tick values by row from the top."""
        return {
            rows - 1 - row: (row + self.first) // self.stride * self.step
            for row in range(rows)
            if (row + self.first) % self.stride == 0
        }


def fitted(low: float, high: float, *, rows: int, log: bool, width: int) -> Scale:
    """The tightest aligned scale over [low, high] on `rows` rows, with labels of at most `width` characters.

    On a log axis low > 0. Where no scale can be aligned (less than a decade, or values that a double can
    hardly tell apart) the labels stand at the nearest rows, without gridlines.
    """
    if log:
        return _fitted_log(low, high, rows, width)
    span = high - low
    if not span > 2e-4 * max(abs(low), abs(high)):
        # Noise of a constant: not blown up to the height of the plot.
        pad = (0.05 if span == 0 else 1e-4) * max(abs(low), abs(high)) or 0.5
        middle = low / 2 + high / 2
        low, high = (0.0, 1.0) if middle == 0 else (middle - pad, middle + pad)
        span = high - low
    best: tuple[float, _Fit, list[str]] | None = None
    for stride in _strides(rows):
        fit = _fit(low, high, rows, stride)
        if fit is None:
            continue
        ticks = fit.ticks(rows)
        labels = number_labels(list(ticks.values()), fit.step)
        if len(ticks) < min(2, rows) or any(len(label) > width for label in labels):
            continue
        cost = fit.height * _CROWDED[stride] * _few(len(ticks), rows)
        if best is None or cost < best[0]:
            best = cost, fit, labels
    if best is None:
        margin = 0.03 * span
        return given(low - margin, high + margin, rows=rows, log=False, width=width)
    _, fit, labels = best
    at = fit.ticks(rows)
    return Scale(*fit.limits(rows), dict(zip(at, labels, strict=True)), frozenset(at), at)


def given(low: float, high: float, *, rows: int, log: bool, width: int) -> Scale:
    """A scale with the limits asked for; a gridline only where a tick falls on a cell's centre."""
    count = max(1, min(6, rows // 2))
    ticks = log_ticks(low, high, count, width) if log else linear_ticks(low, high, count, width)
    return _nearest(ticks, Band(1, rows, (low, high), log))


def _nearest(ticks: Iterable[Tick], band: Band) -> Scale:
    labels, values, grid = {}, {}, set()
    for tick in ticks:
        height = band.row(tick.value)
        if 0 <= height <= band.rows:
            row = band.rows - 1 - min(band.rows - 1, int(height))
            if row in grid:
                continue  # the gridline there is another tick's
            labels[row], values[row] = tick.label, tick.value
            if abs(height % 1 - 0.5) <= _NEAR_CENTRE:
                grid.add(row)
    return Scale(*band.y, labels, frozenset(grid), values)


def _few(ticks: int, rows: int) -> float:
    """How much worse a scale is that has room for more than two labels and no more than that."""
    return 1.25 if ticks < 3 and rows >= 5 else 1.0


def _strides(rows: int) -> range:
    return range(1 if rows <= 3 else 2, min(6, max(1, rows - 1)) + 1)


def _fit(low: float, high: float, rows: int, stride: int) -> _Fit | None:
    """The lowest rows that hold [low, high] with a tick of 1, 2, 5 × 10ⁿ every `stride` rows."""
    step = nice_step((high - low) / rows * stride, 1)
    for _ in range(8):
        if not max(abs(low), abs(high)) < step * 2.0**50:
            return None
        height = step / stride
        first = math.floor(low / height + 0.5)
        if (first - 0.5 + rows) * height >= high:
            return _Fit(height, first, stride, step)
        step = nice_step(step * 1.5, 1)
    return None


def _fitted_log(low: float, high: float, rows: int, width: int) -> Scale:
    bottom, top = math.log10(low), math.log10(high)
    best: _Fit | None = None
    least = math.inf
    for stride in range(2, rows) if top - bottom >= 0.9 else ():
        for step in _DECADES:
            height = step / stride
            first = math.floor(bottom / height + 0.5)
            fit = _Fit(height, first, stride, step)
            ticks = len(fit.ticks(rows))
            cost = height * _few(ticks, rows)
            if (first - 0.5 + rows) * height >= top and ticks >= 2 and cost < least:
                best, least = fit, cost
    wasteful = best is None or top - bottom < _LEAST_FILLED * rows * best.height
    if best is None or wasteful or max(map(abs, best.limits(rows))) > 307:
        # Doubles under 10⁻³⁰⁷ are far apart: less than a decade may be no distance at all.
        margin = max(0.02 if top > -300 else 1.0, 0.04 * (top - bottom))
        lowest, highest = 10 ** max(-307.0, bottom - margin), 10 ** min(307.0, top + margin)
        # Doubles beyond 10 ** ±307 are their own limit.
        return given(min(low, lowest), max(high, highest), rows=rows, log=True, width=width)
    limits = best.limits(rows)
    values = {row: _decade(exponent) for row, exponent in best.ticks(rows).items()}
    grid = frozenset(values)
    if best.step == 1 and best.stride >= _SPLIT_FROM:
        _split(values, best, rows)
    labels = {row: number_labels([value], value)[0] for row, value in values.items()}
    shown = {row: label for row, label in labels.items() if len(label) <= width}
    return Scale(10 ** limits[0], 10 ** limits[1], shown, grid, values)


def _decade(exponent: float, factor: int = 1) -> float:
    return float(f"{factor}e{exponent:.0f}")


def _split(values: dict[int, float], fit: _Fit, rows: int) -> None:
    """Ticks for 2 and 5 of each decade, at the rows that hold them, where the rows around are free."""
    low, high = fit.limits(rows)
    for exponent in range(math.floor(low), math.ceil(high) + 1):
        for factor in (2, 5):
            height = (exponent + math.log10(factor)) / fit.height - (fit.first - 0.5)
            row = rows - 1 - math.floor(height)
            if 0 <= row < rows and not {row - 1, row, row + 1} & values.keys():
                values[row] = _decade(exponent, factor)
