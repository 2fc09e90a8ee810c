"""Figures of an evaluation as documents and events spell them, read field by field."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from nanochat.common import fields
from nanochat.evals.results import CHAT_CORE, Kind, centered_score, checkpoint_name

MOST_TASKS = 1_000
"""Tasks of an evaluation, and subjects of a task, that are kept."""
MEANS: Mapping[str, str] = {"core": "core", "chat": CHAT_CORE}
"""The mean over tasks, as events call it."""

_STEP = re.compile(r"(?:step|model)_(\d{6,12})(?:\.pt|-[0-9a-f]{6})?")
_SUFFIXED = re.compile(r"(.*)_(stderr|centered|n)", re.DOTALL)
_HIGHEST = 1e15


@dataclass(frozen=True)
class TaskFigure:
    """One task's score; None for what its source does not tell."""

    accuracy: float | None
    """0 to 1. Of bits per byte the bits; of a tokenizer's figure its value."""
    centered: float | None = None
    """0 where one guesses, 1 at best."""
    stderr: float | None = None
    """Of the accuracy."""
    n: int | None = None
    """Items."""
    subjects: Mapping[str, TaskFigure] = field(default_factory=dict)
    """MMLU's subjects."""

    def as_json(self) -> dict[str, Any]:
        """As documents spell it; without `subjects` where there are none."""
        found: dict[str, Any] = {
            "accuracy": self.accuracy,
            "centered": self.centered,
            "stderr": self.stderr,
            "n": self.n,
        }
        if self.subjects:
            found["subjects"] = {name: figure.as_json() for name, figure in self.subjects.items()}
        return found


def read_figure(held: object, depth: int = 1) -> TaskFigure | None:
    """A figure as a document has it; None for what is none. Never raises."""
    if not isinstance(held, Mapping):
        return None
    n = held.get("n", held.get("items"))  # `items` in documents before version 2 of the records
    return TaskFigure(
        accuracy=number(held.get("accuracy")),
        centered=number(held.get("centered")),
        stderr=number(held.get("stderr")),
        n=fields.whole(n, 0),
        subjects=read_figures(held.get("subjects"), depth - 1) if depth > 0 else {},
    )


def read_figures(held: object, depth: int = 1) -> dict[str, TaskFigure]:
    """The figures by task of a document, in its order; what is no figure is left out."""
    found = {}
    for name, value in list(held.items())[:MOST_TASKS] if isinstance(held, Mapping) else ():
        figure = read_figure(value, depth)
        clean = fields.text(name, 120)
        if figure is not None and clean:
            found[clean] = figure
    return found


def number(value: object) -> float | None:
    """A finite number of a size that a score can have; NaN counts as not there."""
    return fields.real(value, -_HIGHEST, _HIGHEST)


def checkpoint_of(path: str) -> tuple[str, int | None]:
    """Name and step of the checkpoint in a folder or file of a base directory: `("base/d4", 500)`.

    `…/base_checkpoints/d4/step_000500` is ours, `…/base_checkpoints/d4/model_000500.pt` upstream's. Any other
    path is its own name, by its last two parts.
    """
    match = _STEP.fullmatch(PurePosixPath(path).name)
    name = checkpoint_name(path) if match is not None else checkpoint_name(f"{path}/-")
    if name:
        return fields.text(name) or "", int(match[1]) if match is not None else None
    return fields.text("/".join(PurePosixPath(path).parts[-2:])) or "", None


def flat_figures(kind: Kind, values: Mapping[str, Any]) -> Iterator[tuple[str, str, float]]:
    """`(task, field, value)` of an event's or a result's flat names: `core/copa_stderr`, `val/bpb` …

    A field is accuracy, stderr, centered or n. `bpb`: the tasks are the splits.
    """
    for spelled, value in values.items():
        score = number(value)
        name = fields.text(spelled, 200)
        if score is None or name is None:
            continue
        if kind == "bpb":
            if name in ("train/bpb", "val/bpb"):
                yield name.partition("/")[0], "accuracy", score
            continue
        prefix = "tok/" if kind == "tokenizer" else f"{kind}/"
        if name.startswith(prefix):
            task = name.removeprefix(prefix)
            found = _SUFFIXED.fullmatch(task) if kind != "tokenizer" else None
            task, field_name = found.groups() if found is not None else (task, "accuracy")
            if kind == "tokenizer" or _can_be(field_name, score, is_mean=task.startswith(MEANS[kind])):
                yield task, field_name, score


def _can_be(field_name: str, score: float, is_mean: bool) -> bool:
    """Whether a figure of a task, or of a mean of centered accuracies, can have that value."""
    if field_name == "accuracy" and not is_mean:
        return 0 <= score <= 1
    if field_name in ("accuracy", "centered"):
        return centered_score(score) is not None
    return score >= 0
