"""Judges a chat model: six tasks and ChatCORE, item by item."""

import json
import shutil
import time
from collections.abc import Sequence

from nanochat.checkpoint.weights import OpenedModel, open_model
from nanochat.common.errors import UserError
from nanochat.common.paths import atomic_write, make_dir
from nanochat.compute.device import setup_runtime
from nanochat.config.eval_options import ChatEvalOptions
from nanochat.evals.chat import ChatEvaluator, GenerationConfig, evaluation_tasks
from nanochat.evals.records import Record, RecordFile, accuracy, gather
from nanochat.run.progress import Progress
from nanochat.run.stage_run import StageRun, StageStopped, main
from nanochat.tasks.base import Task
from nanochat.tasks.registry import TaskData
from nanochat.tasks.scoring import chat_core


def run(options: ChatEvalOptions, run: StageRun) -> dict[str, float | int | str]:
    """The stage. Results: chat/<task> (accuracy, 0 to 1), its standard error, the ChatCORE means, items."""
    runtime = setup_runtime(options.device_type, options.dtype)
    opened = open_model(
        run.layout, options.source, tag=options.model_tag, step=options.step,
        tokenizer_dir=options.tokenizer_dir, device=runtime.device, dtype=runtime.dtype,
    )  # fmt: skip
    tasks = chosen_tasks(options, run)
    sizes = {name: min(len(task), limit(options)) for name, task in tasks.items()}
    folder = make_dir(run.path or run.layout.base / "chat_eval")
    # Every rank keeps its own file; what a killed attempt of this run left in them is not judged again.
    records = RecordFile(folder / f"items-rank{runtime.rank}.jsonl")
    run.start(
        total_steps=sum(sizes.values()), unit="item",
        info={"checkpoint": str(opened.checkpoint.path), "device": runtime.name, "tasks": sizes},
    )  # fmt: skip
    run.log(
        f"{opened.checkpoint.path}: {sum(sizes.values()):,} items of {len(tasks)} tasks, on {runtime.name}"
    )
    how = GenerationConfig(options.temperature, options.top_k, options.max_new_tokens, options.num_samples)
    evaluator = ChatEvaluator(opened.model, opened.tokenizer, options.batch_size, how)
    started = time.perf_counter()
    total, done = sum(sizes.values()), 0
    found: list[Record] = []
    with Progress(run, "chat tasks") as progress:
        for name, task in tasks.items():
            mine = range(runtime.rank, sizes[name], runtime.world)
            missing = [index for index in mine if (name, index) not in records]
            judged = len(mine) - len(missing)
            for batch in evaluator.evaluate(name, task, missing):
                records.add(batch)
                judged += len(batch)
                progress.update((done + runtime.world * judged) / total, note=name)
                if runtime.world == 1:
                    run.check_stop()
            # Several processes stop together, between two tasks: their batches are not of one number.
            if runtime.ranks.any(run.stop_requested, runtime.device):
                raise StageStopped
            done += sizes[name]
            whole = gather([r for r in records.of_task(name) if r["index"] < sizes[name]], runtime.ranks)
            found += whole
            mean, error = accuracy(whole)
            run.eval(opened.checkpoint.step, {f"chat/{name}": mean, f"chat/{name}_stderr": error})
            run.log(f"{name}: {100 * mean:.2f} % ± {100 * error:.2f} of {len(whole):,}")
    run.metric(None, {"progress": 1.0, "eta_s": 0.0})
    return conclude(options, run, opened, found, time.perf_counter() - started)


def limit(options: ChatEvalOptions) -> int:
    return options.max_problems if options.max_problems > 0 else 1 << 62


def chosen_tasks(options: ChatEvalOptions, run: StageRun) -> dict[str, Task]:
    """The tasks to judge by name. One that was asked for by name must be there; of all, those whose data is
    missing are left out with an alert."""

    def left_out(name: str, error: UserError) -> None:
        run.alert("task_left_out", f"{name} is left out: {error}")

    tasks = evaluation_tasks(options.task_name, TaskData.of_stage(options, run), left_out)
    if not tasks:
        raise UserError("no task has its data at hand", "fetch some: nanochat tasks fetch ARC-Easy")
    return tasks


def conclude(
    options: ChatEvalOptions, run: StageRun, opened: OpenedModel, found: Sequence[Record], seconds: float
) -> dict[str, float | int | str]:
    """The means over tasks; the items in one file, the scores in another."""
    by_task: dict[str, list[Record]] = {}
    for record in found:
        by_task.setdefault(record["task"], []).append(record)
    scores = {name: accuracy(records) for name, records in by_task.items()}
    means = chat_core({name: mean for name, (mean, _) in scores.items()})
    results: dict[str, float | int | str] = {f"chat/{name}": mean for name, (mean, _) in scores.items()}
    results |= {f"chat/{name}_stderr": error for name, (_, error) in scores.items()}
    results |= {f"chat/{name}": value for name, value in means.items()}
    step = opened.checkpoint.step
    if means:
        run.eval(step, {f"chat/{name}": value for name, value in means.items()})
        run.log(", ".join(f"{name} {value:.4f}" for name, value in means.items()))
    elif not options.task_name:
        run.log("no ChatCORE: some of its tasks are left out")
    if run.is_main:
        tag = opened.checkpoint.path.parent.name
        path = run.layout.base / "chat_eval" / f"{options.source}_{tag}_{step:06d}.jsonl"
        make_dir(path.parent)
        lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in found)
        atomic_write(path, lines)
        atomic_write(path.with_suffix(".json"), json.dumps(results, indent=1) + "\n")
        results["items"] = str(path)
        if options.items:
            target = run.layout.resolve(options.items)
            make_dir(target.parent)
            shutil.copyfile(path, target)
    return results | {"step": step, "seconds": round(seconds, 3), "checkpoint": str(opened.checkpoint.path)}


if __name__ == "__main__":
    raise SystemExit(main("chat_eval"))
