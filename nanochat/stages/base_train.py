"""Pretrains a base model.

`run` reads from top to bottom: where it runs, on what text, how big and how long, from which weights; then
the loop of evaluate, sample, save and step, which is `nanochat/train/loop.py`.
"""

import itertools
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from nanochat.checkpoint.files import MODEL, Checkpoint
from nanochat.checkpoint.in_use import using
from nanochat.checkpoint.saver import RetentionPolicy, Saver
from nanochat.checkpoint.started_from import STARTED_FROM
from nanochat.checkpoint.tokenizer import tokenizer_files
from nanochat.checkpoint.weights import load_weights, read_weights
from nanochat.common.errors import UserError
from nanochat.common.paths import expanded
from nanochat.compute.device import Runtime, setup_runtime
from nanochat.config.train_options import BaseTrainOptions
from nanochat.data.dataloader import Batch, PackedLoader, Prefetcher
from nanochat.data.fingerprint import shards_fingerprint
from nanochat.data.packing import LongDocuments
from nanochat.data.shards import ShardSet, split_shards
from nanochat.evals.bundle import CoreTask
from nanochat.evals.samples import write_samples
from nanochat.evals.training_core import training_core, training_tasks
from nanochat.model.architecture import ModelConfig, parameter_counts
from nanochat.model.fp8 import require_float8
from nanochat.model.gpt import GPT, build_model
from nanochat.run.activity import SAVING
from nanochat.run.first_attempt import replace_before
from nanochat.run.stage_run import StageRun, main
from nanochat.scaling.horizon import Horizon, plan_run
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.train.continuity import alert_if_changed
from nanochat.train.loop import Periodic, Training, TrainingLength, check_batch
from nanochat.train.loss_scale import LossScale
from nanochat.train.optimizer import LearningRates, MuonAdamW, parameter_groups
from nanochat.train.pretraining_text import choose_long_documents, reading_results, validation_rows
from nanochat.train.resume import (
    check_same_model,
    forget_best_of_other_data,
    restore_training,
    resume_point,
    resumes_exactly,
    training_tokenizer,
)
from nanochat.train.schedule import classic_momentum, lr_multiplier, muon_momentum, muon_weight_decay
from nanochat.train.step import LoopState, prepare_for_training
from nanochat.train.tag import alert_if_tag_in_use, check_steps, claim_tag
from nanochat.train.validation import ValidationSet


def run(options: BaseTrainOptions, run: StageRun) -> dict[str, float | int | str]:
    """The stage. Results: val_bpb, min_val_bpb, train_loss, steps, tokens, flops, seconds, checkpoint …"""
    # 1. Where it runs, from which checkpoint, and on what text.
    runtime = setup_runtime(options.device_type, options.dtype)
    tag = claim_tag(run, runtime.ranks, run.layout.checkpoints("base") / tag_name(options))
    resumed = find_checkpoint_to_resume(options, run, runtime, tag)
    tokenizer = training_tokenizer(options, run, runtime.ranks, resumed)
    shards = split_shards(run.layout.data_dir(options.data_dir))

    # 2. How big, and how long: all from the depth, the one dial.
    config, horizon = plan_run(options, tokenizer.vocab_size)
    rows, context = options.device_batch_size, options.max_seq_len
    check_batch(rows, context, horizon.total_batch, runtime.world)

    # 3. From which weights and optimizer state: drawn, of a file, or of a checkpoint it resumes from.
    torch.manual_seed(options.seed)
    all_rows = horizon.steps * horizon.total_batch // context
    long_documents, said = choose_long_documents(options, runtime, tokenizer, shards, all_rows, resumed)
    model = make_model(options, config, runtime, resumed)
    optimizer = make_optimizer(options, model, horizon, runtime)
    job = Training(
        run=run,
        runtime=runtime,
        tokenizer=tokenizer,
        model=model,
        optimizer=optimizer,
        saver=make_saver(options, run, runtime, tag, resumed, tokenizer),
        state=make_state(options, runtime, tokenizer, optimizer, resumed),
        length=TrainingLength.of_steps(horizon.steps),
        accumulation=horizon.total_batch // (rows * context * runtime.world),
        flops_per_token=horizon.flops_per_token,
        metadata={
            "user_config": asdict(options),
            "device_batch_size": rows,
            "max_seq_len": context,
            "total_batch_size": horizon.total_batch,
            "long_documents": long_documents,
            "source": "base",
            "data": shards_fingerprint(shards),
        },
        logs_shard=True,
        save_patience=options.save_patience,
        batch=f"{horizon.total_batch:,} tokens",
    )
    forget_best_of_other_data(resumed, job.metadata["data"], job.state)
    check_steps(job, options.save_every)
    report_start(job, options, horizon, shards, resumed)
    said.tell(run)

    # 4. What is evaluated, and how often.
    core: dict[str, float | int | str] = {}
    periodic = periodic_tasks(job, options, shards, core)

    # 5. Train.
    batches = Prefetcher(training_loader(options, job, shards, long_documents))
    try:
        last = job.train(
            one_batch(batches, job.accumulation) if options.overfit_one_batch else batches,
            lambda: schedule(job, options, horizon),
            periodic,
            save_every=options.save_every,
            grad_clip=options.grad_clip,
        )
    finally:
        batches.close()
    return job.results(last) | reading_results(job.state.loader, long_documents) | core


