"""Two evaluations compared item by item: only items that both have, judged on the same prompts.

Of a paired item the difference is -1, 0 or 1. A bootstrap that draws n items with replacement is therefore
one draw of a multinomial over three counts, so thousands of them cost microseconds.
"""

import math
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from nanochat.config.known_tasks import TASK_MEANS, baseline
from nanochat.evals.items import Items

DRAWS = 10_000
SEED = 1234
TAILS = (0.025, 0.975)
"""Of the 95 % intervals."""

Pair: TypeAlias = tuple[int, int]
"""The rows of an item in A and in B."""
Draws: TypeAlias = NDArray[np.float64]
"""(draws,) differences of a task's accuracies, each over items drawn with replacement."""


@dataclass(frozen=True)
class TaskComparison:
    """One task over the items that both evaluations have. Differences are B's less A's."""

    task: str
    """Of a subject of MMLU `MMLU/anatomy`."""
    paired: int
    only_a: int
    """Items that B has not, or has with another prompt."""
    only_b: int
    wins: int
    """Items that B has right and A wrong."""
    losses: int
    """Items that A has right and B wrong."""
    both_right: int
    both_wrong: int
    accuracy_a: float
    """Over the paired items; NaN without any, as are the figures that follow."""
    accuracy_b: float
    difference: float
    low: float
    """The 95 % percentile bootstrap interval of `difference`."""
    high: float
    p: float
    """Exact McNemar: the two-sided binomial test of wins against losses."""
    p_holm: float
    """`p` corrected for the number of tasks, or of the task's subjects (Holm 1979)."""


@dataclass(frozen=True)
class MeanComparison:
    """A mean of tasks' centered accuracies (CORE, ChatCORE …) over the paired items, B's less A's."""

    name: str
    a: float
    b: float
    difference: float
    low: float
    """The 95 % percentile bootstrap interval of `difference`, items drawn anew in each task."""
    high: float


@dataclass(frozen=True)
class Comparison:
    """Two evaluations, task by task in A's order, then the means of which both have every task."""

    tasks: tuple[TaskComparison, ...]
    subjects: tuple[TaskComparison, ...]
    """Those of MMLU."""
    means: tuple[MeanComparison, ...]
    pairs: tuple[Pair, ...] = field(repr=False)
    """Of the paired items, in A's order."""
    by_index: int
    """How many of them were paired by index, on equal prompts, as one of the two has no key."""
    notes: tuple[str, ...]
    """What makes the two less than comparable, a line each."""
    _right: tuple[tuple[bool, bool], ...] = field(repr=False)

    def task(self, name: str) -> TaskComparison | None:
        """The task or subject of a name."""
        return next((task for task in (*self.tasks, *self.subjects) if task.task == name), None)

    def differing(self) -> list[Pair]:
        """The pairs of which exactly one evaluation is right."""
        return [pair for pair, (a, b) in zip(self.pairs, self._right, strict=True) if a != b]


def compare(a: Items, b: Items, *, draws: int = DRAWS, seed: int = SEED) -> Comparison:
    """Compares B with A over the items that both have.

    Items are paired by (task, key). Where one of the two has no key, being of version 1, they are paired by
    (task, index) when the prompts and the right answers are equal. The same items give the same figures; a
    task's interval does not depend on what other tasks there are.

    Raises `UserError` when a file is no longer there.
    """
    pairs, by_index = pair_items(a, b)
    right = [(a.correct[i], b.correct[j]) for i, j in pairs]
    groups = _Groups(a, b, pairs)
    compared = {name: _compare_task(name, groups, draws, seed) for name in groups.tasks}
    subjects = {name: _compare_task(name, groups, draws, seed) for name in groups.subjects}
    means = [_compare_mean(name, compared) for name in TASK_MEANS]
    return Comparison(
        tasks=_holm([task for task, _ in compared.values()]),
        subjects=_holm([task for task, _ in subjects.values()]),
        means=tuple(mean for mean in means if mean is not None),
        pairs=tuple(pairs),
        by_index=by_index,
        notes=_notes(a, b, len(pairs), by_index),
        _right=tuple(right),
    )


# -- pairing ---------------------------------------------------------------------------------------


def pair_items(a: Items, b: Items) -> tuple[list[Pair], int]:
    """The pairs in A's order, and how many of them are by index.

    An item that a task has several times, with one key, is paired in the order of indices.
    """
    keyed: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row in sorted(range(len(b)), key=b.index.__getitem__, reverse=True):
        if (key := b.key[row]) is not None:
            keyed[b.task[row], key].append(row)
    found: dict[int, int] = {}
    maybe: list[Pair] = []
    for row in sorted(range(len(a)), key=a.index.__getitem__):
        key = a.key[row]
        if key is not None and (same := keyed.get((a.task[row], key))):
            found[row] = same.pop()
        else:
            other = b.row(a.task[row], a.index[row])
            if other is not None and (key is None or b.key[other] is None) and a.gold[row] == b.gold[other]:
                maybe.append((row, other))
    prompts = zip(a.prompts(i for i, _ in maybe), b.prompts(j for _, j in maybe), strict=True)
    by_index = [pair for pair, (one, other) in zip(maybe, prompts, strict=True) if one and one == other]
    return sorted([*found.items(), *by_index]), len(by_index)


