"""How much a noisy metric is smoothed: by how many points it has, the same in plots, tables and commands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Self

UNSMOOTHED = 200
"""Fewer points than this are shown as they are: an average over so few would lag far behind them."""
SHARE = 0.02
"""The usual time constant of the average, as a share of the points in view: about one cell of a plot."""


def decay(points: int, share: float = SHARE) -> float:
    """The decay β of a moving average over `points` points: 0 for none, else 1 - 1/τ.

    τ is `share` of the points, rounded down to 1, 2 or 5 × 10ⁿ: as a run grows it changes seldom, and the
    average of the whole run has to be computed anew only then.
    """
    tau = share * points
    if points < UNSMOOTHED or tau < 2:
        return 0.0
    scale = 10.0 ** math.floor(math.log10(tau) + 1e-9)
    tau = next(factor for factor in (5, 2, 1) if factor * scale <= tau * (1 + 1e-9)) * scale
    return 0.0 if tau < 2 else 1.0 - 1.0 / tau


_LEAD = 25
"""Time constants for which an average runs before it is shown: what came earlier counts e⁻²⁵ then."""


@dataclass
class RunningAverage:
    """The last value of the moving average of a whole run, kept up as its points come.

    What it tells is what a plot of the whole run draws: β is `decay(points)`. Where β is about to change, the
    average with the next β runs beside the present one. `averages` maps a τ to the (mean, weight) of `ema`.
    """

    points: int = 0
    last: float = 0.0
    averages: dict[int, tuple[float, float]] = field(default_factory=dict)

    @property
    def value(self) -> float:
        """The average, or the last value while there are too few points for one."""
        mean, weight = self.averages.get(_tau(decay(self.points)), (0.0, 0.0))
        return mean / weight if weight > 0 else self.last

    @classmethod
    def read(cls, held: object) -> Self | None:
        """What `asdict` and JSON made of one; None for anything else. Never raises."""
        try:
            points, last, averages = held["points"], held["last"], held["averages"]  # type: ignore[index]
            known = {int(tau): (float(mean), float(weight)) for tau, (mean, weight) in averages.items()}
            found = cls(int(points), float(last), known)
        except (TypeError, KeyError, ValueError, AttributeError, OverflowError):
            return None
        numbers = [found.last, *(number for pair in known.values() for number in pair)]
        return found if found.points >= 0 and all(map(math.isfinite, numbers)) else None

    def extend(self, values: Sequence[float]) -> None:
        """Take in values in order; NaN and infinities are passed over, as plots do."""
        finite = values if all(map(math.isfinite, values)) else list(filter(math.isfinite, values))
        start = 0
        while start < len(finite):
            wanted, until = _stretch(self.points)
            part = finite[start : start + until - self.points]
            self.averages = {tau: self.averages.get(tau, (0.0, 0.0)) for tau in wanted}
            for tau, (mean, weight) in self.averages.items():
                beta, fresh = 1.0 - 1.0 / tau, 1.0 / tau
                for value in part:
                    mean = beta * mean + fresh * value
                    weight = beta * weight + fresh
                self.averages[tau] = mean, weight
            start += len(part)
            self.points += len(part)
            self.last = part[-1]


def _tau(beta: float) -> int:
    return round(1.0 / (1.0 - beta))


@lru_cache(maxsize=1)
def _levels() -> tuple[tuple[int, int, int], ...]:
    """(τ, points from which its average runs, points up to which it is shown) for every τ."""
    taus = [factor * 10**exponent for exponent in range(13) for factor in (1, 2, 5)][1:]
    shown = [max(UNSMOOTHED, math.ceil(tau / SHARE - 1e-6)) for tau in taus]
    return tuple(
        (tau, max(0, first - _LEAD * tau), end)
        for tau, first, end in zip(taus, shown, [*shown[1:], 1 << 62], strict=True)
    )


def _stretch(points: int) -> tuple[tuple[int, ...], int]:
    """The τ whose averages take the next point in, and the number of points up to which they are the same."""
    bounds = [bound for _, start, end in _levels() for bound in (start, end) if bound > points]
    return tuple(tau for tau, start, end in _levels() if start <= points < end), min(bounds)
