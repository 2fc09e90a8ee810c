"""Judges a base model: CORE over the bundle's 22 tasks, bits per byte of both splits, samples."""

import json
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nanochat.checkpoint.weights import OpenedModel, open_model
from nanochat.common.errors import UserError, nearest
from nanochat.common.paths import atomic_write, make_dir
from nanochat.compute.device import Runtime, setup_runtime
from nanochat.config.eval_options import BaseEvalOptions, BaseLossOptions
from nanochat.data.shards import split_shards
from nanochat.evals.bundle import CoreTask, bundle_folder, read_bundle
from nanochat.evals.core import ITEMS, CoreRun, CoreScore, evaluate_core
from nanochat.evals.huggingface import HuggingFaceLM, model_name
from nanochat.evals.nanochat_lm import NanochatLM, batch_tokens
from nanochat.evals.records import RecordFile
from nanochat.evals.samples import write_samples
from nanochat.run.stage_run import StageRun, main
from nanochat.stages import base_loss

KINDS = ("core", "bpb", "sample")
CORE_SHARE = 0.7
"""Part of the progress given to CORE when there is more to do."""


@dataclass(frozen=True)
class Subject:
    """What is judged: a checkpoint, or a model of Hugging Face's."""

    model: NanochatLM | HuggingFaceLM
    opened: OpenedModel | None
    name: str
    """What its results are filed under."""
    where: str
    context: int

    @property
    def step(self) -> int | None:
        return self.opened.checkpoint.step if self.opened is not None else None

    def eager_attention(self) -> AbstractContextManager[None]:
        return self.model.eager_attention()


def run(options: BaseEvalOptions, run: StageRun) -> dict[str, float | int | str]:
    """The stage. Results: core/core and core/<task> with standard errors, train/bpb, val/bpb, files."""
    kinds = wanted(options, run)
    runtime = setup_runtime(options.device_type, options.dtype)
    # What is missing is said before the model is loaded.
    tasks = read_bundle(bundle_folder(run.layout, options.bundle), options.tasks) if "core" in kinds else []
    subject = open_subject(options, run, runtime)
    if subject.opened is None and set(kinds) - {"core"}:
        run.log("bits per byte and samples are for checkpoints: of --hf-path only CORE is computed")
        kinds = ["core"]
    if "bpb" in kinds:
        split_shards(run.layout.data_dir(options.data_dir))
    dtype = str(runtime.dtype).removeprefix("torch.")
    run.start(
        unit="item",
        info={
            "model": subject.where, "checkpoint_step": subject.step, "device": runtime.name, "dtype": dtype,
            "eval": kinds, "tasks": [task.label for task in tasks], "max_per_task": options.max_per_task,
        },
    )  # fmt: skip
    run.log(f"{subject.where}: {', '.join(kinds)}, on {runtime.name} in {dtype}")
    started = time.perf_counter()
    results: dict[str, float | int | str] = {}
    high = CORE_SHARE if len(kinds) > 1 else 1.0
    if "core" in kinds:
        found = core(options, run, runtime, subject, tasks, high)
        results |= found.values() | write_core(options, run, subject, found)
    if subject.opened is not None:
        low = high if "core" in kinds else 0.0
        if "bpb" in kinds:
            results |= bits_per_byte(options, run, runtime, subject.opened, low)
        if "sample" in kinds and runtime.rank == 0:
            write_samples(
                run, subject.opened.model, subject.opened.tokenizer, subject.opened.checkpoint.step,
                options.seed,
            )  # fmt: skip
        results["step"] = subject.opened.checkpoint.step
    run.metric(None, {"progress": 1.0, "eta_s": 0.0})
    return results | {"seconds": round(time.perf_counter() - started, 3), "model": subject.where}


