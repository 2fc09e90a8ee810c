"""An evaluation as it is kept: put together from events and from files, read back field by field."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from nanochat.common import fields
from nanochat.config.known_tasks import TASK_MEANS, centered
from nanochat.evals.results import CHAT_CORE, EvaluationResult, Kind
from nanochat.evals.results import TaskFigure as ResultFigure
from remote.store.evaluation_figures import MEANS, TaskFigure, flat_figures, number, read_figures

_ITEMS = re.compile(r"(?:^|/)((?:runs/[^/]+/(?:core/[^/]+/)?|chat_eval/)[^/]+\.jsonl)$")


@dataclass
class Draft:
    """An evaluation as its run's events have told it so far. `step` −1: none."""

    kind: Kind
    step: int
    checkpoint: str = ""
    t: float = 0.0
    settings: dict[str, Any] = field(default_factory=dict)
    tasks: dict[str, TaskFigure] = field(default_factory=dict)
    mean: float | None = None
    mean_stderr: float | None = None
    figures: dict[str, float] = field(default_factory=dict)
    items: str = ""
    """Relative to the base directory."""
    complete: bool = False
    partial: bool = False
    """Through, with fewer tasks than the mean needs."""
    training: bool = False
    reference: bool = False
    """A published table."""
    upstream: bool = False
    """Written by upstream nanochat."""
    run_id: str = ""
    """The run that a file says it is of."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Items of each task, where the start tells."""

    def as_json(self) -> dict[str, Any]:
        """What is kept beside kind, checkpoint, step and time."""
        held = asdict(self)
        for name in ("kind", "step", "checkpoint", "t"):
            del held[name]
        held["tasks"] = {name: figure.as_json() for name, figure in self.tasks.items()}
        return held

    @classmethod
    def read(cls, kind: Kind, step: int, checkpoint: str, t: float, raw: str) -> Draft:
        """What `as_json` has kept; what of it is not of its type begins anew. Never raises."""
        held = fields.json_object(raw) or {}
        return cls(
            kind,
            step,
            checkpoint,
            t,
            settings=fields.plain(object_of(held.get("settings"))),
            tasks=read_figures(held.get("tasks")),
            mean=number(held.get("mean")),
            mean_stderr=number(held.get("mean_stderr")),
            figures=numbers_of(held.get("figures")),
            items=fields.text(held.get("items"), 1_000) or "",
            complete=held.get("complete") is True,
            partial=held.get("partial") is True,
            training=held.get("training") is True,
            reference=held.get("reference") is True,
            upstream=held.get("upstream") is True,
            run_id=fields.text(held.get("run_id")) or "",
            sizes={name: int(size) for name, size in numbers_of(held.get("sizes")).items()},
        )


def take_flat(draft: Draft, values: Mapping[str, Any]) -> None:
    """Takes in what stands under flat names: `core/copa`, `core/copa_stderr`, `val/bpb`."""
    for task, name, value in flat_figures(draft.kind, values):
        if _take_mean(draft, task, name, value):
            continue
        known = draft.tasks.get(task) or TaskFigure(None, n=draft.sizes.get(task))
        change: Any = int(value) if name == "n" else value
        figure = replace(known, **{name: change})
        if name == "accuracy" and draft.kind == "chat":
            figure = replace(figure, centered=centered(task, value))
        draft.tasks[task] = figure
    draft.mean = mean_of(draft.kind, draft.tasks, draft.mean)


def _take_mean(draft: Draft, task: str, name: str, value: float) -> bool:
    """Takes the mean over tasks, or another one; False for a task."""
    if MEANS.get(draft.kind) == task:
        if name == "stderr":
            draft.mean_stderr = value
        elif name == "accuracy":
            draft.mean = value
        return True
    if draft.kind == "chat" and task in TASK_MEANS:
        draft.figures[task if name == "accuracy" else f"{task}_{name}"] = value
        return True
    return False


def take_result(draft: Draft, result: EvaluationResult) -> None:
    """Takes a document in, or a part of one: it says more than what stands for it elsewhere."""
    for name, figure in result.tasks.items():
        known = draft.tasks.get(name)
        draft.tasks[name] = replace(
            _figure(figure), subjects=_subjects(figure) or (known.subjects if known is not None else {})
        )
    values = result.bpb if result.kind == "bpb" else result.figures if result.kind == "tokenizer" else {}
    draft.tasks |= {name: TaskFigure(value) for name, value in values.items()}
    draft.figures |= {name: value for name, value in result.means.items() if name != CHAT_CORE}
    draft.settings |= fields.plain(result.settings)
    draft.mean = mean_of(draft.kind, draft.tasks, draft.mean if result.mean is None else result.mean)
    draft.mean_stderr = draft.mean_stderr if result.mean_stderr is None else result.mean_stderr
    draft.items = items_path(result.items) or draft.items
    draft.t = max(draft.t, result.t)


def _figure(told: ResultFigure) -> TaskFigure:
    return TaskFigure(told.accuracy, told.centered, told.stderr, told.n)


def _subjects(told: ResultFigure) -> dict[str, TaskFigure]:
    return {name: _figure(figure) for name, figure in told.subjects.items()}


def items_path(path: str) -> str:
    """Where items lie, relative to the base directory; "" for a place that no agent reads from."""
    match = _ITEMS.search(path)
    return match[1] if match else ""


def mean_of(kind: Kind, tasks: Mapping[str, TaskFigure], told: float | None) -> float | None:
    """What stands for the whole: as told, or the figure of one text where no mean is made."""
    if kind in ("core", "chat"):
        return told
    wanted = (
        ("val",) if kind == "bpb" else ("val/bytes_per_token", "train/bytes_per_token", "bytes_per_token")
    )
    return next((tasks[name].accuracy for name in wanted if name in tasks), told)


def numbers_of(held: object) -> dict[str, float]:
    found = held.items() if isinstance(held, Mapping) else ()
    values = {fields.text(name, 120) or "": number(value) for name, value in list(found)[:2_000]}
    return {name: value for name, value in values.items() if name and value is not None}


def object_of(held: object) -> Mapping[str, Any]:
    return held if isinstance(held, Mapping) else {}