class _Groups:
    """What each task, and each subject as `task/subject`, counts."""

    def __init__(self, a: Items, b: Items, pairs: Sequence[Pair]) -> None:
        self.tasks = list(dict.fromkeys([*a.task, *b.task]))
        self.subjects = list(dict.fromkeys([*_subjects(a), *_subjects(b)]))
        self.a, self.b = self._sizes(a), self._sizes(b)
        self.outcomes: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
        """How many pairs are wrong in both, right in B only, in A only, in both."""
        for i, j in pairs:
            outcome = 2 * a.correct[i] + b.correct[j]
            self.outcomes[a.task[i]][outcome] += 1
            if a.subject[i] and a.subject[i] == b.subject[j]:
                self.outcomes[f"{a.task[i]}/{a.subject[i]}"][outcome] += 1

    @staticmethod
    def _sizes(items: Items) -> dict[str, int]:
        sizes: dict[str, int] = defaultdict(int)
        for name in (*items.task, *_subjects(items)):
            sizes[name] += 1
        return sizes


def _subjects(items: Items) -> Iterable[str]:
    pairs = zip(items.task, items.subject, strict=True)
    return (f"{task}/{subject}" for task, subject in pairs if subject)


# -- statistics ------------------------------------------------------------------------------------


def _compare_task(name: str, groups: _Groups, draws: int, seed: int) -> tuple[TaskComparison, Draws]:
    both_wrong, wins, losses, both_right = groups.outcomes[name]
    paired = sum(groups.outcomes[name])
    drawn = bootstrap(wins, losses, paired, draws, (seed, zlib.crc32(name.encode())))
    low, high = interval(drawn)
    task = TaskComparison(
        name,
        paired,
        only_a=groups.a[name] - paired,
        only_b=groups.b[name] - paired,
        wins=wins,
        losses=losses,
        both_right=both_right,
        both_wrong=both_wrong,
        accuracy_a=_share(both_right + losses, paired),
        accuracy_b=_share(both_right + wins, paired),
        difference=_share(wins - losses, paired),
        low=low,
        high=high,
        p=mcnemar(wins, losses) if paired else math.nan,
        p_holm=math.nan,
    )
    return task, drawn


def _share(count: int, paired: int) -> float:
    return count / paired if paired else math.nan


def bootstrap(wins: int, losses: int, paired: int, draws: int, seed: Sequence[int]) -> Draws:
    """The differences of `draws` resamples of the paired items; NaN where there are none."""
    if not paired:
        return np.full(draws, math.nan)
    odds = [wins / paired, losses / paired, (paired - wins - losses) / paired]
    counts = np.random.default_rng(seed).multinomial(paired, odds, size=draws)  # (draws, 3)
    drawn: Draws = (counts[:, 0] - counts[:, 1]) / paired
    return drawn


def interval(drawn: Draws) -> tuple[float, float]:
    """The percentile interval of resampled differences."""
    low, high = np.quantile(drawn, TAILS)
    return float(low), float(high)


def mcnemar(wins: int, losses: int) -> float:
    """The exact two-sided McNemar p: of as uneven a split of wins + losses, each as likely as the other."""
    total, fewer = wins + losses, min(wins, losses)
    # Twice the lower tail of the binomial, summed from its largest term down.
    log_term = math.lgamma(total + 1) - math.lgamma(fewer + 1) - math.lgamma(total - fewer + 1)
    term = 1.0
    tail = 0.0
    for k in range(fewer, -1, -1):
        tail += term
        term *= k / (total - k + 1)
        if term < 1e-18 * tail:
            break
    return min(1.0, 2 * tail * math.exp(log_term - total * math.log(2)))


def _holm(tasks: Sequence[TaskComparison]) -> tuple[TaskComparison, ...]:
    """The tasks with `p_holm`: those without a paired item do not count."""
    family = sorted((task.p, number) for number, task in enumerate(tasks) if task.paired)
    corrected, least = list(tasks), 0.0
    for place, (p, number) in enumerate(family):
        least = max(least, min(1.0, (len(family) - place) * p))
        corrected[number] = replace(tasks[number], p_holm=least)
    return tuple(corrected)


def _compare_mean(name: str, compared: dict[str, tuple[TaskComparison, Draws]]) -> MeanComparison | None:
    """A mean over its tasks' paired items; None where a task has none."""
    names = TASK_MEANS[name]
    if not all(task in compared and compared[task][0].paired for task in names):
        return None
    a = b = 0.0
    drawn: Draws = np.zeros_like(compared[names[0]][1])
    for task in names:
        found, of_task = compared[task]
        guess = baseline(task) or 0.0
        a += (found.accuracy_a - guess) / (1 - guess) / len(names)
        b += (found.accuracy_b - guess) / (1 - guess) / len(names)
        drawn = drawn + of_task / (1 - guess) / len(names)
    low, high = interval(drawn)
    return MeanComparison(name, a, b, b - a, low, high)


# -- what to tell ----------------------------------------------------------------------------------


def _notes(a: Items, b: Items, paired: int, by_index: int) -> tuple[str, ...]:
    found = [f"{name}: {note}" for name, items in (("A", a), ("B", b)) for note in items.notes]
    if not paired and len(a) and len(b):
        found.append("no item is the same in both: another bundle, other examples, or other tasks")
    elif paired < max(len(a), len(b)):
        found.append(
            f"{paired:,} items are the same in both and compared; {len(a) - paired:,} of A and "
            f"{len(b) - paired:,} of B are not"
        )
    if by_index:
        found.append(f"{by_index:,} items are paired by index and prompt: their records are of version 1")
    return tuple(found)
