"""CORE (DCLM, arXiv 2406.11794): 22 in-context tasks, each accuracy centered on guessing, and their mean.

Items are judged in chunks that depend on nothing but the task's rows; ranks take chunks in turn, and
what an earlier attempt of the run judged is not judged again. So verdicts and losses are the same for any
number of ranks and wherever a run was cut.
"""

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nanochat.common.paths import atomic_write, make_dir
from nanochat.compute.device import Runtime
from nanochat.evals.batches import NEAR, Batch, LanguageModel, Score, plan_batches, score
from nanochat.evals.bundle import CoreTask
from nanochat.evals.icl import Asker, Item
from nanochat.evals.records import Record, RecordFile, accuracy
from nanochat.run.progress import Progress
from nanochat.run.stage_run import StageRun, StageStopped

CORE_TASKS = 22
"""Tasks of the whole bundle: only their mean is CORE."""
ITEMS, SETUP = "core-items.jsonl", "core-setup.json"


@dataclass(frozen=True)
class TaskScore:
    """One task's accuracy (0 to 1), its standard error, and what was out of the ordinary."""

    label: str
    kind: str
    shots: int
    items: int
    accuracy: float
    stderr: float
    centered: float
    centered_stderr: float
    cropped: int
    """Prompts cut from the left to what the model can read."""
    problems: int
    """Items that cannot be scored, counted as wrong."""
    empty: int
    """Items with an option of no tokens of its own."""
    near_ties: int
    """Verdicts that hang on a difference under `NEAR`."""
    seconds: float


@dataclass(frozen=True)
class CoreScore:
    """The tasks' scores, and CORE with its standard error when all tasks are there."""

    tasks: list[TaskScore]
    core: float | None
    stderr: float | None

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
        """As the reference writes it; without its last row when tasks are missing."""
        lines = [f"{'Task':<35}, {'Accuracy':<10}, {'Centered':<10}"]
        lines += [f"{t.label:<35}, {t.accuracy:<10.6f}, {t.centered:<10.6f}" for t in self.tasks]
        if self.core is not None:
            lines.append(f"{'CORE':<35}, {'':<10}, {self.core:<10.6f}")
        return "\n".join(lines) + "\n"

    def as_json(self) -> dict[str, Any]:
        return {"core": self.core, "stderr": self.stderr, "tasks": {t.label: asdict(t) for t in self.tasks}}


@dataclass(frozen=True)
class CoreRun:
    """Where and with what the tasks are judged. `folder` is where records go, None where there is none."""

    model: LanguageModel
    run: StageRun
    runtime: Runtime
    folder: Path | None
    budget: int
    """Padded tokens of a batch."""
    step: int | None = None
    max_per_task: int = -1
    low: float = 0.0
    high: float = 1.0

    def setup(self) -> dict[str, Any]:
        """What must be the same for records of an earlier attempt to count."""
        return {"max_per_task": self.max_per_task, "step": self.step, "budget": self.budget}


class Records:
    """The records of all ranks: each writes its own file, the first holds all once a task is done."""

    def __init__(self, core: CoreRun, setup: dict[str, Any]) -> None:
        self.runtime = core.runtime
        self.found: dict[tuple[str, int], Record] = {}
        folder = core.folder
        if self.runtime.rank == 0 and folder is not None:
            make_dir(folder)
            self._begin(folder, setup)
        folder, self.found = self.runtime.ranks.broadcast((folder, self.found))
        rank = self.runtime.rank
        name = ITEMS if rank == 0 else _rank_file(rank)
        self.file = RecordFile(folder / name) if folder is not None and folder.is_dir() else None

    def _begin(self, folder: Path, setup: dict[str, Any]) -> None:
        """Takes up the records of an earlier attempt, or clears those of another evaluation."""
        marker = folder / SETUP
        same = marker.is_file() and marker.read_text(encoding="utf-8") == _dump(setup)
        for path in [folder / ITEMS, *sorted(folder.glob(_rank_file("*")))]:
            if same:
                self.found |= RecordFile(path).records
            else:
                path.unlink(missing_ok=True)
        atomic_write(marker, _dump(setup))

    def __contains__(self, key: tuple[str, int]) -> bool:
        return key in self.found

    def add(self, records: Sequence[Record]) -> None:
        """Keeps those that are new."""
        new = [r for r in records if (r["task"], r["index"]) not in self.found]
        if self.file is not None:
            self.file.add(new)
        for record in new:
            self.found[(record["task"], record["index"])] = record

    def share(self, task: str) -> list[Record]:
        """The task's records of all ranks, in the order of their indices."""
        own = [record for (name, _), record in self.found.items() if name == task]
        parts = self.runtime.ranks.gather(own)
        everything = {record["index"]: record for part in parts for record in part}
        whole = [everything[index] for index in sorted(everything)]
        if self.runtime.rank == 0:
            self.add(whole)
        return whole


def _rank_file(rank: int | str) -> str:
    return f"core-items-rank{rank}.jsonl"


def _dump(setup: dict[str, Any]) -> str:
    return json.dumps(setup, indent=1, sort_keys=True) + "\n"


