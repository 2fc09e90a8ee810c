"""Intervals of 95 % of what is measured on a sample."""

from __future__ import annotations

import math

Z95 = 1.959963984540054
"""The normal quantile of a two-sided 95 % interval."""


def wilson_interval(rate: float, count: int, z: float = Z95) -> tuple[float, float]:
    """The Wilson score interval of a proportion `rate` seen in `count` trials; 0 to 1 for none.

    For outcomes between 0 and 1, as ties are, it is on the safe side: their variance is at most that of a
    win or loss with the same mean.
    """
    if count < 1:
        return 0.0, 1.0
    square = z * z / count
    middle = (rate + square / 2) / (1 + square)
    half = z * math.sqrt(rate * (1 - rate) / count + square / (4 * count)) / (1 + square)
    # At 0 and 1 the bound is the rate itself, and rounding must not pass it.
    return max(0.0, min(rate, middle - half)), min(1.0, max(rate, middle + half))
