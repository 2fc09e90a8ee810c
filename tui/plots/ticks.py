"""Axis ticks at 1, 2, 5 × 10ⁿ with labels of bounded width: linear, logarithmic, duration and clock axes."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

LABEL_WIDTH = 7
"""Widest tick label: five significant digits and a suffix ("12.346k"), so that plots in a grid align."""

_SUFFIXES = ("", "k", "M", "G", "T", "P", "E", "Z", "Y")
_LEAST_EXPONENT = -323
"""Of a power of ten that a double holds; the least double's own logarithm is below it."""
_YEAR_9999 = 253_370_764_800
_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis in data units, and its text."""

    value: float
    label: str


def nice_step(span: float, count: int) -> float:
    """The smallest step of the form 1, 2 or 5 × 10ⁿ that cuts `span` into at most `count` pieces."""
    if not (span > 0 and math.isfinite(span)):
        return 1.0
    rough = span / max(1, count)
    exponent = math.floor(math.log10(rough))
    for factor in (1, 2, 5, 10):
        step = _power(factor, exponent)
        if step >= rough * (1 - 1e-9):
            return step
    return _power(10, exponent)


def _power(factor: int, exponent: int) -> float:
    return float(f"{factor}e{exponent}")


def _multiples(low: float, high: float, step: float) -> list[float]:
    """Multiples of `step` in [low, high]; none where doubles cannot distinguish neighbouring ones."""
    if not (math.isfinite(step) and max(abs(low), abs(high)) < step * 2.0**50):
        return []
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def linear_ticks(low: float, high: float, count: int, width: int = 0, least: float = 0.0) -> list[Tick]:
    """At most `count` + 1 ticks within [low, high]; fewer, down to none, where labels would pass `width`.

    They are at least `least` apart, unless none would fall into the range: 1 for what is counted.
    """
    for pieces in range(count, 0, -1):
        step = max(least, nice_step(high - low, pieces))
        values = _multiples(low, high, step)
        if not values:  # no multiple falls into the range: a step under its span has one
            step = nice_step(high - low, 3)
            values = _multiples(low, high, step)[: count + 1]
        labels = number_labels(values, step)
        if not width or all(len(label) <= width for label in labels):
            return [Tick(value, label) for value, label in zip(values, labels, strict=True)]
    return []


def log_ticks(low: float, high: float, count: int, width: int = 0) -> list[Tick]:
    """Ticks of a log axis over [low, high], low > 0: decades, thinned or split at 2 and 5, else linear."""
    bottom, top = math.log10(low), math.log10(high)
    stride = max(1, math.ceil((top - bottom) / max(1, count)))
    exponents = range(math.ceil(bottom - 1e-9), math.floor(top + 1e-9) + 1)
    decades = [_power(1, exponent) for exponent in exponents if exponent % stride == 0]
    if stride == 1 and len(decades) <= max(1, count // 3):
        all_decades = range(math.floor(bottom), math.floor(top) + 1)
        split = [_power(factor, exponent) for exponent in all_decades for factor in (1, 2, 5)]
        decades = [value for value in split if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
    if len(decades) < 3:
        linear = linear_ticks(low, high, count, width)
        if len(linear) > len(decades):
            return linear
    return [Tick(value, number_labels([value], value)[0]) for value in decades]


def number_labels(values: Sequence[float], step: float) -> list[str]:
    """Labels precise enough for values that are `step` apart, all with one suffix or one exponent."""
    largest = max((abs(value) for value in values), default=0.0)
    if largest == 0:
        return ["0"] * len(values)
    exponent = max(_LEAST_EXPONENT, math.floor(math.log10(largest) + 1e-9))
    if -2 <= exponent < 3 * len(_SUFFIXES):
        group = max(0, exponent // 3)
        return [_fixed(value, step, 3 * group, _SUFFIXES[group]) for value in values]
    return [_fixed(value, step, exponent, f"e{exponent}") for value in values]


def _fixed(value: float, step: float, exponent: int, suffix: str) -> str:
    if abs(value) < step / 2:
        return "0"
    places = max(0, exponent - math.floor(math.log10(step) + 1e-9))
    return f"{value / float(f'1e{exponent}'):.{places}f}{suffix}"


def duration_ticks(low: float, high: float, count: int) -> list[Tick]:
    """Ticks of a span of time in seconds: 45s, 10m, 1h30, 2d."""
    step = _time_step(high - low, count)
    if step < 1:
        return linear_ticks(low, high, count)
    return [Tick(value, duration_label(value)) for value in _multiples(low, high, step)]


def clock_ticks(low: float, high: float, count: int) -> list[Tick]:
    """Ticks of unix time in seconds, at round local times: 14:05, 14:05:30, or the day (11-24)."""
    if not 0 <= low <= high < _YEAR_9999:
        return []
    step = _time_step(high - low, count)
    offset = time.localtime(low).tm_gmtoff or 0
    values = [value - offset for value in _multiples(low + offset, high + offset, max(step, 1.0))]
    return [Tick(value, clock_label(value, step)) for value in values]


def _time_step(span: float, count: int) -> float:
    rough = span / max(1, count)
    if rough < 1:
        return nice_step(span, count)
    for step in _SECONDS:
        if step >= rough:
            return float(step)
    return nice_step(span / 86400, count) * 86400


def clock_label(t: float, step: float = 60.0) -> str:
    """Local time of a unix time, as precise as ticks `step` seconds apart need."""
    pattern = "%m-%d" if step >= 86400 else "%H:%M" if step >= 60 else "%H:%M:%S"
    return time.strftime(pattern, time.localtime(t))


def duration_label(seconds: float) -> str:
    """A span of time in at most six characters: 45s, 10m, 1m30, 1h30, 26h, 12d."""
    whole = round(abs(seconds))
    sign = "-" if seconds < 0 and whole else ""
    if whole < 60:
        return f"{sign}{whole}s"
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{sign}{minutes}m{rest:02d}" if rest else f"{sign}{minutes}m"
    if whole < 100 * 3600:
        hours, rest = divmod(whole // 60, 60)
        return f"{sign}{hours}h{rest:02d}" if rest else f"{sign}{hours}h"
    return f"{sign}{whole // 86400}d"
