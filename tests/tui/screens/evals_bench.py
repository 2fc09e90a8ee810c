"""Evaluations as a store gives them, with items on the disk, for the Evals screen: no host is asked."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.parts.evaluations import choice_record
from nanochat.common.errors import UserError
from nanochat.config.known_tasks import CHAT_TASKS, CORE_TASKS
from remote.fleet.evaluations import FleetEvaluations, ItemsProgress
from remote.store.evaluations import Evaluation, ItemsAt, TaskFigure
from tests.tui.conftest import NOW, Bench


class LocalEvaluations(FleetEvaluations):
    """Of a fleet that follows no host: items lie under the base directory."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.refreshed: list[str] = []
        self.unreachable: set[str] = set()

    async def refresh(self, name: str) -> None:
        self.refreshed.append(name)
        if name in self.unreachable:
            raise UserError(f"host '{name}' is unreachable", "see Hosts")

    async def fetched_at(self, evaluation: Evaluation) -> float | None:
        return NOW - 7200

    async def items(self, evaluation: Evaluation, progress: ItemsProgress | None = None) -> Path:
        if evaluation.items is None:
            raise UserError("its items were not kept")
        return self.base / evaluation.items.path


def figure(accuracy: float, baseline: float = 0.25, n: int | None = 500, **more: Any) -> TaskFigure:
    """A task's figure with its binomial standard error."""
    error = (accuracy * (1 - accuracy) / n) ** 0.5 if n else None
    return TaskFigure(accuracy, (accuracy - baseline) / (1 - baseline), error, n, **more)


def core_tasks(skill: float, n: int | None = 500, first: int = 22) -> dict[str, TaskFigure]:
    """Figures of CORE's tasks, the higher the better the model is (0 to 1)."""
    draw = random.Random(7)
    return {
        name: figure(baseline + (1 - baseline) * skill * draw.uniform(-0.1, 1.3), baseline, n)
        for name, (_, baseline) in list(CORE_TASKS.items())[:first]
    }


def chat_tasks(skill: float) -> dict[str, TaskFigure]:
    """Figures of the chat tasks, MMLU with three subjects."""
    draw = random.Random(9)

    def made(baseline: float) -> TaskFigure:
        return figure(baseline + (1 - baseline) * skill * draw.uniform(0.3, 1.2), baseline)

    found = {name: made(baseline) for name, (_, baseline) in CHAT_TASKS.items()}
    subjects = {name: made(0.25) for name in ("abstract_algebra", "anatomy", "world_religions")}
    found["MMLU"] = figure(found["MMLU"].accuracy or 0.0, subjects=subjects)
    return found


def evaluation(number: int, checkpoint: str, step: int | None = 1000, **more: Any) -> Evaluation:
    """An evaluation; CORE of 22 tasks unless told otherwise."""
    tasks: Mapping[str, TaskFigure] = more.pop("tasks", None) or core_tasks(more.pop("skill", 0.3))
    centered = [one.centered for one in tasks.values() if one.centered is not None]
    known: dict[str, Any] = {
        "host": "local",
        "run": "",
        "kind": "core",
        "settings": {"max_per_task": 500},
        "mean": sum(centered) / len(centered) if centered else None,
        "mean_stderr": 0.004,
        "figures": {},
        "status": "complete",
        "progress": None,
        "t": NOW - 3600 + number,
        "items": None,
    }
    return Evaluation(id=number, checkpoint=checkpoint, step=step, tasks=tasks, **{**known, **more})


def published(number: int, name: str, skill: float) -> Evaluation:
    """A published table."""
    tasks = core_tasks(skill, n=None)
    return evaluation(
        number, name, None, tasks=tasks, host="", reference=True, settings={}, mean_stderr=None, t=0.0
    )


def install(bench: Bench, evaluations: Sequence[Evaluation]) -> LocalEvaluations:
    """Puts evaluations into the store of a bench; returns what the fleet knows of them."""
    known = list(evaluations)
    store = bench.store
    store.evaluations = lambda kind=None: [one for one in known if kind in (None, one.kind)]  # type: ignore[method-assign]
    store.evaluations_version = lambda: hash(tuple(one.id for one in known))  # type: ignore[method-assign]
    bench.fleet.evaluations = LocalEvaluations(bench.layout.base)
    return bench.fleet.evaluations


# ---- items ---------------------------------------------------------------------------------------------


def choice_item(task: str, index: int, right: bool, **more: Any) -> dict[str, Any]:
    """A multiple-choice item of version 2, with two examples before what is asked."""
    return {**choice_record(task, index, right), **more}


def write_items(bench: Bench, name: str, records: Sequence[Mapping[str, Any]], tail: str = "") -> ItemsAt:
    """Writes records to a file of items under the base directory."""
    path = bench.layout.base / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records) + tail, encoding="utf-8")
    return ItemsAt("local", name, path.stat().st_size)
