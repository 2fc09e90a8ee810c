"""CORE (DCLM, arXiv 2406.11794): 22 in-context tasks, each accuracy centered on guessing, and their mean.

Items are scored in chunks that depend on nothing but the task's rows; ranks take chunks in turn, and what an
earlier attempt of the run scored is not scored again. So results and losses are the same for any number of
ranks and wherever a run was interrupted.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nanochat.compute.device import Runtime
from nanochat.evals.batches import NEAR_TIE, Batch, LanguageModel, Score, plan_batches, score
from nanochat.evals.bundle import CoreTask, bundle_digest
from nanochat.evals.icl import Item, PromptBuilder
from nanochat.evals.item_record import item_line
from nanochat.evals.records import Record, Records, accuracy
from nanochat.evals.results import EVALUATION, EvaluationResult, TaskFigure
from nanochat.run.progress import Progress
from nanochat.run.stage_run import StageRun, StageStopped

CORE_TASKS = 22
"""Tasks of the complete bundle: only their mean is CORE."""
CORE = "core"
"""The name its records are stored under."""


@dataclass(frozen=True)
class TaskScore:
    """One task's accuracy (0 to 1), its standard error, and counts of unusual items."""

    label: str
    kind: str
    shots: int
    items: int
    accuracy: float
    stderr: float
    centered: float
    centered_stderr: float
    cropped: int
    """Prompts cropped from the left to what the model can read."""
    problems: int
    """Items that cannot be scored, counted as wrong."""
    empty: int
    """Items with an option of no tokens of its own."""
    near_ties: int
    """Items whose result depends on a difference under `NEAR_TIE`."""
    seconds: float

    @property
    def figure(self) -> TaskFigure:
        return TaskFigure(self.accuracy, self.centered, self.stderr, self.items)


@dataclass(frozen=True)
class CoreScore:
    """The tasks' scores, and CORE with its standard error when all tasks were evaluated."""

    tasks: list[TaskScore]
    core: float | None
    stderr: float | None
    unstored: str = ""
    """Why the records of the last items are not on the disk; "" when they are."""

    def values(self) -> dict[str, float | int | str]:
        """As the results of a stage: core/core, core/<task> and their standard errors."""
        found: dict[str, float | int | str] = {}
        if self.core is not None and self.stderr is not None:
            found = {"core/core": self.core, "core/core_stderr": self.stderr}
        for task in self.tasks:
            found[f"core/{task.label}"] = task.accuracy
            found[f"core/{task.label}_stderr"] = task.stderr
        return found

    def csv(self) -> str:
        """The table as upstream nanochat writes it; without its last row when tasks are missing."""
        lines = [f"{'Task':<35}, {'Accuracy':<10}, {'Centered':<10}"]
        lines += [f"{t.label:<35}, {t.accuracy:<10.6f}, {t.centered:<10.6f}" for t in self.tasks]
        if self.core is not None:
            lines.append(f"{'CORE':<35}, {'':<10}, {self.core:<10.6f}")
        return "\n".join(lines) + "\n"

    def as_json(self) -> dict[str, Any]:
        tasks = {t.label: t.figure.as_json() | asdict(t) for t in self.tasks}
        return {"core": self.core, "stderr": self.stderr, "tasks": tasks}


@dataclass(frozen=True)
class CoreRun:
    """What is evaluated, where and how. `folder` is where records are stored, None for nowhere."""

    model: LanguageModel
    run: StageRun
    runtime: Runtime
    folder: Path | None
    told: EvaluationResult
    """What its events say it is of: checkpoint, settings, where the items lie."""
    budget: int
    """Padded tokens of a batch."""
    step: int | None = None
    max_per_task: int = -1
    low: float = 0.0
    """The stage's progress when it begins."""
    high: float = 1.0
    """The stage's progress when it is done."""

    def setup(self) -> dict[str, Any]:
        """What must be unchanged for the records of an earlier attempt to be used."""
        return {"max_per_task": self.max_per_task, "step": self.step, "budget": self.budget}


