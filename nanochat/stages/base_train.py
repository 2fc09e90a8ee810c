"""Pretrains a base model.

Top to bottom: where it runs, on what text, how big and how long, from which weights; then the loop of
evaluate, sample, save, step.
"""

import gc
import itertools
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nanochat.architecture import ModelConfig, parameter_counts, parts_to_meta
from nanochat.checkpoint import MODEL, Checkpoint, list_checkpoints
from nanochat.dataloader import Batch, PackedLoader, Prefetcher
from nanochat.dataset import ShardSet, split_shards
from nanochat.errors import Exit, UserError
from nanochat.evals.bpb import evaluate_bpb
from nanochat.evals.bundle import CoreTask
from nanochat.evals.training_core import training_core, training_tasks
from nanochat.fp8 import require_float8
from nanochat.loss_scale import LossScale
from nanochat.model import GPT, build_model
from nanochat.optim import LearningRates, MuonAdamW, parameter_groups
from nanochat.resume import check_same_model, reads_on, restore_training, resume_point, training_files
from nanochat.rundir import StageRun, StageStopped
from nanochat.runtime import GC_EVERY, Runtime, freeze_garbage_collector, setup_runtime
from nanochat.samples import write_samples
from nanochat.saving import Keep, Saver
from nanochat.scaling import Horizon, plan_run
from nanochat.schedule import classic_momentum, lr_multiplier, muon_momentum, muon_weight_decay
from nanochat.stages import main
from nanochat.stages.options import BaseTrainOptions
from nanochat.tokenizer import Tokenizer
from nanochat.trainer import MAX_SKIPPED, LoopState, StepResult, StopRequested, compile_blocks, train_step
from nanochat.weights import load_weights, read_weights


@dataclass
class Pretraining:
    """What the steps of the protocol share."""

    options: BaseTrainOptions
    run: StageRun
    runtime: Runtime
    tokenizer: Tokenizer
    shards: ShardSet
    config: ModelConfig
    horizon: Horizon
    model: GPT
    optimizer: MuonAdamW
    token_bytes: Tensor
    saver: Saver
    state: LoopState
    core_tasks: list[CoreTask] = field(default_factory=list)
    core: dict[str, float | int | str] = field(default_factory=dict)
    """The last CORE evaluation."""
    held_out: list[Tensor] = field(default_factory=list)
    """This rank's rows of the validation split, (B, T+1) int32 on the host, once they were read."""

    @property
    def tokens_per_pass(self) -> int:
        """Tokens in one micro-batch over all ranks."""
        return self.options.device_batch_size * self.options.max_seq_len * self.runtime.world

    @property
    def accumulation(self) -> int:
        return self.horizon.total_batch // self.tokens_per_pass

    def check_stop(self) -> None:
        """Raises when any rank was asked to stop. Every rank calls it at the same points."""
        if self.runtime.ranks.any(self.run.stop_requested, self.runtime.device):
            raise StopRequested


