"""Two evaluations compared, as rows of a table: on the same items where both kept them, else by their figures
alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tui.data.intervals import Z95

if TYPE_CHECKING:
    from nanochat.evals.paired import Comparison
    from remote.store.evaluations import Evaluation

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class DifferenceRow:
    """B less A of a task or a mean. `paired` None: told from figures alone, without pairing items."""

    name: str
    a: float
    b: float
    difference: float
    low: float | None
    high: float | None
    paired: int | None = None
    only_a: int = 0
    only_b: int = 0
    wins: int | None = None
    losses: int | None = None
    p: float | None = None
    p_holm: float | None = None
    is_mean: bool = False

    @property
    def task(self) -> str:
        """The task, also of one of its subjects."""
        return self.name.partition("/")[0]

    @property
    def subject(self) -> str:
        """The subject of the task that the row is of, as `anatomy` of MMLU/anatomy; "" for the task."""
        return self.name.partition("/")[2]

    @property
    def is_sure(self) -> bool:
        """Whether the difference is more than chance: by Holm's p, of a mean by its interval."""
        if self.p_holm is not None:
            return self.p_holm < SIGNIFICANT
        if self.low is None or self.high is None:
            return False
        return self.low > 0 or self.high < 0

    @property
    def verdict(self) -> str:
        """In a word and with a sign: which of the two is better, if that can be said."""
        if self.paired == 0 or math.isnan(self.difference):
            return "– not paired"
        if self.wins == self.losses == 0:
            return "= the same"
        if self.low is None:
            return "– no error"
        if not self.is_sure:
            return "· unclear"
        return "▲ B better" if self.difference > 0 else "▼ A better"


def paired_rows(comparison: Comparison) -> list[DifferenceRow]:
    """The means, then the tasks and MMLU's subjects, of a comparison item by item."""
    rows = [
        DifferenceRow(mean.name, mean.a, mean.b, mean.difference, mean.low, mean.high, is_mean=True)
        for mean in comparison.means
    ]
    rows += [
        DifferenceRow(
            task.task,
            task.accuracy_a,
            task.accuracy_b,
            task.difference,
            task.low,
            task.high,
            task.paired,
            task.only_a,
            task.only_b,
            task.wins,
            task.losses,
            task.p,
            task.p_holm,
        )
        for task in (*comparison.tasks, *comparison.subjects)
    ]
    return rows


def figure_rows(one: Evaluation, other: Evaluation) -> list[DifferenceRow]:
    """Differences of figures where there are no items to pair: the interval of two independent samples, which
    is wider than that of a paired comparison; none where a standard error is not known."""
    rows = []
    if one.mean is not None and other.mean is not None:
        error = _error(one.mean_stderr, other.mean_stderr)
        name = "CORE" if one.kind == "core" else "mean"
        rows.append(_row(name, one.mean, other.mean, error, is_mean=True))
    for task, figure in one.tasks.items():
        second = other.tasks.get(task)
        if second is not None and figure.accuracy is not None and second.accuracy is not None:
            error = _error(figure.stderr, second.stderr)
            rows.append(_row(task, figure.accuracy, second.accuracy, error))
    return rows


def _error(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else math.hypot(a, b)


def _row(name: str, a: float, b: float, error: float | None, is_mean: bool = False) -> DifferenceRow:
    difference = b - a
    reach = None if error is None else Z95 * error
    return DifferenceRow(
        name,
        a,
        b,
        difference,
        None if reach is None else difference - reach,
        None if reach is None else difference + reach,
        is_mean=is_mean,
    )


def reach_of(rows: Sequence[DifferenceRow]) -> float:
    """The largest end of an interval, so that all of them are drawn to one scale."""
    ends = [
        abs(end)
        for row in rows
        for end in (row.low, row.high, row.difference)
        if end is not None and math.isfinite(end)
    ]
    return max(ends, default=0.0) or 1.0


def interval(row: DifferenceRow, reach: float, width: int, unicode: bool = True) -> str:
    """The interval of a difference about 0 in `width` cells to the scale `reach`: `  ──●── │   `."""
    if width < 5 or not math.isfinite(row.difference):
        return " " * width
    line, dot, zero = ("─", "●", "│") if unicode else ("-", "o", "|")

    def at(value: float) -> int:
        return max(0, min(width - 1, round((value / reach + 1) / 2 * (width - 1))))

    cells = [" "] * width
    if row.low is not None and row.high is not None:
        for place in range(at(row.low), at(row.high) + 1):
            cells[place] = line
    cells[at(0.0)] = zero
    cells[at(row.difference)] = dot
    return "".join(cells)
