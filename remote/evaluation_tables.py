"""Tables of evaluations: the rows they have, and what makes two of them not comparable.

The Evals screen, `nanochat evals` and the report all draw these rows, and spell their figures by these
functions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nanochat.common.text import number, sanitize
from nanochat.config.known_tasks import CHAT_TASKS, CORE_TASKS, baseline, category
from remote.store.evaluations import Evaluation, Kind, TaskFigure

__all__ = [
    "Row",
    "amount_text",
    "baseline",
    "category",
    "cell_text",
    "figure_text",
    "number_text",
    "row_title",
    "rows",
    "setting_differences",
    "settings_key",
    "settings_line",
    "single_table",
    "value_of",
]

MEANS: Mapping[Kind, tuple[str, ...]] = {
    "core": ("CORE",),
    "chat": ("ChatCORE", "ChatCORE_classic", "ChatCORE_cat"),
}
"""The means of a kind, the one that `Evaluation.mean` is first."""
_NO_DIFFERENCE = frozenset(("device", "ranks", "budget", "batch_size", "device_batch_size"))
"""Settings that two evaluations may differ in: items and figures are the same but for rounding."""
_UNSAID = _NO_DIFFERENCE | {"bundle"}
"""What a line of settings leaves out: a digest says nothing until there is another."""
_WORD, _LONGEST_WORD = 12, 24  # of a hash the beginning tells enough
_ORDER = {task: place for place, task in enumerate([*CORE_TASKS, *CHAT_TASKS])}


@dataclass(frozen=True)
class Row:
    """A task, a subject of one, or a mean. `figures` has one entry a column, None where it has none.

    Of a mean `centered` and `stderr` are set, and no accuracy.
    """

    task: str
    """`copa`; of a subject `MMLU/anatomy`; of a mean `CORE`."""
    category: str
    parent: str
    """The task that this is a subject of; "" for a task."""
    figures: tuple[TaskFigure | None, ...]
    is_mean: bool = False


def rows(kind: Kind, evaluations: Sequence[Evaluation]) -> list[Row]:
    """The rows of a table with these columns: means first, then the tasks, below each its subjects."""
    found = [_mean_row(name, evaluations) for name in MEANS.get(kind, ())]
    found = [row for row in found if any(row.figures)]
    tasks = dict.fromkeys(task for one in evaluations for task in one.tasks)
    for task in sorted(tasks, key=lambda task: _ORDER.get(task, len(_ORDER))):
        figures = tuple(one.tasks.get(task) for one in evaluations)
        found.append(Row(task, category(task), "", figures))
        subjects = sorted({name for figure in figures if figure is not None for name in figure.subjects})
        found += [
            Row(
                f"{task}/{subject}",
                category(task),
                task,
                tuple(None if figure is None else figure.subjects.get(subject) for figure in figures),
            )
            for subject in subjects
        ]
    return found


def single_table(kind: Kind, found: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the table of one evaluation: its `rows`, every figure in words."""
    if kind not in MEANS:
        return ["split" if kind == "bpb" else "figure", "bits per byte" if kind == "bpb" else "value"], [
            [row.task, figure_text(figure.accuracy, 6) if kind == "bpb" else amount_text(figure.accuracy)]
            for row in found
            if (figure := row.figures[0]) is not None
        ]
    shown = []
    for row in found:
        figure = row.figures[0]
        if figure is not None:
            n = "" if figure.n is None else str(figure.n)
            cells = [figure_text(figure.accuracy), figure_text(figure.centered), figure_text(figure.stderr)]
            shown.append([row_title(row), row.category, *cells, n])
    return ["task", "category", "accuracy", "centered", "±", "items"], shown


def value_of(row: Row, figure: TaskFigure | None) -> float | None:
    """What a row says of one evaluation: an accuracy, of a mean the centered one."""
    if figure is None:
        return None
    return figure.centered if row.is_mean else figure.accuracy


def cell_text(row: Row, figure: TaskFigure | None) -> str:
    """The same in words, with its standard error: `0.7400 ±0.0310`; "" where there is none."""
    value = value_of(row, figure)
    if value is None or figure is None:
        return ""
    return figure_text(value) + (f" ±{figure_text(figure.stderr)}" if figure.stderr is not None else "")


def row_title(row: Row) -> str:
    """What a row is called; subjects are moved in."""
    return f"  {row.task.partition('/')[2]}" if row.parent else row.task


def figure_text(value: float | None, digits: int = 4) -> str:
    """A score as every table spells it; "" for None."""
    return "" if value is None else f"{value:.{digits}f}"


def amount_text(value: object) -> str:
    """A figure of a tokenizer: counts of tokens and bytes whole, ratios and shares with their decimals."""
    return f"{value:.0f}" if isinstance(value, float) and value.is_integer() else number_text(value)


def number_text(value: object) -> str:
    """A number as tables of comparisons spell it, counts whole; "" for None."""
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def setting_differences(one: Evaluation, other: Evaluation) -> list[str]:
    """The settings that make two evaluations not comparable, a line each: `max_per_task: 500 and all`."""
    names = dict.fromkeys([*one.settings, *other.settings])
    found = []
    for name in names:
        values = one.settings.get(name), other.settings.get(name)
        told = name in one.settings and name in other.settings  # what a file leaves out is no difference
        if told and values[0] != values[1] and name not in _NO_DIFFERENCE:
            found.append(f"{sanitize(name, 80)}: {_told(values[0])} and {_told(values[1])}")
    return found


def settings_line(one: Evaluation) -> str:
    """What an evaluation was asked for, in a line: `max_per_task 500, dtype float32`."""
    shown = [
        f"{name} {_told(value)}"
        for name, value in one.settings.items()
        if name not in _UNSAID and not isinstance(value, dict | list)
    ]
    return sanitize(", ".join(shown), 300)


def settings_key(settings: Mapping[str, Any]) -> str:
    """Equal for equal settings, as far as they matter."""
    told = {name: value for name, value in settings.items() if name not in _NO_DIFFERENCE}
    return json.dumps(told, sort_keys=True, default=str)


def _told(value: object) -> str:
    if value is None or value in (-1, ""):
        return "all" if value == -1 else "none"
    if isinstance(value, float):
        return number(value)
    text = sanitize(str(value), 200)
    return f"{text[:_WORD]}…" if len(text) > _LONGEST_WORD and " " not in text else text[:80]


def _mean_row(name: str, evaluations: Sequence[Evaluation]) -> Row:
    figures: list[TaskFigure | None] = []
    for one in evaluations:
        is_main = name == MEANS[one.kind][0]
        value = one.mean if is_main else one.figures.get(name)
        stderr = one.mean_stderr if is_main else one.figures.get(f"{name}_stderr")
        figures.append(None if value is None else TaskFigure(None, value, stderr))
    return Row(name, "", "", tuple(figures), is_mean=True)