def run(options: BaseTrainOptions, run: StageRun) -> dict[str, float | int | str]:
    """The stage. Results: val_bpb, min_val_bpb, train_loss, steps, tokens, flops, seconds, checkpoint …"""
    # 1. Where it runs, and on what text.
    runtime = setup_runtime(options.device_type, options.dtype)
    tokenizer = Tokenizer.load(run.layout.tokenizer_dir(options.tokenizer_dir))
    shards = split_shards(run.layout.data_dir(options.data_dir))

    # 2. How big, and how long.
    config, horizon = plan_run(options, tokenizer.vocab_size)
    check_batch(options, horizon.total_batch, runtime.world)

    # 3. From which weights.
    torch.manual_seed(options.seed)
    tag = run.layout.checkpoints("base") / tag_name(options)
    found = runtime.ranks.share(
        resume_point(
            tag, step=options.resume_from_step, newest=options.resume, attempt=run.attempt, run_id=run.run_id
        )
        if runtime.ranks.is_main
        else None
    )
    model = make_model(options, config, runtime, found)
    optimizer = make_optimizer(options, model, horizon, runtime)
    token_bytes = torch.tensor(tokenizer.token_bytes, device=runtime.device)
    state = (
        LoopState() if found is None else restore_training(found, tokenizer, optimizer, options.data_split)
    )
    state.loss_scale = (state.loss_scale or LossScale()) if runtime.dtype == torch.float16 else None
    keep = Keep(options.keep_last, options.keep_best)
    saver = Saver(tag, runtime.ranks, keep, runtime.ranks.share(run.run_id))
    job = Pretraining(
        options, run, runtime, tokenizer, shards, config, horizon, model, optimizer, token_bytes, saver, state
    )
    announce(job, found)
    job.core_tasks = training_tasks(run, options.core_metric_every, options.core_metric_max_per_task)

    # 4. Train.
    batches = Prefetcher(
        PackedLoader(
            tokenizer, shards.train, options.device_batch_size, options.max_seq_len,
            device=runtime.device, state=None if options.overfit_one_batch else state.loader,
            **reading(options, runtime),
        )
    )  # fmt: skip
    try:
        last = train(job, one_batch(batches, job.accumulation) if options.overfit_one_batch else batches)
    except (StopRequested, StageStopped):
        tell_saved(job, wait=True)
        save(job)
        raise StageStopped from None
    finally:
        batches.close()
        gc.enable()
        gc.unfreeze()
    return results(job, last)


def train(job: Pretraining, batches: Iterator[Batch]) -> Checkpoint:
    """The loop: evaluate, sample, save and step to the end; returns the last checkpoint."""
    options, state, steps = job.options, job.state, job.horizon.steps
    first = state.step
    while True:
        at_end = state.step >= steps
        if at_end or due(state.step, options.eval_every, at_start=True):
            evaluate(job)
        if job.core_tasks and (at_end or due(state.step, options.core_metric_every)):
            judge(job)
        if at_end or due(state.step, options.sample_every):
            sample(job)
        tell_saved(job, wait=at_end)
        if at_end:
            return save(job)
        if state.step > first and due(state.step, options.save_every):
            tell_saved(job, wait=True)
            job.saver.begin(state.step, *checkpoint_of(job))
        started = time.perf_counter()
        schedule(job)
        result = train_step(
            job.model, job.optimizer, batches, job.accumulation, job.check_stop, options.grad_clip,
            state.loss_scale,
        )  # fmt: skip
        job.runtime.synchronize()
        account(job, result, time.perf_counter() - started)
        if state.step == first + 1:
            freeze_garbage_collector()
        elif (state.step - first) % GC_EVERY == 0:
            gc.collect()


def reading(options: BaseTrainOptions, runtime: Runtime) -> dict[str, Any]:
    """How the text is shared out over processes."""
    if options.data_split == "row-groups":
        return {"rank": runtime.rank, "world": runtime.world}
    return {"deal": (runtime.rank, runtime.world)}


def one_batch(batches: Iterator[Batch], accumulation: int) -> Iterator[Batch]:
    """The micro-batches of the first step, for every step."""
    return itertools.cycle(list(itertools.islice(batches, accumulation)))


def due(step: int, every: int, at_start: bool = False) -> bool:
    """Whether something done every `every` steps (never, when not positive) is due at `step`."""
    return every > 0 and step % every == 0 and (step > 0 or at_start)


def tag_name(options: BaseTrainOptions) -> str:
    name = options.model_tag or f"d{options.depth}"
    if Path(name).name != name or name.startswith("."):
        raise UserError(f"--model-tag '{name}' is not the name of a folder", "for example d4-long")
    return name


def check_batch(options: BaseTrainOptions, total: int, world: int) -> None:
    """Raises `UserError` unless micro-batches add up to the batch exactly."""
    rows, context = options.device_batch_size, options.max_seq_len
    unit = rows * context * world
    if total % unit == 0:
        return
    nearby = max(unit, round(total / unit) * unit)
    fits = next((r for r in range(rows, 0, -1) if total % (r * context * world) == 0), 0)
    hint = f"--total-batch-size {nearby}" + (f" or --device-batch-size {fits}" if fits else "")
    ranks = f" × {world} processes" if world > 1 else ""
    raise UserError(
        f"a batch of {total:,} tokens is not a multiple of {rows} rows × {context} tokens{ranks} = {unit:,}",
        f"give {hint}",
    )


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
    for table in (model.wte, *model.value_embeds.values()):
        table.to(runtime.embedding_dtype)
    if options.compile == "on" or (options.compile == "auto" and runtime.device.type == "cuda"):
        compile_blocks(model)
    return model