def core_settings(runtime: Runtime, tasks: Sequence[CoreTask], max_per_task: int) -> dict[str, Any]:
    """What must be equal for two results to be comparable."""
    whole = len(tasks) == CORE_TASKS
    return {
        "max_per_task": max_per_task,
        "tasks": "all" if whole else ",".join(task.label for task in tasks),
        "dtype": str(runtime.dtype).removeprefix("torch."),
        **({"bundle": bundle_digest(tasks)} if whole else {}),
    }


def evaluate_core(core: CoreRun, tasks: Sequence[CoreTask], setup: dict[str, Any]) -> CoreScore:
    """Evaluates the tasks one after the other and reports each. `setup` identifies the model: a later attempt
    uses the records of one with the same setup.

    Raises `UserError` for a damaged bundle and `StageStopped` when the run is asked to stop.
    """
    # Read before anything is computed, so that a damaged file is reported at once.
    counts = [len(task.rows(core.max_per_task)) for task in tasks]
    # An item costs about as much as its prompt is long: progress goes by the examples in it.
    weights = [count * (1 + task.shots) for count, task in zip(counts, tasks, strict=True)]
    records = Records(core.folder, CORE, {**setup, **core.setup()}, core.runtime.ranks)
    unstored = ""
    scores: list[TaskScore] = []
    chunk_number = 0
    done = 0.0
    # Several processes stop together, between two tasks.
    together = core.run.activity.evaluating(core.runtime.world)
    with together, Progress(core.run, "CORE", low=core.low, high=core.high) as progress:
        for task, weight in zip(tasks, weights, strict=True):
            started = time.perf_counter()
            prompts = prompt_builder(core.model, task, core.max_per_task)
            for chunk in chunks(len(prompts.rows)):
                # Ranks take turns over the chunks of all tasks, so that a short task does not idle any.
                if chunk_number % core.runtime.world == core.runtime.rank:
                    score_chunk(core, prompts, chunk, records)
                chunk_number += 1
                share = (done + weight * chunk.stop / len(prompts.rows)) / sum(weights)
                progress.update(share, note=task.label)
            done += weight
            if core.runtime.ranks.any(core.run.stop_requested, core.runtime.device):
                raise StageStopped
            score = task_score(task, records.share(task.label), time.perf_counter() - started)
            report_task(core, score, is_last=task is tasks[-1])
            scores.append(score)
            if records.trouble and not unstored:
                core.run.alert("items_not_stored", f"items of CORE are not stored: {records.trouble}")
            unstored = records.trouble
    return replace(report_core(core, scores), unstored=unstored)


def prompt_builder(model: LanguageModel, task: CoreTask, max_per_task: int = -1) -> PromptBuilder:
    """The prompts of a task's rows for a model."""
    return PromptBuilder(
        task,
        rows=task.rows(max_per_task),
        encode=model.encode,
        bos=model.bos,
        splits_at_newlines=model.splits_at_newlines,
        max_tokens=model.max_tokens,
    )


