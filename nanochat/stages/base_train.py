"""Pretrains a base model.

Top to bottom: where it runs, on what text, how big and how long, from which weights; then the loop of
evaluate, sample, save, step, which is `nanochat/train/loop.py`.
"""

import itertools
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from nanochat.checkpoint.files import MODEL, Checkpoint
from nanochat.checkpoint.saver import RetentionPolicy, Saver
from nanochat.checkpoint.weights import load_weights, read_weights
from nanochat.common.errors import UserError
from nanochat.compute.device import Runtime, setup_runtime
from nanochat.config.train_options import BaseTrainOptions
from nanochat.data.dataloader import Batch, PackedLoader, Prefetcher
from nanochat.data.packing import Tokens
from nanochat.data.shards import ShardSet, split_shards
from nanochat.evals.bundle import CoreTask
from nanochat.evals.samples import write_samples
from nanochat.evals.training_core import training_core, training_tasks
from nanochat.model.architecture import ModelConfig, parameter_counts
from nanochat.model.fp8 import require_float8
from nanochat.model.gpt import GPT, build_model
from nanochat.run.stage_run import StageRun, main
from nanochat.scaling.horizon import Horizon, plan_run
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.train.loop import Periodic, Training, TrainingLength, check_batch
from nanochat.train.loss_scale import LossScale
from nanochat.train.optimizer import LearningRates, MuonAdamW, parameter_groups
from nanochat.train.resume import (
    alert_if_tag_in_use,
    check_same_model,
    restore_training,
    resume_point,
    resumes_exactly,
)
from nanochat.train.schedule import classic_momentum, lr_multiplier, muon_momentum, muon_weight_decay
from nanochat.train.step import LoopState, prepare_for_training
from nanochat.train.validation import ValidationSet


