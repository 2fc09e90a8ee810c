"""What is known of a metric by its name: whether lower is better, whether it is noisy, where it stands."""

from __future__ import annotations

from collections.abc import Iterable

AXES = ("step", "tokens", "FLOPs", "active time", "clock")
"""What metrics can be drawn over."""
AXIS_SOURCES = {
    "tokens": "train/total_tokens",
    "FLOPs": "train/total_flops",
    "active time": "train/total_time",
}
"""The running total that an x axis is read from; the others are the step itself and the clock."""

_FIRST = (
    "rl/reward",
    "rl/held_out_reward",
    "rl/pass@1",
    "train/loss",
    "val/bpb",
    "core/core",
    "chat/ChatCORE",
    "train/tok_per_sec",
    "train/mfu",
    "train/lrm",
    "train/grad_norm",
)
_LAST = ("train/dt", "train/epoch", "train/total_tokens", "train/total_flops", "train/total_time")
_EXACT = (
    "train/lrm",
    "train/epoch",
    "train/total_tokens",
    "train/total_flops",
    "train/total_time",
    "train/bpb",
)
_LOWER = ("loss", "bpb", "perplexity", "/dt")
_HIGHER = ("tok_per_sec", "mb_per_sec", "mfu", "acc", "reward", "pass@", "core/", "chat/", "score")


def better(metric: str) -> int:
    """-1 where lower is better (losses), 1 where higher is (throughput, scores), 0 where neither is."""
    if metric.endswith("_stderr"):
        return 0
    if any(part in metric for part in _LOWER):
        return -1
    return 1 if any(part in metric for part in _HIGHER) else 0


def noisy(metric: str) -> bool:
    """Whether smoothing helps: per-step measurements, not evaluations, schedules or running totals."""
    evaluated = metric.startswith(("rl/pass@", "rl/held_out"))
    return metric.startswith(("train/", "rl/", "gpu/", "host/")) and metric not in _EXACT and not evaluated


def evaluated(metric: str) -> bool:
    """Whether the metric judges the model, so that it has a best: not a measurement of single steps."""
    if metric == "train/bpb" or metric.startswith(("rl/pass@", "rl/held_out")):
        return True
    return not metric.startswith(("train/", "rl/", "gpu/", "host/", "tok/", "data/"))


def by_importance(names: Iterable[str]) -> list[str]:
    """Metric names in the order of their plots: what the stage optimises first, then its speed.

    Standard errors and running totals come last.
    """

    def rank(name: str) -> tuple[int, str]:
        if name in _FIRST:
            return _FIRST.index(name), name
        group = 300 if name in ("progress", "eta_s") else 200 if name in _LAST else 100
        group += 50 * name.endswith("_stderr")
        return group + (1 if name.startswith(("gpu/", "host/")) else 0), name

    return sorted(names, key=rank)
