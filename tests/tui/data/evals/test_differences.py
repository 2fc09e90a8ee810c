"""Differences as rows, and their intervals as pictures."""

import math

import pytest

from tests.tui.screens.evals_bench import core_tasks, evaluation, figure, published
from tui.data.evals.differences import DifferenceRow, figure_rows, interval, reach_of


def row(
    difference: float, low: float | None = None, high: float | None = None, **more: object
) -> DifferenceRow:
    return DifferenceRow("copa", 0.5, 0.5 + difference, difference, low, high, **more)  # type: ignore[arg-type]


def test_figures_alone_give_the_interval_of_two_independent_samples() -> None:
    a = evaluation(1, "base/a", tasks={"copa": figure(0.5, 0.5, 100), "piqa": figure(0.6, 0.5, 100)})
    b = evaluation(2, "base/b", tasks={"copa": figure(0.8, 0.5, 100), "boolq": figure(0.6, 0.5, 100)})
    mean, copa = figure_rows(a, b)
    assert (mean.is_mean, copa.name) == (True, "copa")
    error = math.hypot(math.sqrt(0.25 / 100), math.sqrt(0.16 / 100))
    assert copa.low == pytest.approx(0.3 - 1.96 * error, abs=1e-4)
    assert copa.verdict == "▲ B better"
    assert copa.paired is None and copa.p is None


def test_a_published_table_without_errors_has_differences_but_no_verdict() -> None:
    rows = figure_rows(evaluation(1, "base/a", tasks=core_tasks(0.4)), published(2, "gpt2", 0.2))
    assert len(rows) == 23
    assert {one.verdict for one in rows} == {"– no error"}


def test_the_verdict_goes_by_holm_of_a_task_and_by_the_interval_of_a_mean() -> None:
    assert row(0.2, 0.1, 0.3, paired=50, p=0.01, p_holm=0.2).verdict == "· unclear"
    assert row(0.2, 0.1, 0.3, paired=50, p=0.001, p_holm=0.02).verdict == "▲ B better"
    assert row(0.0, 0.0, 0.0, paired=50, wins=0, losses=0, p=1.0, p_holm=1.0).verdict == "= the same"
    assert row(-0.2, -0.3, -0.1, is_mean=True).verdict == "▼ A better"
    assert row(math.nan, math.nan, math.nan, paired=0).verdict == "– not paired"


def test_an_interval_is_drawn_to_the_scale_of_all() -> None:
    rows = [row(0.1, 0.0, 0.2), row(-0.2, -0.4, 0.0)]
    reach = reach_of(rows)
    assert reach == 0.4
    assert interval(rows[0], reach, 21) == "          │─●───     "
    assert interval(rows[1], reach, 21) == "─────●────│          "
    assert interval(row(0.0), reach, 5, unicode=False) == "  o  "
    assert interval(row(math.nan), 1.0, 5) == "     "
    assert reach_of([]) == 1.0
