"""Scores of evaluations as rows of a table: what stands in a cell, which rows are kept, in what order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from nanochat.common.text import sanitize
from tui.data.ordering import SortValue, arranged, natural

if TYPE_CHECKING:
    from remote.store.evaluations import Evaluation, Kind, TaskFigure

How = Literal["accuracy", "centered"]


@dataclass(frozen=True)
class Score:
    """A value with its standard error. `share` is how long its bar is, 0 to 1; None for no bar."""

    value: float
    stderr: float | None
    share: float | None


@dataclass(frozen=True)
class ScoreRow:
    """A task, one of its subjects, or a mean. `figures` are by the id of the evaluation."""

    key: str
    title: str
    category: str = ""
    figures: Mapping[int, TaskFigure] = field(default_factory=dict)
    parent: str = ""
    """The key of the task that this is a subject of."""
    subjects: int = 0
    """How many subjects the task has."""
    is_mean: bool = False
    has_bar: bool = True

    @property
    def task(self) -> str:
        """The task that the row is of, or the one that its subject is of."""
        return self.parent or self.key

    @property
    def subject(self) -> str:
        """The subject that the row is of, or ""."""
        return self.title if self.parent else ""

    def score(self, evaluation: int, how: How) -> Score | None:
        """What stands in the column of an evaluation; None where it has no such figure."""
        figure = self.figures.get(evaluation)
        if figure is None:
            return None
        if self.is_mean or (how == "centered" and figure.centered is not None):
            value, stderr = figure.centered, centered_stderr(figure)
        else:
            value, stderr = figure.accuracy, figure.stderr
        if value is None:
            return None
        return Score(value, stderr, value if self.has_bar else None)


def score_rows(kind: Kind, evaluations: Sequence[Evaluation]) -> list[ScoreRow]:
    """The rows of a table, the means first, as `nanochat evals` prints them."""
    from remote.evaluation_tables import rows

    found = rows(kind, evaluations)
    subjects = Counter(row.parent for row in found if row.parent)
    return [
        ScoreRow(
            row.task,
            sanitize(row.task.removeprefix(f"{row.parent}/") if row.parent else row.task, 60),
            row.category,
            {
                one.id: figure
                for one, figure in zip(evaluations, row.figures, strict=True)
                if figure is not None
            },
            row.parent,
            subjects[row.task],
            row.is_mean,
            has_bar=kind in ("core", "chat"),
        )
        for row in found
    ]


def centered_stderr(figure: TaskFigure) -> float | None:
    """The standard error of the centered accuracy: centering is linear, so that it stretches both alike.

    With baseline b the centered accuracy is c = (a − b) / (1 − b), hence 1 / (1 − b) = (1 − c) / (1 − a).
    """
    if figure.stderr is None or figure.accuracy is None or figure.centered is None:
        return figure.stderr if figure.accuracy is None else None
    if figure.accuracy >= 1.0:
        return figure.stderr
    return figure.stderr * (1.0 - figure.centered) / (1.0 - figure.accuracy)


def kept_rows(rows: Iterable[ScoreRow], words: str, category: str = "") -> list[ScoreRow]:
    """The rows whose task or category holds every word, of one category where one is given; means stay."""
    wanted = words.lower().split()
    return [
        row
        for row in rows
        if row.is_mean
        or (
            (not category or row.category == category)
            and all(word in f"{row.task} {row.title} {row.category}".lower() for word in wanted)
        )
    ]


def in_order(rows: Sequence[ScoreRow], order: str, descending: bool, how: How) -> list[ScoreRow]:
    """Means first, then tasks by `order` ("" as evaluated, task, category, or an evaluation's id), each with
    its subjects below it in the same order."""

    def value(row: ScoreRow) -> SortValue | None:
        if order == "task":
            return natural(row.title)
        if order == "category":
            return natural(row.category) if row.category else None
        score = row.score(int(order), how)
        return None if score is None else (0, score.value)

    means = [row for row in rows if row.is_mean]
    tasks = [row for row in rows if not row.is_mean and not row.parent]
    subjects: dict[str, list[ScoreRow]] = {}
    for row in rows:
        if row.parent:
            subjects.setdefault(row.parent, []).append(row)
    known = {row.key for row in tasks}
    orphans = [row for parent, found in subjects.items() if parent not in known for row in found]

    def sort(some: list[ScoreRow]) -> list[ScoreRow]:
        return arranged(some, value, descending) if order else some

    placed = list(means)
    for row in sort([*tasks, *orphans]):
        placed.append(row)
        placed += sort(subjects.get(row.key, []))
    return placed


def categories(rows: Iterable[ScoreRow]) -> list[str]:
    """The categories of the rows, in their order."""
    return list(dict.fromkeys(row.category for row in rows if row.category))