# -- weights, optimizer, state ---------------------------------------------------------------------


def tag_name(options: BaseTrainOptions) -> str:
    name = options.model_tag or f"d{options.depth}"
    if Path(name).name != name or name.startswith("."):
        raise UserError(f"--model-tag '{name}' is not the name of a folder", "for example d4-long")
    return name


def find_checkpoint_to_resume(
    options: BaseTrainOptions, run: StageRun, runtime: Runtime, tag: Path
) -> Checkpoint | None:
    """The checkpoint this run resumes from, if any; rank 0 looks, so that all take the same."""
    found = None
    if runtime.ranks.is_main:
        found = resume_point(tag, run, step=options.resume_from_step, newest=options.resume)
        if found is not None and found.meta.get("run_id") != run.run_id:
            run.hold(using(found.path, f"run {run.run_id}, which goes on from it"))
    return runtime.ranks.broadcast(found)


def make_model(
    options: BaseTrainOptions, config: ModelConfig, runtime: Runtime, resumed: Checkpoint | None
) -> GPT:
    """The model with its first weights: of the checkpoint, of --init-from, or drawn from the seed."""
    model = build_model(config, runtime.device, runtime.dtype, options.attention)
    if options.fp8:
        require_float8(runtime.device, runtime.dtype)
        model.use_float8()
    if resumed is not None:
        check_same_model(resumed, config)
        load_weights(model, resumed.tensors(MODEL), resumed.path / MODEL)
    elif options.init_from:
        path = expanded(options.init_from)
        load_weights(model, read_weights(path), path)
    else:
        model.init_weights(options.seed)
    prepare_for_training(model, runtime, options.compile)
    return model


def make_optimizer(options: BaseTrainOptions, model: GPT, horizon: Horizon, runtime: Runtime) -> MuonAdamW:
    rates = LearningRates(
        embedding=options.embedding_lr,
        unembedding=options.unembedding_lr,
        matrix=options.matrix_lr,
        scalar=options.scalar_lr,
        weight_decay=horizon.weight_decay,
    )
    # Rates are tuned at a batch of 2¹⁹ tokens; the horizon carries them to this one.
    groups = parameter_groups(model, rates, horizon.lr_scale, horizon.scalar_lr_scale)
    return MuonAdamW(groups, runtime.muon_dtype, runtime.ranks)


def make_state(
    options: BaseTrainOptions,
    runtime: Runtime,
    tokenizer: Tokenizer,
    optimizer: MuonAdamW,
    resumed: Checkpoint | None,
) -> LoopState:
    """The loop's state at the first step or as the checkpoint left it, which also restores the optimizer."""
    if resumed is None:
        state = LoopState()
    else:
        state = restore_training(resumed, tokenizer, optimizer, options.shard_by)
    state.loss_scale = (state.loss_scale or LossScale()) if runtime.dtype == torch.float16 else None
    return state


