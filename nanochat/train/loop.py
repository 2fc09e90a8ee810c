"""The loop of every stage that trains: step, log, periodic tasks; checkpoints; an orderly stop.

A stage gives the batches, the schedule of rates and the periodic tasks; all else is here.
"""

import gc
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from nanochat.checkpoint.files import Checkpoint
from nanochat.checkpoint.meta import FIGURES
from nanochat.checkpoint.saver import Saver
from nanochat.checkpoint.tokenizer import tokenizer_meta
from nanochat.common.errors import Exit, UserError
from nanochat.compute.device import GC_EVERY, Runtime, freeze_garbage_collector
from nanochat.data.dataloader import Batch
from nanochat.model.architecture import flags_to_meta
from nanochat.model.gpt import GPT
from nanochat.run.activity import SAVING
from nanochat.run.stage_run import StageRun, StageStopped
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.train.optimizer import MuonAdamW
from nanochat.train.resume import training_files
from nanochat.train.step import MAX_SKIPPED, LoopState, StepResult, StopRequested, train_step

SAVE_PATIENCE = 60.0
"""Seconds that the last checkpoint of a training is tried again while it cannot be written."""
SAVE_RETRY = 10.0
"""Seconds until a checkpoint that failed while training goes on is tried again, at the step of then."""


@dataclass(frozen=True)
class Periodic:
    """A task that runs at each multiple of `steps` (never, when not positive) and at the end of training."""

    steps: int
    task: Callable[[], None]
    at_start: bool = False
    """Also before the first step."""

    def is_due(self, step: int) -> bool:
        return is_multiple(step, self.steps) and (step > 0 or self.at_start)


def is_multiple(step: int, every: int) -> bool:
    """Whether `step` is a multiple of `every`; never, when that is not positive."""
    return every > 0 and step % every == 0


def check_batch(rows: int, context: int, total: int, world: int) -> None:
    """Raises `UserError` unless micro-batches of `rows` × `context` tokens add up to `total` exactly."""
    unit = rows * context * world
    if total % unit == 0:
        return
    # Both ways out in the hint: the nearest batch that fits, and the largest micro-batch that would.
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
    """How long a training is: it ends when `progress`, which starts at 0, reaches 1."""

    progress: Callable[[LoopState], float]
    steps: int = 0
    """Optimizer steps of the whole training; 0 where only the data say when it ends."""

    @classmethod
    def of_steps(cls, steps: int) -> "TrainingLength":
        return cls(lambda state: state.step / steps, steps)

    def steps_left(self, state: LoopState) -> float:
        """Steps to the end: exact where their number is known, else from the progress so far."""
        if self.steps:
            return self.steps - state.step
        done = min(self.progress(state), 1.0)
        return state.step * (1 - done) / done if done else 0.0


