"""Rows of scores: centered errors, orders that keep means on top, filters."""

import pytest

from remote.store.evaluations import TaskFigure
from tests.tui.screens.evals_bench import chat_tasks, evaluation, figure
from tui.data.evals.scores import (
    ScoreRow,
    categories,
    centered_stderr,
    in_order,
    kept_rows,
    score_rows,
)


def row(key: str, value: float | None = None, category: str = "", **more: object) -> ScoreRow:
    figures = {} if value is None else {1: TaskFigure(value, value, 0.01, 100)}
    return ScoreRow(key, key, category, figures, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(("accuracy", "baseline"), [(0.6, 0.25), (0.1, 0.5), (0.99, 0.0)])
def test_centering_stretches_the_standard_error_as_it_stretches_accuracies(
    accuracy: float, baseline: float
) -> None:
    one = figure(accuracy, baseline, n=200)
    assert one.stderr is not None
    assert centered_stderr(one) == pytest.approx(one.stderr / (1 - baseline))


def test_an_accuracy_of_one_has_no_error_centered_or_not() -> None:
    assert centered_stderr(figure(1.0, 0.25)) == 0.0


def test_accuracy_and_centered_are_two_values_of_one_cell() -> None:
    one = ScoreRow("copa", "copa", figures={1: figure(0.75, 0.5)})
    accuracy, centered = one.score(1, "accuracy"), one.score(1, "centered")
    assert accuracy is not None and centered is not None
    assert (accuracy.value, centered.value) == (0.75, 0.5)
    assert one.score(2, "accuracy") is None


def test_subjects_stay_below_their_task_and_means_on_top_in_every_order() -> None:
    rows = [
        row("CORE", 0.1, is_mean=True),
        row("zeta", 0.2),
        row("MMLU", 0.9, subjects=2),
        row("MMLU/b", 0.8, parent="MMLU"),
        row("MMLU/a", 0.3, parent="MMLU"),
        row("none"),
    ]
    by_value = [one.key for one in in_order(rows, "1", True, "accuracy")]
    assert by_value == ["CORE", "MMLU", "MMLU/b", "MMLU/a", "zeta", "none"]
    rising = [one.key for one in in_order(rows, "1", False, "accuracy")]
    assert rising == ["CORE", "zeta", "MMLU", "MMLU/a", "MMLU/b", "none"]
    by_name = [one.key for one in in_order(rows, "task", False, "accuracy")]
    assert by_name == ["CORE", "MMLU", "MMLU/a", "MMLU/b", "none", "zeta"]
    assert in_order(rows, "", False, "accuracy") == rows


def test_words_find_tasks_and_categories_and_means_stay() -> None:
    rows = [
        row("CORE", is_mean=True),
        row("copa", category="commonsense reasoning"),
        row("squad", category="reading comprehension"),
        row("coqa", category="reading comprehension"),
    ]
    assert [one.key for one in kept_rows(rows, "reading co")] == ["CORE", "squad", "coqa"]
    assert [one.key for one in kept_rows(rows, "co", "reading comprehension")] == ["CORE", "squad", "coqa"]
    assert [one.key for one in kept_rows(rows, "COPA")] == ["CORE", "copa"]
    assert categories(rows) == ["commonsense reasoning", "reading comprehension"]


def test_the_rows_of_chat_hold_mmlu_by_subject() -> None:
    one = evaluation(7, "sft/d20", kind="chat", tasks=chat_tasks(0.3))
    rows = {found.key: found for found in score_rows("chat", [one])}
    assert rows["MMLU"].subjects == 3
    anatomy = rows["MMLU/anatomy"]
    assert (anatomy.parent, anatomy.task, anatomy.subject) == ("MMLU", "MMLU", "anatomy")
    assert anatomy.figures[7].accuracy == one.tasks["MMLU"].subjects["anatomy"].accuracy
