"""One evaluation's result as a document: of which checkpoint, how it was measured, and every task's figures.

    {"checkpoint": "base/d4", "step": 300, "kind": "core", "settings": {"max_per_task": 20, …},
     "tasks": {"copa": {"accuracy": 0.6, "centered": 0.2, "stderr": 0.1, "n": 20}, …},
     "core": 0.11, "stderr": 0.01, "run": "20261130-…", "t": 1796025407.3,
     "items": "runs/20261130-…/core-items.jsonl", "complete": true}

A chat evaluation has "chatcore" in place of "core", "means" with the other means, and in MMLU's figures
"subjects"; bits per byte have "bpb": {"train": …, "val": …}, a tokenizer has "figures". It lies in the files
`base_eval/*.json` and `chat_eval/*.json`. The same stands in parts in a run's events: under `evaluation` in
each `eval` event, which tells of one task, and without figures under `evaluations` in `stage_start`. The
parts together are the document.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal, cast

from nanochat.common import fields
from nanochat.common.paths import CHECKPOINT_FOLDERS

Kind = Literal["core", "chat", "bpb", "tokenizer"]
KINDS: tuple[Kind, ...] = ("core", "chat", "bpb", "tokenizer")
EVALUATION = "evaluation"
"""The field of an `eval` event's data that holds a part of a document."""
EVALUATIONS = "evaluations"
"""The field of a `stage_start`'s info that lists what the stage will evaluate."""
MEANS = {"core": "core", "chat": "chatcore"}
"""Under which name a document holds the mean of its tasks."""
CHAT_CORE = "ChatCORE"
"""The mean's name, which stands for its six tasks where tasks are named."""
HUGGING_FACE = "huggingface"
"""Stands before the `/` for a model of Hugging Face's, which no stage here wrote."""
LEAST_CENTERED = -100.0
"""No centered accuracy is lower: guessing is right in 99 of 100 items at most."""
_SOURCES = {folder: source for source, folder in CHECKPOINT_FOLDERS.items()}


@dataclass(frozen=True)
class TaskFigure:
    """A task's accuracy, 0 to 1; `centered` so that guessing is 0; its binomial standard error; its items."""

    accuracy: float
    centered: float | None = None
    stderr: float | None = None
    n: int | None = None
    subjects: Mapping[str, "TaskFigure"] = field(default_factory=dict)
    """Of MMLU, by name."""

    def as_json(self) -> dict[str, Any]:
        """Its fields, those that are known."""
        values = {"accuracy": self.accuracy, "centered": self.centered, "stderr": self.stderr, "n": self.n}
        found: dict[str, Any] = {name: value for name, value in values.items() if value is not None}
        if self.subjects:
            found["subjects"] = {name: figure.as_json() for name, figure in self.subjects.items()}
        return found


@dataclass(frozen=True)
class EvaluationResult:
    """What one evaluation measured, so far."""

    checkpoint: str
    """`SOURCE/TAG`, such as base/d4; huggingface/NAME; of a tokenizer its folder."""
    step: int | None
    """None where there is none: of Hugging Face's models, and of tokenizers."""
    kind: Kind
    settings: Mapping[str, Any] = field(default_factory=dict)
    """How it was measured: what must be equal for two results to be comparable."""
    tasks: Mapping[str, TaskFigure] = field(default_factory=dict)
    mean: float | None = None
    """CORE or ChatCORE; None while tasks are missing."""
    mean_stderr: float | None = None
    means: Mapping[str, float] = field(default_factory=dict)
    """ChatCORE, ChatCORE_classic, ChatCORE_cat: those whose tasks were all evaluated."""
    bpb: Mapping[str, float] = field(default_factory=dict)
    """Bits per byte by split: train, val."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Of a tokenizer: `news/bytes_per_token` and the like."""
    run: str = ""
    t: float = 0.0
    """Unix seconds of the newest figure; 0 where it is not told."""
    items: str = ""
    """The file of its items on the host it ran on, from the base directory where it lies below it."""
    complete: bool = False
    """Whether this is all that was asked for."""

    def as_json(self) -> dict[str, Any]:
        """The document, without the fields that are empty."""
        found: dict[str, Any] = {"checkpoint": self.checkpoint, "step": self.step, "kind": self.kind}
        found["settings"] = dict(self.settings)
        if self.kind in MEANS:
            found["tasks"] = {name: figure.as_json() for name, figure in self.tasks.items()}
        if self.mean is not None:
            found |= {MEANS[self.kind]: self.mean, "stderr": self.mean_stderr}
        rest = {"means": self.means, "bpb": self.bpb, "figures": self.figures}
        found |= {name: dict(value) for name, value in rest.items() if value}
        plain = {"run": self.run, "t": self.t, "items": self.items, "complete": self.complete}
        return found | {name: value for name, value in plain.items() if value}


