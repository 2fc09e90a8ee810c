"""How much a noisy metric is smoothed: by how many points it has, the same in plots, tables and commands."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
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


def ema(
    values: Iterable[float], beta: float, mean: float = 0.0, weight: float = 0.0
) -> tuple[array[float], float, float]:
    """Debiased exponential moving average, continued from (mean, weight); returns it with the new state.

    m ← β m + (1 - β) v and w ← β w + (1 - β), read as m / w: Adam's bias correction (Kingma & Ba 2015, §3),
    so that the first values are not pulled towards zero.
    """
    fresh = 1.0 - beta
    smoothed = array("d")
    add = smoothed.append
    for value in values:
        mean = beta * mean + fresh * value
        weight = beta * weight + fresh
        add(mean / weight)
    return smoothed, mean, weight


def ema_state(smoothed: array[float], beta: float, length: int | None = None) -> tuple[float, float]:
    """The (mean, weight) with which `ema` continues after `smoothed`, or after its first `length` values."""
    length = len(smoothed) if length is None else length
    if not length:
        return 0.0, 0.0
    weight = 1.0 - math.pow(beta, length)
    return smoothed[length - 1] * weight, weight


STRIDE = 64
"""Points between two values of a long average: where its time constant is 16 times that, nobody can tell."""


def average_stride(beta: float) -> int:
    """How many points lie between two values of an average: 1, or `STRIDE` with a long time constant.

    Then the average goes over the means of blocks: a 64th of the work and memory, and the same picture.
    """
    return STRIDE if 1.0 / (1.0 - beta) > 16 * STRIDE - 0.5 else 1


def block_means(values: array[float], stride: int, done: int = 0) -> array[float] | list[float]:
    """What `ema` goes over from its value number `done` on: the values, or the means of whole blocks."""
    if stride == 1:
        return values[done:]
    ends = range((done + 1) * stride, len(values) + 1, stride)
    return [sum(values[end - stride : end]) / stride for end in ends]


def moving_average(values: array[float], beta: float) -> tuple[array[int], array[float]]:
    """The debiased average of a whole line: at which indices it has values, and those; the last index always.

    It is the line that plots draw of it, see `average_stride`.
    """
    stride = average_stride(beta)
    smoothed, mean, weight = ema(block_means(values, stride), beta**stride)
    places = array("q", range(stride - 1, len(values), stride))
    rest = len(values) % stride
    if rest:
        places.append(len(values) - 1)
        smoothed.append(ema(values[-rest:], beta, mean, weight)[0][-1])
    return places, smoothed


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