def make_optimizer(options: BaseTrainOptions, model: GPT, horizon: Horizon, runtime: Runtime) -> MuonAdamW:
    rates = LearningRates(
        options.embedding_lr, options.unembedding_lr, options.matrix_lr, options.scalar_lr,
        horizon.weight_decay,
    )  # fmt: skip
    matmul = torch.bfloat16 if runtime.dtype == torch.bfloat16 else torch.float32
    groups = parameter_groups(model, rates, horizon.lr_scale, horizon.scalar_lr_scale)
    return MuonAdamW(groups, matmul, runtime.ranks)


def announce(job: Pretraining, found: Checkpoint | None) -> None:
    """The start in the event log and on the console: sizes, horizon, device."""
    options, horizon, run, runtime = job.options, job.horizon, job.run, job.runtime
    counts = parameter_counts(job.config)
    info: dict[str, Any] = {
        "params": counts["total"], "scaling_params": horizon.scaling_params, "tokens": horizon.tokens,
        "flops_per_token": horizon.flops_per_token, "total_flops": horizon.flops_per_token * horizon.tokens,
        "total_batch_size": horizon.total_batch, "grad_accum_steps": job.accumulation,
        "weight_decay": horizon.weight_decay, "lr_scale": horizon.lr_scale, "device": runtime.name,
        "dtype": str(runtime.dtype).removeprefix("torch."), "vocab_size": job.config.vocab_size,
        "attention": job.model.attention.name, "overfit_one_batch": options.overfit_one_batch,
        "checkpoint_dir": str(job.saver.tag), "ranks": runtime.world,
        **{f"params_{k}": v for k, v in counts.items() if k != "total"},
    }  # fmt: skip
    run.start(total_steps=horizon.steps, from_step=job.state.step, info=info)
    run.log(
        f"depth {options.depth}: width {job.config.n_embd}, {job.config.n_head} heads, "
        f"{counts['total']:,} parameters, vocabulary {job.config.vocab_size:,}, context {options.max_seq_len}"
    )
    run.log(
        f"{horizon.steps:,} steps of {horizon.total_batch:,} tokens ({job.accumulation} × "
        f"{job.tokens_per_pass:,}) = {horizon.tokens:,} tokens, "
        f"{horizon.tokens / horizon.scaling_params:.1f} a scaling parameter, "
        f"{horizon.flops_per_token * horizon.tokens:.2e} FLOPs, on {runtime.name} in {info['dtype']}"
    )
    run.log(job.model.kernels)
    if options.overfit_one_batch:
        run.log(
            "sanity mode: every step trains on the same first batch, which the model should learn by heart"
        )
    if job.shards.gap_warning:
        run.alert("missing_shards", job.shards.gap_warning)
    if found is not None:
        run.log(f"going on from step {found.step} of {found.path}")
        if not reads_on(found, runtime.ranks, options.data_split):
            run.alert(
                "other_ranks",
                f"{found.path} was saved by {found.ranks} processes, now there are {runtime.world}: weights "
                "and optimizer go on as they were, reading goes on at the next row group, the buffered "
                "documents are left out",
            )
    elif others := [c for c in list_checkpoints(job.saver.tag) if c.meta.get("run_id") != run.run_id]:
        run.alert(
            "tag_in_use",
            f"{job.saver.tag} holds {len(others)} checkpoints of other runs; the last saved is the one taken "
            "where no step is named",
        )


def schedule(job: Pretraining) -> None:
    """Sets this step's learning rates, momentum and decay."""
    options, it, steps = job.options, job.state.step, job.horizon.steps
    classic = options.era == "classic"
    job.optimizer.schedule(
        lr_multiplier(it, steps, options.warmup_steps, options.warmdown_ratio, options.final_lr_frac),
        classic_momentum(it) if classic else muon_momentum(it, steps, options.warmdown_ratio),
        muon_weight_decay(it, steps, job.horizon.weight_decay),
    )