def evaluate_core(core: CoreRun, tasks: Sequence[CoreTask], setup: dict[str, Any]) -> CoreScore:
    """Judges the tasks one after the other and tells each. `setup` names the model, for going on later.

    Raises `UserError` for a damaged bundle and `StageStopped` when the run is asked to stop.
    """
    # Read before anything is computed, so that a damaged file ends it at once.
    counts = [len(task.rows(core.max_per_task)) for task in tasks]
    weights = [count * (1 + task.shots) for count, task in zip(counts, tasks, strict=True)]
    records = Records(core, {**setup, **core.setup()})
    scores: list[TaskScore] = []
    chunk_number = 0
    done = 0.0
    with Progress(core.run, "CORE", low=core.low, high=core.high) as progress:
        for task, weight in zip(tasks, weights, strict=True):
            started = time.perf_counter()
            rows = task.rows(core.max_per_task)
            asker = Asker(
                task, rows, core.model.encode, core.model.bos, cuts_at_lines=core.model.cuts_at_lines,
                limit=core.model.limit,
            )  # fmt: skip
            for chunk in chunks(len(rows)):
                if chunk_number % core.runtime.world == core.runtime.rank:
                    judge_chunk(core, asker, chunk, records)
                chunk_number += 1
                progress.update((done + weight * chunk.stop / len(rows)) / sum(weights), note=task.label)
            done += weight
            if core.runtime.ranks.any(core.run.stop_requested, core.runtime.device):
                raise StageStopped
            found = records.share(task.label)
            scores.append(summarise(task, found, time.perf_counter() - started))
            tell(core, scores[-1])
    return conclude(core, scores)


def chunks(count: int) -> Iterator[range]:
    """The rows that are planned together: an eighth of a small task, 64 of a large one."""
    size = max(4, min(64, -(-count // 8)))
    return (range(start, min(start + size, count)) for start in range(0, count, size))


def judge_chunk(core: CoreRun, asker: Asker, chunk: range, records: Records) -> None:
    """Judges what is not yet judged of a chunk. A batch is read whole or not at all, always the same."""
    label = asker.task.label
    if all((label, index) in records for index in chunk):
        return
    items = [asker.item(index) for index in chunk]
    records.add([record(core, asker.task, item, []) for item in items if item.problem])
    for batch in plan_batches([item for item in items if not item.problem], core.model, core.budget):
        if core.runtime.world == 1:
            core.run.check_stop()
        if any((label, item.index) not in records for item in batch.items):
            records.add(judge_batch(core, asker.task, batch))


def judge_batch(core: CoreRun, task: CoreTask, batch: Batch) -> list[Record]:
    scores = score(core.model, batch)
    return [record(core, task, item, found) for item, found in zip(batch.items, scores, strict=True)]


def record(core: CoreRun, task: CoreTask, item: Item, scores: Sequence[Score]) -> Record:
    """What is kept of one item. A loss is null where an option has no tokens of its own."""
    found: Record = {
        "task": task.label, "index": item.index, "correct": False, "prediction": None, "gold": item.gold,
        "losses": [None if math.isnan(s.loss) else s.loss for s in scores], "prompt": item.prompt,
    }  # fmt: skip
    if item.cropped:
        found["cropped"] = item.cropped
    if item.problem:
        found["problem"] = item.problem
    elif task.kind == "language_modeling":
        found["prediction"] = core.model.decode(scores[0].predicted.tolist())
        found["correct"] = scores[0].exact
        found["near_tie"] = scores[0].margin < NEAR
    else:
        losses = [s.loss for s in scores]
        found["prediction"] = lowest(losses)
        found["correct"] = found["prediction"] == item.gold
        best, *others = sorted(loss for loss in losses if not math.isnan(loss)) or [math.nan]
        found["near_tie"] = bool(others) and others[0] - best < NEAR
    return found


def lowest(losses: Sequence[float]) -> int:
    """The option with the lowest loss, the first of equals.

    An option of no tokens has NaN, which compares as in the reference: it wins where it is the first
    option and is never taken elsewhere.
    """
    best = 0
    for i, loss in enumerate(losses):
        if loss < losses[best]:
            best = i
    return best


def summarise(task: CoreTask, found: Sequence[Record], seconds: float) -> TaskScore:
    mean, error = accuracy(found)
    return TaskScore(
        task.label, task.kind, task.shots, len(found), mean, error, task.centered(mean),
        error / (1 - task.baseline),
        cropped=sum("cropped" in r for r in found), problems=sum("problem" in r for r in found),
        empty=sum(None in r["losses"] for r in found), near_ties=sum(r.get("near_tie", False) for r in found),
        seconds=seconds,
    )  # fmt: skip


def tell(core: CoreRun, found: TaskScore) -> None:
    """One task's result, as an event and a line."""
    name = f"core/{found.label}"
    values = {name: found.accuracy, f"{name}_stderr": found.stderr, f"{name}_centered": found.centered}
    core.run.eval(core.step, values)
    notes = [
        f"{count} {what}"
        for count, what in (
            (found.cropped, "cropped to what the model can read"), (found.problems, "that cannot be scored"),
            (found.empty, "with an empty option"), (found.near_ties, "near ties"),
        )
        if count
    ]  # fmt: skip
    core.run.log(
        f"{found.label} ({found.shots}-shot, {found.kind}): accuracy {found.accuracy:.4f} "
        f"± {found.stderr:.4f}, centered {found.centered:.4f}, {found.items:,} items, {found.seconds:.2f} s"
        + (f"; {', '.join(notes)}" if notes else "")
    )


def conclude(core: CoreRun, scores: list[TaskScore]) -> CoreScore:
    """CORE is the mean of the centered accuracies; the tasks are independent."""
    if len(scores) != CORE_TASKS:
        core.run.log(f"no CORE: it is the mean of {CORE_TASKS} tasks, and {len(scores)} were judged")
        return CoreScore(scores, None, None)
    mean = sum(s.centered for s in scores) / len(scores)
    error = math.sqrt(sum(s.centered_stderr**2 for s in scores)) / len(scores)
    core.run.eval(core.step, {"core/core": mean, "core/core_stderr": error})
    core.run.log(f"CORE {mean:.4f} ± {error:.4f}")
    return CoreScore(scores, mean, error)
