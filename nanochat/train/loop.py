"""The loop of every stage that trains: step, tell, and what is due in between; checkpoints; an orderly stop.

A stage says what a batch is, how rates run and what is done every so many steps; all else is here.
"""

import gc
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from nanochat.checkpoint.files import Checkpoint
from nanochat.checkpoint.saver import Saver
from nanochat.common.errors import Exit, UserError
from nanochat.compute.device import GC_EVERY, Runtime, freeze_garbage_collector
from nanochat.data.dataloader import Batch
from nanochat.model.architecture import flags_to_meta
from nanochat.model.gpt import GPT
from nanochat.run.stage_run import StageRun, StageStopped
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.train.optimizer import MuonAdamW
from nanochat.train.resume import training_files
from nanochat.train.step import MAX_SKIPPED, LoopState, StepResult, StopRequested, train_step


@dataclass(frozen=True)
class Periodic:
    """Something done at each multiple of `steps` (never, when not positive) and at the end of training."""

    steps: int
    do: Callable[[], None]
    at_start: bool = False
    """Also before the first step."""

    def due(self, step: int) -> bool:
        return is_multiple(step, self.steps) and (step > 0 or self.at_start)


def is_multiple(step: int, every: int) -> bool:
    """Whether `step` is a multiple of `every`; never, when that is not positive."""
    return every > 0 and step % every == 0


def check_batch(rows: int, context: int, total: int, world: int) -> None:
    """Raises `UserError` unless micro-batches of `rows` × `context` tokens add up to `total` exactly."""
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


@dataclass(frozen=True)
class TrainingLength:
    """How long a training is: it ends when `progress`, from 0 on, reaches 1."""

    progress: Callable[[LoopState], float]
    steps: int = 0
    """Optimizer steps of the whole training; 0 where only the data say when it ends."""

    @classmethod
    def of_steps(cls, steps: int) -> "TrainingLength":
        return cls(lambda state: state.step / steps, steps)

    def steps_left(self, state: LoopState) -> float:
        """Steps to the end: so many as there are, else as many a part of the way as so far."""
        if self.steps:
            return self.steps - state.step
        done = min(self.progress(state), 1.0)
        return state.step * (1 - done) / done if done else 0.0


