"""The figure a run is judged by: the most telling of what it has measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from nanochat.common.text import number, short

if TYPE_CHECKING:
    from remote.runs import RunRow

#: The first of these that a run has is what it is judged by, most telling first.
KEY_FIGURES: tuple[tuple[str, str], ...] = (
    ("chat/ChatCORE", "ChatCORE"),
    ("core/core", "CORE"),
    ("rl/held_out_reward", "reward"),
    ("rl/reward", "reward"),
    ("val/bpb", "bpb"),
    ("train/loss", "loss"),
    ("tok/bytes_per_token", "B/token"),
    ("val/bytes_per_token", "B/token"),
    ("tok/merges", "merges"),
    ("data/docs", "docs"),
    ("data/bytes", "bytes"),
)
SCORES = ("chat/", "core/")
"""Metrics of single tasks, a share of 1: what a run is judged by that has no score over all tasks."""


class Figure(NamedTuple):
    """A number with its short name, ready to show; `metric` is where it is from, `value` the number."""

    name: str
    text: str
    metric: str = ""
    value: float | None = None

    def __str__(self) -> str:
        return f"{self.name} {self.text}" if self.name else self.text


def told(run: RunRow, metric: str) -> float | str | None:
    """A metric's value as screens and tables tell it; None where the run has none.

    The average of a noisy one, as the plot of the whole run ends with it; of an ended run what its stage
    resulted in; else the newest value.
    """
    if metric in run.smooth:
        return run.smooth[metric]
    first, second = (run.latest, run.results) if run.live else (run.results, run.latest)
    return first.get(metric, second.get(metric))


def key_figure(run: RunRow) -> Figure:
    """The figure the run is rated by, empty when it has reported none yet.

    While most of its log is still to be read that is how far the reading is: no figure is the run's yet.
    """
    if run.partial:
        return Figure("reading", f"{int(100 * run.share_read)} %")
    for metric, name in KEY_FIGURES:
        value = told(run, metric)
        if value is not None:
            known = float(value) if isinstance(value, float | int) else None
            large = known is not None and abs(known) >= 1e5
            return Figure(name, short(known) if large else number(value), metric, known)
    return _of_tasks({**run.results, **run.latest})


def _of_tasks(values: Mapping[str, float | str]) -> Figure:
    """The score of a task, or the mean of several."""
    scores = {
        metric: float(value)
        for metric, value in values.items()
        if metric.startswith(SCORES) and not metric.endswith("_stderr") and isinstance(value, float | int)
    }
    if not scores:
        return Figure("", "")
    first = next(iter(scores))
    name = first.partition("/")[2] if len(scores) == 1 else f"{len(scores)} tasks"
    mean = sum(scores.values()) / len(scores)
    return Figure(name, f"{100 * mean:.1f} %", first if len(scores) == 1 else "", mean)