def account(job: Pretraining, result: StepResult, seconds: float) -> None:
    """Takes one step into the state, tells it, and stops what cannot go well."""
    state, horizon, run = job.state, job.horizon, job.run
    step = state.step
    state.loader = result.loader
    state.clock.update(seconds)
    alarm = state.loss.update(step, result)
    multiplier = job.optimizer.param_groups[0]["lr"] / job.optimizer.param_groups[0]["initial_lr"]
    rate = horizon.total_batch / seconds
    state.step += 1
    eta = state.clock.eta(horizon.steps - state.step)
    tokens = state.step * horizon.total_batch
    values: dict[str, Any] = {
        "train/loss": result.loss, "train/lrm": multiplier, "train/dt": seconds,
        "train/tok_per_sec": rate, "train/grad_norm": result.grad_norm,
        "train/epoch": state.loader.position.epoch, "train/total_tokens": tokens,
        "train/total_flops": tokens * horizon.flops_per_token, "train/total_time": state.clock.total,
        "progress": state.step / horizon.steps, "eta_s": eta,
    }  # fmt: skip
    if job.runtime.peak_flops:
        values["train/mfu"] = (
            100 * rate * horizon.flops_per_token / job.runtime.peak_flops / job.runtime.world
        )
    scale = state.loss_scale.scale if state.loss_scale else 1.0
    if state.loss_scale is not None:
        values["train/loss_scale"] = scale
    if result.overflow:
        run.log(f"step {step:05d} | gradients overflowed float16: step left out, loss scale now {scale:g}")
    run.metric(step, values)
    if state.clock.tells(last=state.step == horizon.steps):
        tell(job, values)
    if alarm:
        what, level = ("loss_spike", "warn") if result.applied else ("non_finite_step", "error")
        run.alert(what, alarm, step=step, level=level)
    if state.loss.skipped >= MAX_SKIPPED:
        raise UserError(
            f"loss or gradient not finite for {MAX_SKIPPED} steps in a row, the last at step {step}",
            "resume from an earlier checkpoint with lower learning rates",
            Exit.FAILED,
        )


def tell(job: Pretraining, values: dict[str, Any]) -> None:
    """The training line."""
    state, position, steps = job.state, job.state.loader.position, job.horizon.steps
    mfu = f" | mfu {values['train/mfu']:.1f}%" if "train/mfu" in values else ""
    job.run.log(
        f"step {state.step:05d}/{steps:05d} ({100 * state.step / steps:.1f}%) | loss {state.loss.smooth:.4f} "
        f"| lrm {values['train/lrm']:.2f} | dt {1000 * values['train/dt']:.0f} ms "
        f"| tok/s {values['train/tok_per_sec']:,.0f}{mfu} | epoch {position.epoch} shard {position.pq_idx} "
        f"group {position.rg_idx} | {state.clock.total / 60:.1f} min | eta {values['eta_s'] / 60:.1f} min"
    )


