"""Schedules of learning rate, momentum and decay: pure functions of the step `it` (from 0) and the number of
steps N, or of the progress from 0 to 1.

The constants are those of upstream nanochat (karpathy/nanochat).
"""

import math

MOMENTUM_START, MOMENTUM_PEAK, MOMENTUM_END = 0.85, 0.97, 0.90
"""Muon's in the modern era: a short memory while gradients still change quickly, a long one after, and a
shorter one again while the rate falls."""
MOMENTUM_WARMUP_STEPS = 400

CLASSIC_MOMENTUM_START, CLASSIC_MOMENTUM_GAIN = 0.85, 0.10
"""Muon's in the classic era and in fine-tuning: 0.85 to 0.95, as in KellerJordan/modded-nanogpt."""
CLASSIC_MOMENTUM_STEPS = 300


def lr_multiplier(it: int, steps: int, warmup: int, warmdown_ratio: float, final: float) -> float:
    """Linear warmup over `warmup` steps, constant, linear warmdown over the last `warmdown_ratio` of N.

    A constant rate with a cooldown, so that one run can be cooled down at several lengths (arXiv 2405.18392).
    `final` is the multiplier at step N.
    """
    warmdown = round(warmdown_ratio * steps)
    if it < warmup:
        return (it + 1) / warmup  # not it / warmup: a first step at rate 0 would be lost
    if it <= steps - warmdown or warmdown == 0:
        return 1.0
    left = (steps - it) / warmdown
    return left + (1 - left) * final


def muon_momentum(it: int, steps: int, warmdown_ratio: float) -> float:
    """0.85 → 0.97 over 400 steps, then 0.97, down to 0.90 over the warmdown of the learning rate.

    In runs so short that both overlap the warmup takes precedence.
    """
    warmdown = round(warmdown_ratio * steps)
    start = steps - warmdown
    if it < MOMENTUM_WARMUP_STEPS:
        return MOMENTUM_START + (MOMENTUM_PEAK - MOMENTUM_START) * it / MOMENTUM_WARMUP_STEPS
    if it < start or warmdown == 0:
        return MOMENTUM_PEAK
    done = (it - start) / warmdown
    return MOMENTUM_PEAK * (1 - done) + MOMENTUM_END * done


def classic_momentum(it: int) -> float:
    """0.85 → 0.95 over 300 steps, then 0.95."""
    return CLASSIC_MOMENTUM_START + CLASSIC_MOMENTUM_GAIN * min(it / CLASSIC_MOMENTUM_STEPS, 1.0)


def muon_weight_decay(it: int, steps: int, peak: float) -> float:
    """Half a cosine from `peak` to 0."""
    return peak * 0.5 * (1 + math.cos(math.pi * it / steps))


def progress_multiplier(progress: float, warmup: float, warmdown: float, final: float) -> float:
    """Linear warmup over the first `warmup` of the way, linear warmdown over the last `warmdown` to `final`.

    Takes the progress, from 0 to 1, where the number of steps is not known beforehand (packed conversations).
    """
    if progress < warmup:
        return (progress + 1e-8) / warmup  # upstream's: the first step's rate is tiny, not 0
    if progress <= 1 - warmdown:
        return 1.0
    done = (progress - (1 - warmdown)) / warmdown
    return (1 - done) + done * final