def wanted(options: BaseEvalOptions, run: StageRun) -> list[str]:
    """The evaluations asked for, in the order they are done."""
    folder = bundle_folder(run.layout, options.bundle)
    if options.skip_missing_core and "core" in options.eval and not folder.is_dir():
        run.alert("core_left_out", f"CORE is left out: no bundle in {folder}")
        options = replace(options, eval=tuple(kind for kind in options.eval if kind != "core"))
    for name in options.eval:
        if name not in KINDS:
            raise UserError(f"--eval: there is no '{name}'", nearest(name, KINDS))
    if not options.eval:
        raise UserError("--eval: nothing is asked for", f"one or more of {','.join(KINDS)}")
    return [name for name in KINDS if name in options.eval]


def open_subject(options: BaseEvalOptions, run: StageRun, runtime: Runtime) -> Subject:
    if options.hf_path:
        path = options.hf_path
        if path.startswith(("{base}", "~", "/", ".")):
            path = str(run.layout.resolve(path))
            if not Path(path).is_dir():
                raise UserError(f"--hf-path: there is no folder {path}")
        model = HuggingFaceLM(path, runtime.device, runtime.dtype)
        return Subject(model, None, model_name(path), path, min(model.max_tokens, 2048))
    opened = open_model(
        run.layout, options.source, tag=options.model_tag, step=options.step,
        tokenizer_dir=options.tokenizer_dir, device=runtime.device, dtype=runtime.dtype,
    )  # fmt: skip
    checkpoint = opened.checkpoint
    name = f"{options.source}_model_{checkpoint.step:06d}"
    lm = NanochatLM(opened.model, opened.tokenizer)
    return Subject(lm, opened, name, str(checkpoint.path), opened.model.config.sequence_len)


def core(
    options: BaseEvalOptions, run: StageRun, runtime: Runtime, subject: Subject, tasks: list[CoreTask],
    high: float,
) -> CoreScore:  # fmt: skip
    budget = batch_tokens(runtime.device, options.device_batch_size, subject.context)
    judged = CoreRun(
        subject.model, run, runtime, run.path, budget, subject.step, options.max_per_task, high=high
    )
    setup: dict[str, Any] = {
        "model": subject.where, "dtype": str(runtime.dtype), "device": runtime.name,
        "bundle": str(bundle_folder(run.layout, options.bundle)),
    }  # fmt: skip
    with subject.eager_attention():
        return evaluate_core(judged, tasks, setup)


def write_core(
    options: BaseEvalOptions, run: StageRun, subject: Subject, found: CoreScore
) -> dict[str, float | int | str]:
    """The table and the JSON under `base_eval`, the items where --items says. Returns where they are.

    Without all 22 tasks the files have `-partial` in their names and leave whole ones alone.
    """
    if not run.is_main or run.path is None:
        return {}
    folder = make_dir(run.layout.base / "base_eval")
    table = folder / (subject.name + ("" if found.core is not None else "-partial") + ".csv")
    atomic_write(table, found.csv())
    summary = {"model": subject.where, "step": subject.step, "max_per_task": options.max_per_task}
    atomic_write(table.with_suffix(".json"), json.dumps({**summary, **found.as_json()}, indent=1) + "\n")
    items = run.path / ITEMS
    if options.items:
        target = run.layout.resolve(options.items)
        make_dir(target.parent)
        order = {task.label: number for number, task in enumerate(found.tasks)}
        records = RecordFile(items).records.values()
        whole = sorted(records, key=lambda r: (order[r["task"]], r["index"]))
        atomic_write(target, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in whole))
        items = target
    run.log(f"CORE's table is in {table}, its items in {items}")
    return {"csv": str(table), "items": str(items)}


def bits_per_byte(
    options: BaseEvalOptions, run: StageRun, runtime: Runtime, opened: OpenedModel, low: float
) -> dict[str, float | int | str]:
    """Of the training and the validation text, as base_loss measures them."""
    shards = split_shards(run.layout.data_dir(options.data_dir))
    rows = base_loss.rows_of_split(options.split_tokens, opened.model.config.sequence_len)
    how = BaseLossOptions(device_batch_size=options.device_batch_size)
    return base_loss.measure_splits(opened, runtime, run, shards, rows, how, low=low)


if __name__ == "__main__":
    raise SystemExit(main("base_eval"))
