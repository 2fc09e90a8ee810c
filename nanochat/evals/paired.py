"""Two evaluations compared item by item: only items that both have, judged on the same prompts.

Of a paired item the difference is -1, 0 or 1. A bootstrap that draws n items with replacement is therefore
one draw of a multinomial over three counts, so thousands of them cost microseconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from nanochat.evals.items import Items

DRAWS = 10_000
SEED = 20_250_101
LEVEL = 0.95
"""Of the intervals."""


@dataclass(frozen=True)
class TaskComparison:
    """One task over the items that both evaluations have. Differences are B's less A's."""

    task: str
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
    """Over the paired items; NaN without any, as are the other figures."""
    accuracy_b: float
    difference: float
    low: float
    """The percentile bootstrap interval of `difference`, 95 %."""
    high: float
    p: float
    """Exact McNemar: two-sided binomial test of wins against losses. 1 where nothing differs."""
    p_holm: float
    """`p` corrected for the number of tasks (Holm)."""


@dataclass(frozen=True)
class MeanComparison:
    """The mean of tasks' centered accuracies (CORE, ChatCORE …) over the paired items."""

    name: str
    a: float
    b: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Two evaluations, task by task in A's order, then the means of all that both have every task of."""

    tasks: tuple[TaskComparison, ...]
    means: tuple[MeanComparison, ...]
    pairs: tuple[tuple[int, int], ...] = field(repr=False)
    """Rows (of A, of B) of the paired items, in A's order."""
    by_index: int
    """Pairs made by index, as one of the two has no keys, on equal prompts."""
    draws: int
    seed: int

    @property
    def paired(self) -> int:
        return len(self.pairs)

    @property
    def notes(self) -> list[str]:
        """What makes the two less than comparable, a line each: items only one has, no keys, bad lines."""
        raise NotImplementedError

    def task(self, name: str) -> TaskComparison | None:
        raise NotImplementedError

    def differing(self) -> list[tuple[int, int]]:
        """The pairs of which exactly one evaluation is right."""
        raise NotImplementedError


def compare(
    a: Items,
    b: Items,
    *,
    draws: int = DRAWS,
    seed: int = SEED,
    baselines: Mapping[str, float] | None = None,
) -> Comparison:
    """Compares B with A. Items are paired by (task, key); where one of the two has no keys, by (task, index)
    when the prompts are equal.

    `baselines` are guessing's accuracies by task, for the means; None: those of the published CORE bundle and
    of the chat tasks.
    """
    raise NotImplementedError
