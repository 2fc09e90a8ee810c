"""The same questions to two items files, asked with pandas and scipy as their documentation does."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from nanochat.config.known_tasks import baseline

BATCH_BYTES = 1 << 28
"""Of the resamples that scipy holds at once."""


class PeerTask(NamedTuple):
    """As a `TaskComparison`."""

    wins: int
    losses: int
    p: float
    low: float
    high: float


def compare(a: Path, b: Path, draws: int) -> tuple[dict[str, PeerTask], tuple[float, float]]:
    """By task, McNemar's exact test and a percentile bootstrap; and the interval of CORE's difference."""
    names = ["task", "key", "correct"]
    one, other = (pd.read_json(path, lines=True, dtype=False)[names] for path in (a, b))
    joined = one.merge(other, on=["task", "key"], suffixes=("_a", "_b"))
    found: dict[str, PeerTask] = {}
    core = np.zeros(draws)
    for task, group in joined.groupby("task", sort=False):
        differences = group["correct_b"].to_numpy(float) - group["correct_a"].to_numpy(float)
        wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
        p = stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
        drawn = stats.bootstrap(
            (differences,),
            np.mean,
            n_resamples=draws,
            method="percentile",
            batch=max(1, BATCH_BYTES // (8 * len(differences))),
            rng=0,
        )
        interval = drawn.confidence_interval
        found[str(task)] = PeerTask(wins, losses, float(p), float(interval.low), float(interval.high))
        core += drawn.bootstrap_distribution / (1 - (baseline(str(task)) or 0.0))
    low, high = np.quantile(core / len(found), (0.025, 0.975))
    return found, (float(low), float(high))


def read(path: Path) -> pd.DataFrame:
    """The whole file as a table."""
    return pd.read_json(path, lines=True, dtype=False)


def search(table: pd.DataFrame, text: str) -> int:
    """How many items hold `text`, in any case."""
    texts = table["prompt"] + "\0" + table["choices"].str.join("\0") + "\0" + table["prediction"].astype(str)
    texts = texts + "\0" + table["gold"].astype(str) + "\0" + table["task"]
    return int(texts.str.lower().str.contains(text.lower(), regex=False).sum())
