"""Figures of chat tasks from the records of their items, by subject where items have one; ChatCORE."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from nanochat.config.known_tasks import TASK_MEANS, baseline, centered
from nanochat.evals.records import Record, accuracy
from nanochat.evals.results import CHAT_CORE, EvaluationResult, TaskFigure


def chat_figure(task: str, records: Sequence[Record]) -> TaskFigure:
    """A task's figure, with those of its subjects (MMLU's) where every record tells its own: those of version
    1, with which a run may have begun, do not."""
    subjects: dict[str, list[Record]] = {}
    if all(record.get("subject") for record in records):
        for record in records:
            subjects.setdefault(record["subject"], []).append(record)
    figures = {name: _figure(task, subjects[name]) for name in sorted(subjects)}
    return replace(_figure(task, records), subjects=figures)


def _figure(task: str, records: Sequence[Record]) -> TaskFigure:
    mean, error = accuracy(records)
    return TaskFigure(mean, centered(task, mean), error, len(records))


def with_means(told: EvaluationResult, means: Mapping[str, float]) -> EvaluationResult:
    """The document with the means of its tasks; the error of ChatCORE is that of independent tasks."""
    error = None
    if CHAT_CORE in means:
        names = TASK_MEANS[CHAT_CORE]
        scaled = [(told.tasks[name].stderr or 0.0) / (1 - (baseline(name) or 0.0)) for name in names]
        error = math.hypot(*scaled) / len(names)
    return replace(told, mean=means.get(CHAT_CORE), mean_stderr=error, means=means)
