"""Schedules of a training: pure functions of the step `it` (from 0) and the number of steps N, or of the
progress from 0 to 1."""

import math


def lr_multiplier(it: int, steps: int, warmup: int, warmdown_ratio: float, final: float) -> float:
    """Linear warmup, constant, linear warmdown over the last `warmdown_ratio` of N to `final`."""
    warmdown = round(warmdown_ratio * steps)
    if it < warmup:
        return (it + 1) / warmup
    if it <= steps - warmdown or warmdown == 0:
        return 1.0
    left = (steps - it) / warmdown
    return left + (1 - left) * final


def muon_momentum(it: int, steps: int, warmdown_ratio: float) -> float:
    """0.85 → 0.97 over 400 steps (which takes precedence), then 0.97, down to 0.90 over the warmdown."""
    warmdown = round(warmdown_ratio * steps)
    start = steps - warmdown
    if it < 400:
        return 0.85 + (0.97 - 0.85) * it / 400
    if it < start or warmdown == 0:
        return 0.97
    done = (it - start) / warmdown
    return 0.97 * (1 - done) + 0.90 * done


def classic_momentum(it: int) -> float:
    """0.85 → 0.95 over 300 steps, then 0.95."""
    return 0.85 + 0.10 * min(it / 300, 1.0)


def muon_weight_decay(it: int, steps: int, peak: float) -> float:
    """Half a cosine from `peak` to 0."""
    return peak * 0.5 * (1 + math.cos(math.pi * it / steps))


def progress_multiplier(progress: float, warmup: float, warmdown: float, final: float) -> float:
    """Linear warmup over the first `warmup` of the way, linear warmdown over the last `warmdown` to `final`.

    `progress` runs from 0 to 1.
    """
    if progress < warmup:
        return (progress + 1e-8) / warmup
    if progress <= 1 - warmdown:
        return 1.0
    done = (progress - (1 - warmdown)) / warmdown
    return (1 - done) + done * final
