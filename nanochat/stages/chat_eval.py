"""Evaluates a chat model: six tasks and ChatCORE, item by item."""

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from nanochat.checkpoint.weights import OpenedModel
from nanochat.common.errors import UserError
from nanochat.common.paths import atomic_write, make_dir
from nanochat.compute.device import Runtime, setup_runtime
from nanochat.config.eval_options import ChatEvalOptions
from nanochat.evals.chat import ChatEvaluator, GenerationConfig, evaluation_tasks
from nanochat.evals.chat_results import chat_figure, with_means
from nanochat.evals.evaluated import CHECKPOINT, open_evaluated
from nanochat.evals.records import Record, Records, as_lines, items_file
from nanochat.evals.results import EVALUATION, EVALUATIONS, EvaluationResult, TaskFigure
from nanochat.run.progress import Progress
from nanochat.run.stage_run import StageRun, StageStopped, main
from nanochat.tasks.base import Task
from nanochat.tasks.registry import TaskData
from nanochat.tasks.scoring import chat_core

NAME = "chat"
"""The name its records are stored under."""
ALL_ITEMS = 1 << 62
"""More than any task has."""


def run(options: ChatEvalOptions, run: StageRun) -> dict[str, float | int | str]:
    """The stage. Results: chat/<task> (accuracy, 0 to 1), its standard error, the ChatCORE means, items."""
    # 1. Which checkpoint, on which tasks.
    runtime = setup_runtime(options.device_type, options.dtype)
    opened = open_evaluated(options, run, runtime)
    tasks = chosen_tasks(options, run)
    limit = options.max_problems if options.max_problems > 0 else ALL_ITEMS
    sizes = {name: min(len(task), limit) for name, task in tasks.items()}
    checkpoint, total = opened.checkpoint, sum(sizes.values())
    told = what_is_told(options, run, runtime, opened)
    info: dict[str, Any] = {
        CHECKPOINT: str(checkpoint.path),
        "device": runtime.name,
        "tasks": sizes,
        EVALUATIONS: [told.as_json()],
    }
    run.start(total_steps=total, unit="item", info=info)
    run.log(f"{checkpoint.path}: {total:,} items of {len(tasks)} tasks, on {runtime.name}")

    # 2. Evaluate, task by task.
    generation = GenerationConfig(
        options.temperature, options.top_k, options.max_new_tokens, options.num_samples
    )
    evaluator = ChatEvaluator(opened.model, opened.tokenizer, options.batch_size, generation)
    started = time.perf_counter()
    setup = {
        "model": str(checkpoint.path),
        "weights": checkpoint.weights,
        "dtype": str(runtime.dtype),
        "device": runtime.name,
        **asdict(generation),
    }
    # Items that an earlier attempt of this run stored of the same model are not repeated.
    stored = Records(run.path, NAME, setup, runtime.ranks)
    records: list[Record] = []
    figures: dict[str, TaskFigure] = {}
    last = [*tasks][-1]
    with run.activity.evaluating(runtime.world), Progress(run, "chat tasks") as progress:
        for name, task in tasks.items():
            for done in evaluate_shard(run, runtime, evaluator, stored, name, task, sizes[name]):
                progress.update((len(records) + runtime.world * done) / total, note=name)
            of_task = task_records(run, stored, name, sizes[name])
            figures[name] = chat_figure(name, of_task)
            report_task(run, replace(told, complete=name == last), name, figures[name])
            records += of_task
    run.metric(None, {"progress": 1.0, "eta_s": 0.0})

    # 3. The means over tasks.
    results, told = mean_scores(options, run, told, figures)
    if run.is_main:
        results["items"] = write_results(options, run, opened, records, results, told)
    seconds = round(time.perf_counter() - started, 3)
    return results | {"step": checkpoint.step, "seconds": seconds, "checkpoint": str(checkpoint.path)}


def what_is_told(
    options: ChatEvalOptions, run: StageRun, runtime: Runtime, opened: OpenedModel
) -> EvaluationResult:
    """What the events say is measured: which checkpoint, how it is sampled, where the items lie."""
    settings = {
        "max_problems": options.max_problems,
        "temperature": options.temperature,
        "top_k": options.top_k,
        "max_new_tokens": options.max_new_tokens,
        "num_samples": options.num_samples,
        "dtype": str(runtime.dtype).removeprefix("torch."),
    }
    return EvaluationResult(
        f"{options.source}/{opened.checkpoint.path.parent.name}",
        opened.checkpoint.step,
        "chat",
        settings,
        run=run.run_id,
        items=run.layout.told(run.path / items_file(NAME)) if run.path is not None else "",
    )


