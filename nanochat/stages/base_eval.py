"""Evaluates a base model: CORE over the bundle's 22 tasks, bits per byte of both splits, samples."""

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nanochat.checkpoint.weights import OpenedModel
from nanochat.common.errors import Exit, UserError, nearest
from nanochat.common.paths import atomic_write, make_dir
from nanochat.compute.device import Runtime, setup_runtime
from nanochat.config.eval_options import BaseEvalOptions, BaseLossOptions
from nanochat.data.shards import split_shards
from nanochat.evals.bundle import CoreTask, bundle_folder, read_bundle
from nanochat.evals.core import CORE, CoreRun, CoreScore, core_settings, evaluate_core
from nanochat.evals.evaluated import CHECKPOINT, open_evaluated
from nanochat.evals.huggingface import HuggingFaceLM, model_name
from nanochat.evals.nanochat_lm import NanochatLM, batch_tokens
from nanochat.evals.records import RecordFile, as_lines, items_file
from nanochat.evals.results import EVALUATIONS, HUGGING_FACE, EvaluationResult
from nanochat.evals.samples import write_samples
from nanochat.run.stage_run import StageRun, main
from nanochat.stages import base_loss

KINDS = ("core", "bpb", "sample")
CORE_SHARE = 0.7
"""Part of the stage's progress that CORE is, where there is more to do."""
HUGGING_FACE_CONTEXT = 2048
"""Tokens of a batch's rows are counted with at most this context, as those of our own models."""


@dataclass(frozen=True)
class EvaluatedModel:
    """A checkpoint, or a model of Hugging Face's."""

    lm: NanochatLM | HuggingFaceLM
    opened: OpenedModel | None
    name: str
    """What its results are filed under."""
    where: str
    context: int

    @property
    def step(self) -> int | None:
        return self.opened.checkpoint.step if self.opened is not None else None


def run(options: BaseEvalOptions, run: StageRun) -> dict[str, float | int | str]:
    """The stage. Results: core/core and core/<task> with standard errors, train/bpb, val/bpb, files."""
    # 1. What is asked for. Missing data is reported before the model is loaded.
    kinds = requested_kinds(options, run)
    runtime = setup_runtime(options.device_type, options.dtype)
    tasks = read_bundle(bundle_folder(run.layout, options.bundle), options.tasks) if "core" in kinds else []
    model = open_evaluated_model(options, run, runtime)
    if model.opened is None and set(kinds) - {"core"}:
        run.log("bits per byte and samples are for checkpoints: of --hf-path only CORE is computed")
        kinds = ["core"]
    if "bpb" in kinds:
        split_shards(run.layout.data_dir(options.data_dir))
    told = what_is_told(options, run, runtime, model, tasks)
    report_start(options, run, runtime, model, kinds, tasks, told)

    # 2. CORE, bits per byte, samples.
    started = time.perf_counter()
    results: dict[str, float | int | str] = {}
    core_share = 0.0
    if "core" in kinds:
        core_share = CORE_SHARE if len(kinds) > 1 else 1.0
        score = run_core(options, run, runtime, model, tasks, core_share, told["core"])
        results |= score.values() | write_core(options, run, model, score, told["core"])
    if model.opened is not None:
        opened = model.opened
        if "bpb" in kinds:
            results |= bits_per_byte(options, run, runtime, opened, told["bpb"], low=core_share)
        if "sample" in kinds and runtime.rank == 0:
            write_samples(run, opened.model, opened.tokenizer, opened.checkpoint.step, options.seed)
        results["step"] = opened.checkpoint.step
    run.metric(None, {"progress": 1.0, "eta_s": 0.0})
    return results | {"seconds": round(time.perf_counter() - started, 3), "model": model.where}


def requested_kinds(options: BaseEvalOptions, run: StageRun) -> list[str]:
    """The evaluations of --eval, in the order they run."""
    folder = bundle_folder(run.layout, options.bundle)
    if options.skip_missing_core and "core" in options.eval and not folder.is_dir():
        run.alert("core_left_out", f"CORE is skipped: no bundle in {folder}")
        options = replace(options, eval=tuple(kind for kind in options.eval if kind != "core"))
    for name in options.eval:
        if name not in KINDS:
            raise UserError(f"--eval: there is no '{name}'", nearest(name, KINDS))
    if not options.eval:
        raise UserError("--eval: there is nothing to do", f"give one or more of {','.join(KINDS)}")
    return [name for name in KINDS if name in options.eval]


def open_evaluated_model(options: BaseEvalOptions, run: StageRun, runtime: Runtime) -> EvaluatedModel:
    """The model of --hf-path, else the checkpoint that the options name."""
    if options.hf_path:
        path = options.hf_path
        if path.startswith(("{base}", "~", "/", ".")):
            path = str(run.layout.resolve(path))
            if not Path(path).is_dir():
                raise UserError(f"--hf-path: there is no folder {path}")
        lm = HuggingFaceLM(path, runtime.device, runtime.dtype)
        context = min(lm.max_tokens, HUGGING_FACE_CONTEXT)
        return EvaluatedModel(lm, None, name=model_name(path), where=path, context=context)
    opened = open_evaluated(options, run, runtime)
    return EvaluatedModel(
        NanochatLM(opened.model, opened.tokenizer),
        opened,
        name=f"{options.source}_model_{opened.checkpoint.step:06d}",
        where=str(opened.checkpoint.path),
        context=opened.model.config.sequence_len,
    )