@dataclass
class Training:
    """A training under way: what its loop works with, and how far it is.

    `metadata` gives a checkpoint's fields that are the stage's own; those of every stage come with them.
    """

    run: StageRun
    runtime: Runtime
    tokenizer: Tokenizer
    model: GPT
    optimizer: MuonAdamW
    saver: Saver
    state: LoopState
    length: TrainingLength
    accumulation: int
    """Micro-batches of a rank in an optimizer step."""
    flops_per_token: int
    metadata: Callable[[], Mapping[str, Any]]
    logs_shard: bool = False
    """Whether the training line says which shard is read."""

    @property
    def progress(self) -> float:
        """How far it is, from 0 to 1."""
        return min(self.length.progress(self.state), 1.0)

    def check_stop(self) -> None:
        """Raises when any rank was asked to stop. Every rank calls it at the same points."""
        if self.runtime.ranks.any(self.run.stop_requested, self.runtime.device):
            raise StopRequested

    # -- the loop ----------------------------------------------------------------------------------

    def train(
        self,
        batches: Iterator[Batch],
        schedule: Callable[[], None],
        every: Iterable[Periodic],
        *,
        save_every: int = -1,
        grad_clip: float = 0.0,
    ) -> Checkpoint:
        """Steps to the end and returns the last checkpoint.

        `schedule` sets the rates before each step. When the run is asked to stop, the present step is saved
        and `StageStopped` raised. Raises `UserError` when steps go wrong again and again.
        """
        try:
            return self._loop(batches, schedule, tuple(every), save_every, grad_clip)
        except (StopRequested, StageStopped):
            self._report_save(wait=True)
            self._save()
            raise StageStopped from None
        finally:
            gc.enable()
            gc.unfreeze()

    def _loop(
        self,
        batches: Iterator[Batch],
        schedule: Callable[[], None],
        every: Sequence[Periodic],
        save_every: int,
        grad_clip: float,
    ) -> Checkpoint:
        state, first = self.state, self.state.step
        while True:
            at_end = self.progress >= 1
            for task in every:
                if at_end or task.due(state.step):
                    task.do()
            self._report_save(wait=at_end)
            if at_end:
                return self._save()
            if state.step > first and is_multiple(state.step, save_every):
                self._report_save(wait=True)
                self.saver.save_async(state.step, *self._checkpoint())
            started = time.perf_counter()
            schedule()
            result = train_step(
                self.model, self.optimizer, batches, self.accumulation, self.check_stop, grad_clip,
                state.loss_scale,
            )  # fmt: skip
            self.runtime.synchronize()
            self._account(result, time.perf_counter() - started)
            if state.step == first + 1:
                freeze_garbage_collector()
            elif (state.step - first) % GC_EVERY == 0:
                gc.collect()

    # -- what a step gave --------------------------------------------------------------------------

    def _account(self, result: StepResult, seconds: float) -> None:
        """Takes one step into the state, tells it, and stops what cannot go well."""
        state, run = self.state, self.run
        step = state.step
        state.loader = result.loader
        state.clock.update(seconds, result.tokens)
        alarm = state.loss.update(step, result)
        multiplier = self.optimizer.param_groups[0]["lr"] / self.optimizer.param_groups[0]["initial_lr"]
        rate = result.tokens / seconds
        state.step += 1
        state.tokens += result.tokens
        progress, eta = self.progress, state.clock.eta(self.length.steps_left(state))
        values: dict[str, Any] = {
            "train/loss": result.loss, "train/lrm": multiplier, "train/dt": seconds,
            "train/tok_per_sec": rate, "train/grad_norm": result.grad_norm,
            "train/epoch": state.loader.position.epoch, "train/total_tokens": state.tokens,
            "train/total_flops": state.tokens * self.flops_per_token, "train/total_time": state.clock.total,
            "progress": progress, "eta_s": eta,
        }  # fmt: skip
        if self.runtime.peak_flops:
            values["train/mfu"] = (
                100 * rate * self.flops_per_token / self.runtime.peak_flops / self.runtime.world
            )
        scale = state.loss_scale.scale if state.loss_scale else 1.0
        if state.loss_scale is not None:
            values["train/loss_scale"] = scale
        if result.overflow:
            run.log(
                f"step {step:05d} | gradients overflowed float16: step left out, loss scale now {scale:g}"
            )
        run.metric(step, values)
        if state.clock.should_log(last=progress >= 1):
            self._log_step(values)
        if alarm:
            what, level = ("loss_spike", "warn") if result.applied else ("non_finite_step", "error")
            run.alert(what, alarm, step=step, level=level)
        if state.loss.skipped >= MAX_SKIPPED:
            raise UserError(
                f"loss or gradient not finite for {MAX_SKIPPED} steps in a row, the last at step {step}",
                "resume from an earlier checkpoint with lower learning rates",
                Exit.FAILED,
            )

    def _log_step(self, values: Mapping[str, Any]) -> None:
        """The training line."""
        state, position = self.state, self.state.loader.position
        mfu = f" | mfu {values['train/mfu']:.1f}%" if "train/mfu" in values else ""
        whole = f"/{self.length.steps:05d}" if self.length.steps else ""
        shard = f" shard {position.pq_idx} group {position.rg_idx}" if self.logs_shard else ""
        self.run.log(
            f"step {state.step:05d}{whole} ({100 * self.progress:.1f}%) "
            f"| loss {state.loss.smooth:.4f} | lrm {values['train/lrm']:.2f} "
            f"| dt {1000 * values['train/dt']:.0f} ms | tok/s {values['train/tok_per_sec']:,.0f}{mfu} "
            f"| epoch {position.epoch}{shard} "
            f"| {state.clock.total / 60:.1f} min | eta {values['eta_s'] / 60:.1f} min"
        )

    # -- checkpoints -------------------------------------------------------------------------------

    def _checkpoint(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """This rank's files and the metadata of the checkpoint of the present step."""
        state, config = self.state, self.model.config
        meta = {
            "val_bpb": state.val_bpb, "model_config": config.to_meta(), "parts": flags_to_meta(config.parts),
            **self.metadata(),
            "dataloader_state_dict": state.loader.to_meta(), "loop_state": state.to_meta(),
            "optimizer_steps": self.optimizer.steps, "tokenizer_sha256": self.tokenizer.sha256,
            "run_id": self.saver.run_id,
        }  # fmt: skip
        return training_files(self.model, self.optimizer, state.loader), meta

    def _save(self) -> Checkpoint:
        """Writes the checkpoint of the present step, and waits for it."""
        saved = self.saver.save(self.state.step, *self._checkpoint())
        self._announce(saved)
        return saved

    def _report_save(self, wait: bool = False) -> None:
        """Tells what became of a checkpoint begun earlier: when it could not be written training goes on."""
        outcome = self.saver.poll(wait)
        if isinstance(outcome, UserError):
            self.run.alert("checkpoint_failed", str(outcome), step=self.state.step, level="error")
        elif outcome is not None:
            self._announce(outcome)

    def _announce(self, saved: Checkpoint) -> None:
        size = sum(int(entry["bytes"]) for entry in saved.meta["files"].values())
        self.run.checkpoint(saved.step, saved.path, size)
        self.run.log(f"step {saved.step:05d} | saved {saved.path} ({size / 1e6:,.1f} MB)")

    # -- results -----------------------------------------------------------------------------------

    def results(self, last: Checkpoint) -> dict[str, float | int | str]:
        """Losses, sizes, seconds, peak memory and where the last checkpoint is, by the names of metrics."""
        state = self.state
        judged = {"val/bpb": state.val_bpb, "min_val_bpb": state.min_val_bpb}
        return {
            **{name: value for name, value in judged.items() if value is not None},
            "train/loss": state.loss.smooth, "steps": state.step, "tokens": state.tokens,
            "flops": state.tokens * self.flops_per_token, "seconds": state.clock.total,
            "tok_per_sec": state.clock.tokens / state.clock.total if state.clock.total else 0.0,
            "peak_memory_bytes": self.runtime.peak_memory(), "checkpoint": str(last.path),
        }  # fmt: skip