def chosen_tasks(options: ChatEvalOptions, run: StageRun) -> dict[str, Task]:
    """The tasks to evaluate by name. A named one must be there; of all of them, those whose data is missing
    are skipped with an alert."""

    def skipped(name: str, error: UserError) -> None:
        run.alert("task_left_out", f"{name} is skipped: {error}")

    tasks = evaluation_tasks(options.task_name, TaskData.of_stage(options, run), skipped)
    if not tasks:
        raise UserError("there is no data of any task", "fetch some: nanochat tasks fetch ARC-Easy")
    return tasks


def evaluate_shard(
    run: StageRun,
    runtime: Runtime,
    evaluator: ChatEvaluator,
    stored: Records,
    name: str,
    task: Task,
    size: int,
) -> Iterator[int]:
    """Evaluates this rank's items of the first `size` that are not in `stored` yet, and adds them there.

    Yields how many of them are done. Raises `StageStopped` when the run is asked to stop.
    """
    local = range(runtime.rank, size, runtime.world)
    missing = [index for index in local if (name, index) not in stored]
    done = len(local) - len(missing)
    for records in evaluator.evaluate(name, task, missing):
        stored.add(records)
        done += len(records)
        yield done
        if runtime.world == 1:
            run.check_stop()
    # Several processes stop together, between two tasks: they do not have the same number of batches.
    if runtime.ranks.any(run.stop_requested, runtime.device):
        raise StageStopped


def task_records(run: StageRun, stored: Records, name: str, size: int) -> list[Record]:
    """The records of all ranks of the first `size` items of a task."""
    records = [record for record in stored.share(name) if record["index"] < size]
    if stored.trouble:
        run.alert("items_not_stored", f"items of {name} are not stored: {stored.trouble}")
    return records


def report_task(run: StageRun, told: EvaluationResult, name: str, figure: TaskFigure) -> None:
    """Logs the accuracy of a task."""
    mean, error = figure.accuracy, figure.stderr or 0.0
    values = {f"chat/{name}": mean, f"chat/{name}_stderr": error}
    run.eval(told.step, {**values, EVALUATION: replace(told, tasks={name: figure}).as_json()})
    run.log(f"{name}: {100 * mean:.2f} % ± {100 * error:.2f} of {figure.n or 0:,}")


def mean_scores(
    options: ChatEvalOptions, run: StageRun, told: EvaluationResult, figures: Mapping[str, TaskFigure]
) -> tuple[dict[str, float | int | str], EvaluationResult]:
    """Accuracies of the tasks and the ChatCORE means, which are also logged; the same as a document."""
    figures = {name: figure for name, figure in figures.items() if figure.n}
    means = chat_core({name: figure.accuracy for name, figure in figures.items()})
    results: dict[str, float | int | str] = {
        f"chat/{name}": figure.accuracy for name, figure in figures.items()
    }
    results |= {f"chat/{name}_stderr": figure.stderr or 0.0 for name, figure in figures.items()}
    results |= {f"chat/{name}": value for name, value in means.items()}
    told = with_means(replace(told, tasks=figures, complete=True), means)
    if means:
        values = {f"chat/{name}": value for name, value in means.items()}
        run.eval(told.step, {**values, EVALUATION: replace(told, tasks={}).as_json()})
        run.log(", ".join(f"{name} {value:.4f}" for name, value in means.items()))
    elif not options.task_name:
        run.log("no ChatCORE: some of its tasks were skipped")
    return results, told


def write_results(
    options: ChatEvalOptions,
    run: StageRun,
    opened: OpenedModel,
    records: Sequence[Record],
    results: Mapping[str, float | int | str],
    told: EvaluationResult,
) -> str:
    """Writes items and scores under `chat_eval`, a copy where --items says; returns the file of the items."""
    tag, step = opened.checkpoint.path.parent.name, opened.checkpoint.step
    path = run.layout.base / "chat_eval" / f"{options.source}_{tag}_{step:06d}.jsonl"
    make_dir(path.parent)
    atomic_write(path, as_lines(records))
    document = replace(told, t=round(time.time(), 3), items=run.layout.told(path)).as_json()
    atomic_write(path.with_suffix(".json"), json.dumps({**document, **results}, indent=1) + "\n")
    if options.items:
        target = run.layout.resolve(options.items)
        make_dir(target.parent)
        shutil.copyfile(path, target)
    return str(path)


if __name__ == "__main__":
    raise SystemExit(main("chat_eval"))