def what_is_told(
    options: BaseEvalOptions,
    run: StageRun,
    runtime: Runtime,
    model: EvaluatedModel,
    tasks: list[CoreTask],
) -> dict[str, EvaluationResult]:
    """By kind of evaluation, what its events say it is of."""
    checkpoint = f"{HUGGING_FACE}/{model.name}"
    if model.opened is not None:
        checkpoint = f"{options.source}/{model.opened.checkpoint.path.parent.name}"
    core = EvaluationResult(
        checkpoint,
        model.step,
        "core",
        settings=core_settings(runtime, tasks, options.max_per_task),
        run=run.run_id,
        items=run.layout.told(run.path / items_file(CORE)) if run.path is not None else "",
    )
    if model.opened is None:
        return {"core": core}
    rows = base_loss.rows_of_split(options.split_tokens, model.context)
    data = run.layout.data_dir(options.data_dir)
    bpb = base_loss.what_is_told(checkpoint, run, runtime, model.opened, data, BaseLossOptions.rows, rows)
    return {"core": core, "bpb": bpb}


def report_start(
    options: BaseEvalOptions,
    run: StageRun,
    runtime: Runtime,
    model: EvaluatedModel,
    kinds: list[str],
    tasks: list[CoreTask],
    told: dict[str, EvaluationResult],
) -> None:
    dtype = str(runtime.dtype).removeprefix("torch.")
    info = {
        "model": model.where,
        CHECKPOINT: model.where if model.opened is not None else "",
        "checkpoint_step": model.step,
        "device": runtime.name,
        "dtype": dtype,
        "eval": kinds,
        "tasks": [task.label for task in tasks],
        "max_per_task": options.max_per_task,
        EVALUATIONS: [result.as_json() for kind, result in told.items() if kind in kinds],
    }
    run.start(unit="item", info=info)
    run.log(f"{model.where}: {', '.join(kinds)}, on {runtime.name} in {dtype}")


def run_core(
    options: BaseEvalOptions,
    run: StageRun,
    runtime: Runtime,
    model: EvaluatedModel,
    tasks: list[CoreTask],
    share: float,
    told: EvaluationResult,
) -> CoreScore:
    """CORE of the model; `share` is its part of the stage's progress."""
    core = CoreRun(
        model.lm,
        run,
        runtime,
        folder=run.path,
        told=told,
        budget=batch_tokens(runtime.device, options.device_batch_size, model.context),
        step=model.step,
        max_per_task=options.max_per_task,
        high=share,
    )
    setup: dict[str, Any] = {
        "model": model.where,
        "weights": model.opened.checkpoint.weights if model.opened is not None else "",
        "dtype": str(runtime.dtype),
        "device": runtime.name,
        "bundle": str(bundle_folder(run.layout, options.bundle)),
    }
    with model.lm.eager_attention():
        return evaluate_core(core, tasks, setup)


def write_core(
    options: BaseEvalOptions,
    run: StageRun,
    model: EvaluatedModel,
    score: CoreScore,
    told: EvaluationResult,
) -> dict[str, float | int | str]:
    """The table and the JSON under `base_eval`, the items where --items says. Returns where they are.

    Without all 22 tasks the files have `-partial` in their names and leave complete ones alone.
    """
    if not run.is_main or run.path is None:
        return {}
    folder = make_dir(run.layout.base / "base_eval")
    table = folder / (model.name + ("" if score.core is not None else "-partial") + ".csv")
    atomic_write(table, score.csv())
    document = replace(told, t=round(time.time(), 3), complete=True).as_json()
    summary = {"model": model.where, "max_per_task": options.max_per_task}
    atomic_write(
        table.with_suffix(".json"), json.dumps({**document, **summary, **score.as_json()}, indent=1) + "\n"
    )
    items = run.path / items_file(CORE)
    if score.unstored:
        raise UserError(
            f"the table is in {table}, but not all items are in {items}: {score.unstored}",
            exit_code=Exit.FAILED,
        )
    if options.items:
        items = copy_items(items, run.layout.resolve(options.items), score)
    run.log(f"CORE's table is in {table}, its items in {items}")
    return {"csv": str(table), "items": str(items)}


def copy_items(items: Path, target: Path, score: CoreScore) -> Path:
    """The records of `items` in the order of tasks, in the file `target`, which is returned."""
    make_dir(target.parent)
    order = {task.label: number for number, task in enumerate(score.tasks)}
    records = sorted(
        RecordFile(items).records.values(), key=lambda record: (order[record["task"]], record["index"])
    )
    atomic_write(target, as_lines(records))
    return target


def bits_per_byte(
    options: BaseEvalOptions,
    run: StageRun,
    runtime: Runtime,
    opened: OpenedModel,
    told: EvaluationResult,
    *,
    low: float,
) -> dict[str, float | int | str]:
    """Of the training and the validation text, as base_loss measures them, from progress `low` on."""
    shards = split_shards(run.layout.data_dir(options.data_dir))
    rows = base_loss.rows_of_split(options.split_tokens, opened.model.config.sequence_len)
    loss_options = BaseLossOptions(device_batch_size=options.device_batch_size)
    return base_loss.SplitLosses(opened, runtime, run, loss_options, rows).evaluate(shards, told, low=low)


if __name__ == "__main__":
    raise SystemExit(main("base_eval"))
