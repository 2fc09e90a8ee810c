"""The moving averages of the noisy figures that tables tell of a run, kept in its summary.

A table that told the last noisy loss would tell another number than the plot beside it. What is kept is
what a plot of the whole run ends with: over the points that no later attempt redid.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from nanochat.common.smoothing import RunningAverage

if TYPE_CHECKING:
    from remote.store.series import Series
    from remote.store.summary import Summary

AVERAGED = ("train/loss", "rl/reward", "train/tok_per_sec", "train/mfu")
"""The metrics that tables tell and that change from step to step."""


def keep_averages(
    summary: Summary,
    fresh: Mapping[str, Sequence[float]],
    whole: Callable[[str], Series],
    *,
    resumed: bool,
) -> None:
    """Takes the `fresh` values of each metric into the summary's averages.

    `whole` gives all of a metric's points, the fresh ones included and those redone marked. It is asked for
    a metric that has no average yet (a store of an older version) and, where the run was `resumed` since the
    last values, for every metric: what the new attempt redoes counts no longer.
    """
    for name in AVERAGED:
        average = summary.averages.get(name)
        if name in fresh and average is not None and not resumed:
            average.extend(fresh[name])
        elif name in fresh or (resumed and average is not None):
            summary.averages[name] = _average(whole(name))


def _average(series: Series) -> RunningAverage:
    average = RunningAverage()
    pairs = zip(series.value, series.superseded, strict=True)
    average.extend(array("d", (value for value, redone in pairs if not redone)))
    return average