def chunks(count: int) -> Iterator[range]:
    """The rows that are planned together: an eighth of a small task, 64 of a large one.

    Many rows make full batches; few keep the work of the ranks even and the loss of a kill small.
    """
    size = max(4, min(64, -(-count // 8)))
    return (range(start, min(start + size, count)) for start in range(0, count, size))


def score_chunk(core: CoreRun, prompts: PromptBuilder, chunk: range, records: Records) -> None:
    """Scores what is not yet scored of a chunk.

    A batch is always the same items, all scored together or none: another batch would round its sums
    otherwise.
    """
    label = prompts.task.label
    if all((label, index) in records for index in chunk):
        return
    items = [prompts.item(index) for index in chunk]
    records.add([record(core, prompts.task, item, []) for item in items if item.problem])
    for batch in plan_batches([item for item in items if not item.problem], core.model, core.budget):
        if core.runtime.world == 1:
            core.run.check_stop()
        if any((label, item.index) not in records for item in batch.items):
            records.add(score_batch(core, prompts.task, batch))


def score_batch(core: CoreRun, task: CoreTask, batch: Batch) -> list[Record]:
    scores = score(core.model, batch)
    return [record(core, task, item, found) for item, found in zip(batch.items, scores, strict=True)]


def record(core: CoreRun, task: CoreTask, item: Item, scores: Sequence[Score]) -> Record:
    """What is stored of one item, see item_record.py. A loss is null where an option has no tokens of its
    own."""
    losses = [s.loss for s in scores]
    prediction: int | str | None = None
    is_right = near_tie = False
    if item.problem:
        pass
    elif task.kind == "language_modeling":
        prediction, is_right = core.model.decode(scores[0].predicted.tolist()), scores[0].exact
        near_tie = scores[0].margin < NEAR_TIE
    else:
        prediction = lowest(losses)
        is_right = prediction == item.gold
        best, *others = sorted(loss for loss in losses if not math.isnan(loss)) or [math.nan]
        near_tie = bool(others) and others[0] - best < NEAR_TIE
    return item_line(
        task=task.label,
        index=item.index,
        key=item.key,
        correct=is_right,
        losses=[None if math.isnan(loss) else loss for loss in losses],
        prediction=prediction,
        gold=item.gold,
        near_tie=near_tie,
        cropped=item.cropped,
        problem=item.problem,
        choices=list(item.choices),
        continuation=item.continuation,
        prompt=item.prompt,
    )


def lowest(losses: Sequence[float]) -> int:
    """The option with the lowest loss, the first of equals.

    An option without tokens has NaN, which compares as in upstream nanochat: it is chosen where it is the
    first option and never elsewhere.
    """
    best = 0
    for i, loss in enumerate(losses):
        if loss < losses[best]:
            best = i
    return best


def task_score(task: CoreTask, records: Sequence[Record], seconds: float) -> TaskScore:
    """The score of a task from the records of its items."""
    mean, error = accuracy(records)
    return TaskScore(
        label=task.label,
        kind=task.kind,
        shots=task.shots,
        items=len(records),
        accuracy=mean,
        stderr=error,
        centered=task.centered(mean),
        centered_stderr=error / (1 - task.baseline),
        cropped=sum(bool(r.get("cropped")) for r in records),
        problems=sum(bool(r.get("problem")) for r in records),
        empty=sum(None in r["losses"] for r in records),
        near_ties=sum(r.get("near_tie", False) for r in records),
        seconds=seconds,
    )


def report_task(core: CoreRun, score: TaskScore, *, is_last: bool) -> None:
    """Logs one task's score, as an event and a line."""
    name = f"core/{score.label}"
    values = {name: score.accuracy, f"{name}_stderr": score.stderr, f"{name}_centered": score.centered}
    told = replace(core.told, tasks={score.label: score.figure}, complete=is_last)
    core.run.eval(core.step, {**values, EVALUATION: told.as_json()})
    counts = {
        "cropped to what the model can read": score.cropped,
        "that cannot be scored": score.problems,
        "with an empty option": score.empty,
        "near ties": score.near_ties,
    }
    notes = [f"{count} {what}" for what, count in counts.items() if count]
    core.run.log(
        f"{score.label} ({score.shots}-shot, {score.kind}): accuracy {score.accuracy:.4f} "
        f"± {score.stderr:.4f}, centered {score.centered:.4f}, {score.items:,} items, {score.seconds:.2f} s"
        + (f"; {', '.join(notes)}" if notes else "")
    )


def report_core(core: CoreRun, scores: list[TaskScore]) -> CoreScore:
    """Logs CORE, the mean of the centered accuracies; its error is that of independent tasks."""
    if len(scores) != CORE_TASKS:
        core.run.log(f"no CORE: it is the mean of {CORE_TASKS} tasks, and {len(scores)} were evaluated")
        return CoreScore(scores, None, None)
    mean = sum(s.centered for s in scores) / len(scores)
    error = math.sqrt(sum(s.centered_stderr**2 for s in scores)) / len(scores)
    told = replace(core.told, mean=mean, mean_stderr=error, complete=True)
    values = {"core/core": mean, "core/core_stderr": error}
    core.run.eval(core.step, {**values, EVALUATION: told.as_json()})
    core.run.log(f"CORE {mean:.4f} ± {error:.4f}")
    return CoreScore(scores, mean, error)