def make_saver(
    options: BaseTrainOptions,
    run: StageRun,
    runtime: Runtime,
    tag: Path,
    resumed: Checkpoint | None,
    tokenizer: Tokenizer,
) -> Saver:
    return Saver(
        tag,
        runtime.ranks,
        RetentionPolicy(options.keep_last, options.keep_best),
        runtime.ranks.broadcast(run.run_id),
        resumed=resumed,
        saving=lambda: run.activity.during(SAVING),
        extra=tokenizer_files(tokenizer),
        replace_before=runtime.ranks.broadcast(replace_before(run, options.overwrite)),
    )


# -- text ------------------------------------------------------------------------------------------


def training_loader(
    options: BaseTrainOptions, job: Training, shards: ShardSet, long_documents: LongDocuments
) -> PackedLoader:
    """Packed rows of this rank from where the state is.

    Sharded by batches, every rank packs the whole text and takes every world-th batch, which keeps the order
    of one process; sharded by row groups, each packs its own part of it.
    """
    runtime = job.runtime
    by_row_groups = options.shard_by == "row-groups"
    return PackedLoader(
        job.tokenizer,
        shards.train,
        options.device_batch_size,
        options.max_seq_len,
        rank=runtime.rank if by_row_groups else 0,
        world=runtime.world if by_row_groups else 1,
        interleave=(0, 1) if by_row_groups else (runtime.rank, runtime.world),
        device=runtime.device,
        # Sanity mode always trains on the first batch, also when it is resumed.
        state=None if options.overfit_one_batch else job.state.loader,
        long_documents=long_documents,
    )


def one_batch(batches: Iterator[Batch], accumulation: int) -> Iterator[Batch]:
    """The micro-batches of the first step, for every step."""
    return itertools.cycle(list(itertools.islice(batches, accumulation)))


# -- on the way ------------------------------------------------------------------------------------