def run(options: BaseTrainOptions, run: StageRun) -> dict[str, float | int | str]:
    """The stage. Results: val_bpb, min_val_bpb, train_loss, steps, tokens, flops, seconds, checkpoint …"""
    # 1. Where it runs, and on what text.
    runtime = setup_runtime(options.device_type, options.dtype)
    tokenizer = Tokenizer.load(run.layout.tokenizer_dir(options.tokenizer_dir))
    shards = split_shards(run.layout.data_dir(options.data_dir))

    # 2. How big, and how long.
    config, horizon = plan_run(options, tokenizer.vocab_size)
    check_batch(options.device_batch_size, options.max_seq_len, horizon.total_batch, runtime.world)

    # 3. From which weights.
    torch.manual_seed(options.seed)
    tag = run.layout.checkpoints("base") / tag_name(options)
    found = runtime.ranks.broadcast(
        resume_point(
            tag, step=options.resume_from_step, newest=options.resume, attempt=run.attempt, run_id=run.run_id
        )
        if runtime.ranks.is_main
        else None
    )
    model = make_model(options, config, runtime, found)
    optimizer = make_optimizer(options, model, horizon, runtime)
    state = LoopState() if found is None else restore_training(found, tokenizer, optimizer, options.shard_by)
    state.loss_scale = (state.loss_scale or LossScale()) if runtime.dtype == torch.float16 else None
    retention = RetentionPolicy(options.keep_last, options.keep_best)
    saver = Saver(tag, runtime.ranks, retention, runtime.ranks.broadcast(run.run_id))
    job = Training(
        run, runtime, tokenizer, model, optimizer, saver, state, TrainingLength.of_steps(horizon.steps),
        horizon.total_batch // (options.device_batch_size * options.max_seq_len * runtime.world),
        horizon.flops_per_token,
        lambda: {
            "user_config": asdict(options), "device_batch_size": options.device_batch_size,
            "max_seq_len": options.max_seq_len, "total_batch_size": horizon.total_batch, "source": "base",
        },
        logs_shard=True,
    )  # fmt: skip
    report_start(job, options, horizon, shards, found)
    core_tasks = training_tasks(run, options.core_metric_every, options.core_metric_max_per_task)

    # 4. Train.
    validation = ValidationSet(
        lambda: validation_rows(options, tokenizer, shards),
        max(1, options.evaluation_tokens() // (options.device_batch_size * options.max_seq_len)),
        torch.tensor(tokenizer.token_bytes, device=runtime.device),
    )
    core: dict[str, float | int | str] = {}
    periodic = [Periodic(options.eval_every, lambda: validation.evaluate(job), at_start=True)]
    if core_tasks:
        periodic.append(
            Periodic(options.core_metric_every, lambda: core.update(evaluate_core(job, options, core_tasks)))
        )
    periodic.append(Periodic(options.sample_every, lambda: sample(job, options)))
    loader = PackedLoader(
        tokenizer, shards.train, options.device_batch_size, options.max_seq_len,
        device=runtime.device, state=None if options.overfit_one_batch else state.loader,
        **reading(options, runtime),
    )  # fmt: skip
    batches = Prefetcher(loader)
    try:
        last = job.train(
            one_batch(batches, job.accumulation) if options.overfit_one_batch else batches,
            lambda: schedule(job, options, horizon), periodic,
            save_every=options.save_every, grad_clip=options.grad_clip,
        )  # fmt: skip
    finally:
        batches.close()
    used, cut = state.loader.tokens_used, state.loader.tokens_cut
    return job.results(last) | {"cropped_percent": 100 * cut / (used + cut) if used else 0.0} | core


def reading(options: BaseTrainOptions, runtime: Runtime) -> dict[str, Any]:
    """How the text is shared out over processes."""
    if options.shard_by == "row-groups":
        return {"rank": runtime.rank, "world": runtime.world}
    return {"deal": (runtime.rank, runtime.world)}


def one_batch(batches: Iterator[Batch], accumulation: int) -> Iterator[Batch]:
    """The micro-batches of the first step, for every step."""
    return itertools.cycle(list(itertools.islice(batches, accumulation)))


def tag_name(options: BaseTrainOptions) -> str:
    name = options.model_tag or f"d{options.depth}"
    if Path(name).name != name or name.startswith("."):
        raise UserError(f"--model-tag '{name}' is not the name of a folder", "for example d4-long")
    return name


def make_model(
    options: BaseTrainOptions, config: ModelConfig, runtime: Runtime, found: Checkpoint | None
) -> GPT:
    """The model with its first weights: of the checkpoint, of --init-from, or drawn from the seed."""
    model = build_model(config, runtime.device, runtime.dtype, options.attention)
    if options.fp8:
        require_float8(runtime.device, runtime.dtype)
        model.use_float8()
    if found is not None:
        check_same_model(found, config)
        weights = found.tensors(MODEL)
        load_weights(model, weights, found.path / MODEL)
    elif options.init_from:
        path = Path(options.init_from).expanduser()
        load_weights(model, read_weights(path), path)
    else:
        model.init_weights(options.seed)
    prepare_for_training(model, runtime, options.compile)
    return model


def make_optimizer(options: BaseTrainOptions, model: GPT, horizon: Horizon, runtime: Runtime) -> MuonAdamW:
    rates = LearningRates(
        options.embedding_lr, options.unembedding_lr, options.matrix_lr, options.scalar_lr,
        horizon.weight_decay,
    )  # fmt: skip
    groups = parameter_groups(model, rates, horizon.lr_scale, horizon.scalar_lr_scale)
    return MuonAdamW(groups, runtime.muon_dtype, runtime.ranks)


def report_start(
    job: Training, options: BaseTrainOptions, horizon: Horizon, shards: ShardSet, found: Checkpoint | None
) -> None:
    """The start in the event log and on the console: sizes, horizon, device."""
    run, runtime, config = job.run, job.runtime, job.model.config
    counts = parameter_counts(config)
    info: dict[str, Any] = {
        "params": counts["total"], "scaling_params": horizon.scaling_params, "tokens": horizon.tokens,
        "flops_per_token": horizon.flops_per_token, "total_flops": horizon.flops_per_token * horizon.tokens,
        "total_batch_size": horizon.total_batch, "grad_accum_steps": job.accumulation,
        "weight_decay": horizon.weight_decay, "lr_scale": horizon.lr_scale, "device": runtime.name,
        "dtype": str(runtime.dtype).removeprefix("torch."), "vocab_size": config.vocab_size,
        "attention": job.model.attention.name, "overfit_one_batch": options.overfit_one_batch,
        "checkpoint_dir": str(job.saver.tag), "ranks": runtime.world,
        **{f"params_{k}": v for k, v in counts.items() if k != "total"},
    }  # fmt: skip
    run.start(total_steps=horizon.steps, from_step=job.state.step, info=info)
    run.log(
        f"depth {options.depth}: width {config.n_embd}, {config.n_head} heads, "
        f"{counts['total']:,} parameters, vocabulary {config.vocab_size:,}, context {options.max_seq_len}"
    )
    run.log(
        f"{horizon.steps:,} steps of {horizon.total_batch:,} tokens ({job.accumulation} × "
        f"{horizon.total_batch // job.accumulation:,}) = {horizon.tokens:,} tokens, "
        f"{horizon.tokens / horizon.scaling_params:.1f} a scaling parameter, "
        f"{horizon.flops_per_token * horizon.tokens:.2e} FLOPs, on {runtime.name} in {info['dtype']}"
    )
    run.log(job.model.kernels)
    if options.overfit_one_batch:
        run.log(
            "sanity mode: every step trains on the same first batch, which the model should learn by heart"
        )
    if shards.gap_warning:
        run.alert("missing_shards", shards.gap_warning)
    if found is not None:
        run.log(f"going on from step {found.step} of {found.path}")
        if found.step >= horizon.steps:
            run.log(f"which is the end of {horizon.steps:,} steps or later: nothing is left to train")
        if not resumes_exactly(found, runtime.ranks, options.shard_by):
            run.alert(
                "other_ranks",
                f"{found.path} was saved by {found.ranks} processes, now there are {runtime.world}: weights "
                "and optimizer go on as they were, reading goes on at the next row group, the buffered "
                "documents are left out",
            )
    else:
        alert_if_tag_in_use(run, job.saver.tag)


def schedule(job: Training, options: BaseTrainOptions, horizon: Horizon) -> None:
    """Sets this step's learning rates, momentum and decay."""
    it, steps = job.state.step, horizon.steps
    classic = options.era == "classic"
    job.optimizer.schedule(
        lr_multiplier(it, steps, options.warmup_steps, options.warmdown_ratio, options.final_lr_frac),
        classic_momentum(it) if classic else muon_momentum(it, steps, options.warmdown_ratio),
        muon_weight_decay(it, steps, horizon.weight_decay),
    )


def validation_rows(options: BaseTrainOptions, tokenizer: Tokenizer, shards: ShardSet) -> Iterator[Tokens]:
    """The validation shard's rows, packed, a batch (B, T+1) at a time.

    Without `--eval-tokens` they end when as many tokens as the shard has were packed or cut.
    """
    loader = PackedLoader(tokenizer, [shards.val], options.device_batch_size, options.max_seq_len)
    while options.eval_tokens > 0 or not loader.epoch_size or loader.state.tokens_taken < loader.epoch_size:
        yield loader.next_rows()


def evaluate_core(
    job: Training, options: BaseTrainOptions, tasks: list[CoreTask]
) -> dict[str, float | int | str]:
    """CORE of the model as it is now."""
    return training_core(
        job.run, job.runtime, job.model, job.tokenizer, tasks, step=job.state.step,
        max_per_task=options.core_metric_max_per_task, rows=options.device_batch_size,
        progress=job.progress,
    )  # fmt: skip


def sample(job: Training, options: BaseTrainOptions) -> None:
    """Continues the fixed prompts greedily, and writes freely from bos."""
    job.check_stop()
    if job.runtime.ranks.is_main:
        write_samples(job.run, job.model, job.tokenizer, job.state.step, options.seed + job.state.step)


if __name__ == "__main__":
    raise SystemExit(main("base_train"))