def read_result(document: object) -> EvaluationResult | None:
    """The result in a document, or in a part of one, each field checked; None when it is none.

    Of the files of earlier releases those of CORE say enough by themselves.
    """
    if not isinstance(document, Mapping):
        return None
    if "kind" not in document:
        return _old_core(document)
    checkpoint, kind = fields.text(document.get("checkpoint")), document["kind"]
    if not checkpoint or kind not in KINDS:
        return None
    mean = MEANS.get(kind, "")
    return EvaluationResult(
        checkpoint,
        fields.whole(document.get("step"), 0),
        cast(Kind, kind),
        settings=fields.plain(_mapping(document.get("settings"))),
        tasks=_figures(document.get("tasks")),
        mean=centered_score(document.get(mean)),
        mean_stderr=fields.real(document.get("stderr"), 0),
        means=_numbers(document.get("means"), LEAST_CENTERED, 1.0),
        bpb=_numbers(document.get("bpb"), 0),
        figures=_numbers(document.get("figures")),
        run=fields.text(document.get("run")) or "",
        t=fields.moment(document.get("t")) or 0.0,
        items=_path(document.get("items")),
        complete=document.get("complete") is True,
    )


def centered_score(value: object) -> float | None:
    """A centered accuracy, or a mean of some; None for what can be none."""
    return fields.real(value, LEAST_CENTERED, 1.0)


# -- files of earlier releases ---------------------------------------------------------------------


def checkpoint_name(path: str) -> str:
    """`SOURCE/TAG` of a checkpoint's path: `…/base_checkpoints/d4/step_000300` is base/d4. "" for others."""
    parts = PurePosixPath(path).parts
    source = _SOURCES.get(parts[-3], "") if len(parts) > 2 else ""
    return f"{source}/{parts[-2]}" if source else ""


def _old_core(document: Mapping[str, Any]) -> EvaluationResult | None:
    """`base_eval/*.json` before documents: a model's path, and tasks with their number of items."""
    model, tasks = fields.text(document.get("model"), 1_000), document.get("tasks")
    if not model or not isinstance(tasks, Mapping):
        return None
    most = fields.whole(document.get("max_per_task"))
    mean = centered_score(document.get("core"))
    return EvaluationResult(
        checkpoint_name(model) or f"{HUGGING_FACE}/{PurePosixPath(model).name}",
        fields.whole(document.get("step"), 0),
        "core",
        settings={} if most is None else {"max_per_task": most},
        tasks=_figures(tasks),
        mean=mean,
        mean_stderr=fields.real(document.get("stderr"), 0),
        complete=True,
    )


def _figures(value: object) -> dict[str, TaskFigure]:
    found = {}
    for name, said in list(_mapping(value).items())[: fields.MAX_ITEMS]:
        figure = _mapping(said)
        accuracy = fields.real(figure.get("accuracy"), 0, 1)
        if accuracy is not None:
            found[fields.text(name) or ""] = TaskFigure(
                accuracy,
                centered_score(figure.get("centered")),
                fields.real(figure.get("stderr"), 0),
                fields.whole(figure.get("n", figure.get("items")), 0),
                _figures(figure.get("subjects")) if "subjects" in figure else {},
            )
    return found


def _numbers(value: object, low: float = -math.inf, high: float = math.inf) -> dict[str, float]:
    items = list(_mapping(value).items())[: fields.MAX_ITEMS]
    found = {fields.text(name) or "": fields.real(said, low, high) for name, said in items}
    return {name: number for name, number in found.items() if number is not None}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _path(value: object) -> str:
    """A path as it is spelled; "" for what can be none."""
    return value if isinstance(value, str) and "\0" not in value and len(value) <= 4_096 else ""