def periodic_tasks(
    job: Training, options: BaseTrainOptions, shards: ShardSet, core: dict[str, float | int | str]
) -> list[Periodic]:
    """Bits per byte, CORE where its bundle is there (its scores go into `core`), and samples."""
    validation = ValidationSet(
        lambda: validation_rows(options, job.tokenizer, shards),
        max(1, options.evaluation_tokens() // (options.device_batch_size * options.max_seq_len)),
        torch.tensor(job.tokenizer.token_bytes, device=job.runtime.device),
    )
    periodic = [Periodic(options.eval_every, lambda: validation.evaluate(job), at_start=True)]
    tasks = training_tasks(job.run, options.core_metric_every, options.core_metric_max_per_task)
    if tasks:

        def evaluate() -> None:
            figures = evaluate_core(job, options, tasks)
            core.update(figures)
            job.record_eval(figures, log=False)

        periodic.append(Periodic(options.core_metric_every, evaluate))
    periodic.append(Periodic(options.sample_every, lambda: sample(job, options)))
    return periodic


def evaluate_core(
    job: Training, options: BaseTrainOptions, tasks: list[CoreTask]
) -> dict[str, float | int | str]:
    """CORE of the model as it is now."""
    return training_core(
        job.run,
        job.runtime,
        job.model,
        job.tokenizer,
        tasks,
        step=job.state.step,
        max_per_task=options.core_metric_max_per_task,
        rows=options.device_batch_size,
        progress=job.progress,
        tag=job.saver.tag.name,
    )


def sample(job: Training, options: BaseTrainOptions) -> None:
    """Continues the fixed prompts greedily, and writes unconditioned samples from bos."""
    job.check_stop()
    if job.runtime.ranks.is_main:
        # Another seed at each step, so that unconditioned samples differ, and the same in a resumed run.
        write_samples(job.run, job.model, job.tokenizer, job.state.step, options.seed + job.state.step)


def schedule(job: Training, options: BaseTrainOptions, horizon: Horizon) -> None:
    """Sets this step's learning rates, momentum and decay."""
    it, steps = job.state.step, horizon.steps
    classic = options.era == "classic"
    job.optimizer.schedule(
        lr_multiplier(it, steps, options.warmup_steps, options.warmdown_ratio, options.final_lr_frac),
        classic_momentum(it) if classic else muon_momentum(it, steps, options.warmdown_ratio),
        muon_weight_decay(it, steps, horizon.weight_decay),
    )


# -- the start, for the log and for people ---------------------------------------------------------


def report_start(
    job: Training,
    options: BaseTrainOptions,
    horizon: Horizon,
    shards: ShardSet,
    resumed: Checkpoint | None,
) -> None:
    """The start in the event log and on the console: sizes, horizon, device."""
    run, runtime = job.run, job.runtime
    info = start_info(job, options, horizon) | {STARTED_FROM: str(resumed.path) if resumed else ""}
    run.start(total_steps=horizon.steps, from_step=job.state.step, info=info)
    log_plan(job, options, horizon)
    if shards.gap_warning:
        run.alert("missing_shards", shards.gap_warning)
    if resumed is None:
        alert_if_tag_in_use(run, job.saver.tag)
        return
    run.log(f"resuming from step {resumed.step} of {resumed.path}")
    alert_if_changed(job, resumed)
    if resumed.step >= horizon.steps:
        run.log(f"that is the end of {horizon.steps:,} steps or later: nothing is left to train")
    if not resumes_exactly(resumed, runtime.ranks, options.shard_by):
        run.alert(
            "other_ranks",
            f"{resumed.path} was saved by {resumed.ranks} processes, now there are {runtime.world}: weights "
            "and optimizer are unchanged, but reading resumes at the next row group without the buffered "
            "documents",
        )


def start_info(job: Training, options: BaseTrainOptions, horizon: Horizon) -> dict[str, Any]:
    """What `stage_start` says of the model, the horizon and the machine."""
    counts = parameter_counts(job.model.config)
    return {
        "params": counts["total"],
        "scaling_params": horizon.scaling_params,
        "tokens": horizon.tokens,
        "flops_per_token": horizon.flops_per_token,
        "total_flops": horizon.flops_per_token * horizon.tokens,
        "total_batch_size": horizon.total_batch,
        "grad_accum_steps": job.accumulation,
        "weight_decay": horizon.weight_decay,
        "lr_scale": horizon.lr_scale,
        "device": job.runtime.name,
        "dtype": str(job.runtime.dtype).removeprefix("torch."),
        "vocab_size": job.model.config.vocab_size,
        "attention": job.model.attention.name,
        "overfit_one_batch": options.overfit_one_batch,
        "checkpoint_dir": str(job.saver.tag),
        "ranks": job.runtime.world,
        "data": job.metadata["data"],
        "tokenizer_sha256": job.tokenizer.sha256,
        **{f"params_{name}": count for name, count in counts.items() if name != "total"},
    }


def log_plan(job: Training, options: BaseTrainOptions, horizon: Horizon) -> None:
    """Logs the model's size, the length of the training, and how it is computed."""
    run, runtime, config = job.run, job.runtime, job.model.config
    run.log(
        f"depth {options.depth}: width {config.n_embd}, {config.n_head} heads, "
        f"{parameter_counts(config)['total']:,} parameters, vocabulary {config.vocab_size:,}, "
        f"context {options.max_seq_len}"
    )
    run.log(
        f"{horizon.steps:,} steps of {horizon.total_batch:,} tokens ({job.accumulation} × "
        f"{horizon.total_batch // job.accumulation:,}) = {horizon.tokens:,} tokens, "
        f"{horizon.tokens / horizon.scaling_params:.1f} a scaling parameter, "
        f"{horizon.flops_per_token * horizon.tokens:.2e} FLOPs, on {runtime.name} in "
        f"{str(runtime.dtype).removeprefix('torch.')}"
    )
    run.log(job.model.kernels)
    if options.overfit_one_batch:
        run.log("sanity mode: every step trains on the same first batch, whose loss should go to zero")


if __name__ == "__main__":
    raise SystemExit(main("base_train"))