def evaluate(job: Pretraining) -> None:
    """Bits per byte over the same rows of the validation shard each time, for any number of ranks."""
    options, runtime, state = job.options, job.runtime, job.state
    steps = max(1, options.eval_tokens // (options.device_batch_size * options.max_seq_len))
    started = time.perf_counter()
    if not job.held_out:
        read_held_out(job, steps)

    def batches() -> Iterator[Batch]:
        for rows in job.held_out:
            if runtime.world == 1:
                job.check_stop()
            tokens = rows.to(runtime.device, non_blocking=True).long()
            yield Batch(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous(), state.loader)

    bpb = evaluate_bpb(job.model, batches(), steps, job.token_bytes, runtime.ranks)
    state.val_bpb = bpb
    state.min_val_bpb = bpb if state.min_val_bpb is None else min(bpb, state.min_val_bpb)
    job.run.eval(state.step, {"val/bpb": bpb})
    seconds = time.perf_counter() - started
    job.run.log(f"step {state.step:05d} | val bpb {bpb:.6f} | best {state.min_val_bpb:.6f} | {seconds:.1f} s")


def judge(job: Pretraining) -> None:
    """CORE of the model as it is now."""
    options, step = job.options, job.state.step
    job.core = training_core(
        job.run, job.runtime, job.model, job.tokenizer, job.core_tasks, step=step,
        max_per_task=options.core_metric_max_per_task, rows=options.device_batch_size,
        progress=step / job.horizon.steps,
    )  # fmt: skip


def read_held_out(job: Pretraining, steps: int) -> None:
    """Packs the first `steps` batches of the validation shard; of every so many, one is this rank's."""
    options, runtime = job.options, job.runtime
    loader = PackedLoader(job.tokenizer, [job.shards.val], options.device_batch_size, options.max_seq_len)
    for number in range(steps):
        if runtime.world == 1:
            job.check_stop()
        rows = loader.next_rows()
        if number % runtime.world == runtime.rank:
            job.held_out.append(torch.from_numpy(rows))


def sample(job: Pretraining) -> None:
    """Continues the fixed prompts greedily, and writes freely from bos."""
    job.check_stop()
    if job.runtime.ranks.is_main:
        write_samples(job.run, job.model, job.tokenizer, job.state.step, job.options.seed + job.state.step)


def checkpoint_of(job: Pretraining) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """This rank's files and the metadata of the checkpoint of the present step."""
    state, options = job.state, job.options
    meta = {
        "val_bpb": state.val_bpb, "model_config": job.config.to_meta(),
        "parts": parts_to_meta(job.config.parts), "user_config": asdict(options),
        "device_batch_size": options.device_batch_size, "max_seq_len": options.max_seq_len,
        "total_batch_size": job.horizon.total_batch, "dataloader_state_dict": state.loader.to_meta(),
        "loop_state": state.to_meta(), "optimizer_steps": job.optimizer.steps,
        "tokenizer_sha256": job.tokenizer.sha256, "run_id": job.saver.run_id, "source": "base",
    }  # fmt: skip
    return training_files(job.model, job.optimizer, state.loader), meta


def save(job: Pretraining) -> Checkpoint:
    """Writes the checkpoint of the present step, and waits for it."""
    saved = job.saver.now(job.state.step, *checkpoint_of(job))
    announce_checkpoint(job, saved)
    return saved


def tell_saved(job: Pretraining, wait: bool = False) -> None:
    """Tells what became of a checkpoint begun earlier: when it could not be written training goes on."""
    outcome = job.saver.take(wait)
    if isinstance(outcome, UserError):
        job.run.alert("checkpoint_failed", str(outcome), step=job.state.step, level="error")
    elif outcome is not None:
        announce_checkpoint(job, outcome)


def announce_checkpoint(job: Pretraining, saved: Checkpoint) -> None:
    size = sum(int(entry["bytes"]) for entry in saved.meta["files"].values())
    job.run.checkpoint(saved.step, saved.path, size)
    job.run.log(f"step {saved.step:05d} | saved {saved.path} ({size / 1e6:,.1f} MB)")


def results(job: Pretraining, last: Checkpoint) -> dict[str, float | int | str]:
    state, horizon = job.state, job.horizon
    used, cut = state.loader.tokens_used, state.loader.tokens_cut
    timed = max(0, state.clock.steps - 10)
    return {
        "val/bpb": state.val_bpb or 0.0, "min_val_bpb": state.min_val_bpb or 0.0,
        "train/loss": state.loss.smooth, "steps": state.step, "tokens": state.step * horizon.total_batch,
        "flops": state.step * horizon.total_batch * horizon.flops_per_token,
        "seconds": state.clock.total,
        "tok_per_sec": timed * horizon.total_batch / state.clock.total if state.clock.total else 0.0,
        "cropped_percent": 100 * cut / (used + cut) if used else 0.0,
        "peak_memory_bytes": job.runtime.peak_memory(), "checkpoint": str(last.path),
        **job.core,
    }  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main("base_train"))