@dataclass(kw_only=True)
class Training:
    """A training in progress: what its loop works with, and how far it is."""

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
    metadata: Mapping[str, Any]
    """The stage's own fields of a checkpoint's metadata; the loop adds those that every stage has."""
    batch: str
    """The size of an optimizer step, for people: tokens, conversations or answers."""
    logs_shard: bool = False
    """Whether the training line names the shard that is read."""
    save_patience: float = SAVE_PATIENCE
    """Seconds the checkpoint at the end, or of a stop, is tried again while it cannot be written."""
    _retry_at: float = field(default=math.inf, init=False)
    """When a background save that failed is due again (monotonic clock), on rank 0."""
    _retry: bool = field(default=False, init=False)
    """Whether all ranks agreed to try it now."""

    @property
    def progress(self) -> float:
        """How far it is, from 0 to 1."""
        return min(self.length.progress(self.state), 1.0)

    def check_stop(self) -> None:
        """Raises when any rank was asked to stop. Every rank calls it at the same points."""
        flags = (self.run.stop_requested, time.monotonic() >= self._retry_at)
        stop, retry = self.runtime.ranks.any_of(flags, self.runtime.device)
        self._retry = self._retry or retry
        if stop:
            raise StopRequested

    # -- the loop ----------------------------------------------------------------------------------

    def train(
        self,
        batches: Iterator[Batch],
        schedule: Callable[[], None],
        periodic: Iterable[Periodic],
        *,
        save_every: int = -1,
        grad_clip: float = 0.0,
    ) -> Checkpoint:
        """Trains to the end and returns the last checkpoint.

        `schedule` sets the rates before each step. When the run is asked to stop, the present step is saved
        and `StageStopped` raised. Raises `UserError` when too many steps in a row are not finite.
        """
        try:
            return self._loop(batches, schedule, tuple(periodic), save_every, grad_clip)
        except (StopRequested, StageStopped):
            # A save that still runs first: the next one would wait for it anyway, and its outcome be lost.
            self._report_save(wait=True)
            self._save_now()
            raise StageStopped from None
        finally:
            gc.enable()
            gc.unfreeze()

    def _loop(
        self,
        batches: Iterator[Batch],
        schedule: Callable[[], None],
        periodic: Sequence[Periodic],
        save_every: int,
        grad_clip: float,
    ) -> Checkpoint:
        state, first = self.state, self.state.step
        while True:
            at_end = self.progress >= 1
            due = [item for item in periodic if at_end or item.is_due(state.step)]
            if at_end:
                self._save_now()
            elif state.step > first and (self._retry or is_multiple(state.step, save_every)):
                self._save_in_background()
            # What was to be saved is on disk before anything that may fail, or take long, judges it.
            self._report_save(wait=bool(due))
            for item in due:
                self._evaluate(item)
            if at_end:
                return self._last_checkpoint()
            started = time.perf_counter()
            schedule()
            result = train_step(
                self.model,
                self.optimizer,
                batches,
                self.accumulation,
                self.check_stop,
                grad_clip=grad_clip,
                loss_scale=state.loss_scale,
            )
            self.runtime.synchronize()  # kernels run behind the Python code: without it a step takes no time
            self._record_step(result, time.perf_counter() - started)
            # Python's garbage collector would scan all that lives now again and again, 500 ms a time.
            if state.step == first + 1:
                freeze_garbage_collector()
            elif (state.step - first) % GC_EVERY == 0:
                gc.collect()

    # -- after a step ------------------------------------------------------------------------------

    def _record_step(self, result: StepResult, seconds: float) -> None:
        """Adds one step to the state, logs it, and ends a training that diverged."""
        state, run, step = self.state, self.run, self.state.step
        state.loader = result.loader
        state.clock.update(seconds, result.tokens)
        alert = state.loss.update(step, result) if result.targets else ""
        state.step += 1
        state.tokens += result.tokens
        if result.overflow and state.loss_scale is not None:
            run.log(
                f"step {step:05d} | gradients overflowed float16: update skipped, "
                f"loss scale now {state.loss_scale.scale:g}"
            )
        if not result.targets:
            self._count_empty(step)
        metrics = self._step_metrics(result, seconds)
        run.metric(step, metrics)
        if state.clock.should_log(last=metrics["progress"] >= 1):
            self._log_step(metrics)
        if alert:
            what, level = ("loss_spike", "warn") if result.applied else ("non_finite_step", "error")
            run.alert(what, alert, step=step, level=level)
        if state.loss.skipped >= MAX_SKIPPED:
            raise UserError(
                f"loss or gradient not finite for {MAX_SKIPPED} steps in a row, the last at step {step}",
                "resume from an earlier checkpoint with lower learning rates",
                Exit.FAILED,
            )

    def _count_empty(self, step: int) -> None:
        """Counts a step that had nothing to learn from, and alerts at the first."""
        self.state.empty_steps += 1
        if self.state.empty_steps == 1:
            self.run.alert(
                "empty_step",
                f"step {step} had no token to learn from: it changed nothing; such steps are counted",
                step=step,
            )

    def _step_metrics(self, result: StepResult, seconds: float) -> dict[str, Any]:
        """The metrics of a step that the state already counts."""
        state = self.state
        rate = result.tokens / seconds
        metrics: dict[str, Any] = {
            **({"train/loss": result.loss} if result.targets else {}),
            "train/lrm": self.optimizer.multiplier,
            "train/dt": seconds,
            "train/tok_per_sec": rate,
            "train/grad_norm": result.grad_norm,
            "train/epoch": state.loader.position.epoch,
            "train/total_tokens": state.tokens,
            **({"train/empty_steps": state.empty_steps} if state.empty_steps else {}),
            "train/total_flops": state.tokens * self.flops_per_token,
            "train/total_time": state.clock.total,
            "progress": self.progress,
            "eta_s": state.clock.eta(self.length.steps_left(state)),
        }
        if self.runtime.peak_flops:
            # Model FLOPs utilisation (PaLM, arXiv 2204.02311, appendix B), of the bfloat16 peak of all ranks.
            peak = self.runtime.peak_flops
            metrics["train/mfu"] = 100 * rate * self.flops_per_token / peak / self.runtime.world
        if state.loss_scale is not None:
            metrics["train/loss_scale"] = state.loss_scale.scale
        return metrics

    def _log_step(self, metrics: Mapping[str, Any]) -> None:
        """The training line."""
        state, position = self.state, self.state.loader.position
        mfu = f" | mfu {metrics['train/mfu']:.1f}%" if "train/mfu" in metrics else ""
        total = f"/{self.length.steps:05d}" if self.length.steps else ""
        shard = f" shard {position.pq_idx} group {position.rg_idx}" if self.logs_shard else ""
        self.run.log(
            f"step {state.step:05d}{total} ({100 * self.progress:.1f}%) "
            f"| loss {state.loss.shown} | lrm {metrics['train/lrm']:.2f} "
            f"| dt {1000 * metrics['train/dt']:.0f} ms | tok/s {metrics['train/tok_per_sec']:,.0f}{mfu} "
            f"| epoch {position.epoch}{shard} "
            f"| {state.clock.total / 60:.1f} min | eta {metrics['eta_s'] / 60:.1f} min"
        )

    # -- checkpoints -------------------------------------------------------------------------------

    def _checkpoint(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """This rank's files and the metadata of the checkpoint of the present step."""
        state, config = self.state, self.model.config
        meta = {
            "val_bpb": state.present_bpb,
            FIGURES: {} if state.present_bpb is None else {"val/bpb": state.present_bpb},
            "model_config": config.to_meta(),
            "parts": flags_to_meta(config.parts),
            **self.metadata,
            "total_steps": self.length.steps,
            "batch": self.batch,
            "dataloader_state_dict": state.loader.to_meta(),
            "loop_state": state.to_meta(),
            "optimizer_steps": self.optimizer.steps,
            **tokenizer_meta(self.tokenizer),
            "run_id": self.saver.run_id,
        }
        return training_files(self.model, self.optimizer, state.loader), meta

    def _save_in_background(self) -> None:
        """Begins to write the checkpoint of the present step, once an earlier one is written."""
        self._report_save(wait=True)
        self._retry, self._retry_at = False, math.inf
        self.saver.save_async(self.state.step, *self._checkpoint())

    def _save_now(self) -> None:
        """Writes the checkpoint of the present step unless it is on disk, and waits for it.

        What cannot be written is tried again for `save_patience` seconds: hours of work are in it. Raises the
        last `UserError` after that.
        """
        self._report_save(wait=True)
        step, ranks, pause = self.state.step, self.runtime.ranks, 1.0
        if self.saver.holds(step):
            return
        with self.run.activity.during(SAVING):
            until = time.monotonic() + self.save_patience
            while True:
                try:
                    self._log_saved(self.saver.save(step, *self._checkpoint()))
                    return
                except UserError as error:
                    left = ranks.broadcast(until - time.monotonic())
                    if left <= 0:
                        raise
                    again = f"{error}; it is tried again for {left:.0f} s"
                    self.run.alert("checkpoint_failed", again, step=step, level="error")
                time.sleep(min(pause, left))
                pause = min(2 * pause, 10.0)

    def _report_save(self, wait: bool = False) -> None:
        """Reports the outcome of a background save, once.

        When it failed, an alert: training continues, and the checkpoint of a later step is tried soon.
        """
        outcome = self.saver.poll(wait)
        if isinstance(outcome, UserError):
            self._retry_at = time.monotonic() + SAVE_RETRY if self.runtime.ranks.is_main else math.inf
            self.run.alert("checkpoint_failed", str(outcome), step=self.state.step, level="error")
        elif outcome is not None:
            self._log_saved(outcome)
        self._report_figures(self.saver.retry_figures())

    def _last_checkpoint(self) -> Checkpoint:
        assert self.saver.last is not None
        return self.saver.last

    # -- evaluations -------------------------------------------------------------------------------

    def _evaluate(self, item: Periodic) -> None:
        """Runs a periodic task. Several processes can only stop after it, so the run says what it does."""
        with self.run.activity.evaluating(self.runtime.world):
            item.task()

    def record_eval(self, figures: Mapping[str, Any], *, log: bool = True) -> None:
        """Figures of the model at the present step: an event, and into its checkpoint if there is one."""
        if log:
            self.run.eval(self.state.step, figures)
        self._report_figures(self.saver.add_figures(self.state.step, figures))

    def _report_figures(self, problem: str) -> None:
        if problem:
            message = f"figures are not in the checkpoint yet: {problem}"
            self.run.alert("figures_not_saved", message, step=self.state.step)

    def _log_saved(self, saved: Checkpoint) -> None:
        size = sum(int(entry["bytes"]) for entry in saved.meta["files"].values())
        self.run.checkpoint(saved.step, saved.path, size)
        self.run.log(f"step {saved.step:05d} | saved {saved.path} ({size / 1e6:,.1f} MB)")

    # -- results -----------------------------------------------------------------------------------

    def results(self, last: Checkpoint) -> dict[str, float | int | str]:
        """Losses, sizes, seconds, peak memory and the last checkpoint's path, by the names of metrics."""
        state, clock = self.state, self.state.clock
        validation = {"val/bpb": state.present_bpb, "min_val_bpb": state.min_val_bpb}
        return {
            **{name: value for name, value in validation.items() if value is not None},
            **({"train/loss": state.loss.smooth} if state.loss.weight else {}),
            **({"empty_steps": state.empty_steps} if state.empty_steps else {}),
            "steps": state.step,
            "tokens": state.tokens,
            "flops": state.tokens * self.flops_per_token,
            "seconds": clock.total,
            "tok_per_sec": clock.tokens / clock.total if clock.total else 0.0,
            "peak_memory_bytes": self.runtime.peak_memory(),
            "checkpoint": str(last.path),
        }
