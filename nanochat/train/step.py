"""One optimizer step, and what the loop keeps from step to step: losses, the clock, the loss scale."""

import math
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from nanochat.common.errors import UserError
from nanochat.compute.device import Runtime
from nanochat.data.dataloader import Batch, LoaderState
from nanochat.data.packing import IGNORE_INDEX
from nanochat.model.gpt import GPT
from nanochat.train.loss_scale import LossScale
from nanochat.train.optimizer import MuonAdamW

MAX_SKIPPED = 5
"""Non-finite steps in a row after which training stops: the weights do not change, so more of them are
unlikely to help. One alone happens (a broken document, an overflow) and costs only its batch."""
WARMUP_STEPS = 10
"""Steps left out of times, as in upstream nanochat: they compile, allocate and warm caches."""

LOSS_DECAY, LOSS_WEIGHT = 0.9, 0.1
"""Of the smoothed training loss, as in upstream nanochat: its memory is about ten steps."""
DEVIATION_DECAY, DEVIATION_WEIGHT = 0.95, 0.05
"""Of the mean absolute deviation: a longer memory, so that one outlier hardly moves the limit."""
SPIKE_DEVIATIONS, SPIKE_MINIMUM = 6.0, 0.5
"""A loss is a spike when it is above its average by this many deviations and by this many nats. Late in
training deviations are some hundredths of a nat: six of them alone would report noise."""
SPIKE_PAUSE = 50
"""Steps at the start, where the loss falls too fast to tell, and after a spike, with no report of another."""

ETA_STEPS = 100
"""Steps whose median is the forecast: a median ignores the few steps that were interrupted."""
LOG_SECONDS = 1.0
"""At most one training line in this time, so that tiny models do not flood the console."""


class StopRequested(Exception):  # noqa: N818 - it is no error
    """Raised between micro-batches or evaluation batches when the run was asked to stop."""


# -- one step --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StepResult:
    """The outcome of one optimizer step. `loss` is the mean over the whole batch, in nats a token."""

    loss: float
    grad_norm: float
    """L2 norm over all gradients, before clipping."""
    applied: bool
    """False when loss or gradient was not finite: the update was skipped."""
    loader: LoaderState
    """Where the loader is after the step's batches."""
    tokens: int
    """Tokens the model read, over all ranks."""
    targets: int = 1
    """Tokens that were learned from, over all ranks; with 0 of them the step changed nothing."""
    overflow: bool = False
    """The update was skipped because the loss scale was too large; it has been lowered."""


def train_step(
    model: GPT,
    optimizer: MuonAdamW,
    batches: Iterator[Batch],
    accumulation: int,
    check_stop: Callable[[], None],
    grad_clip: float = 0.0,
    loss_scale: LossScale | None = None,
) -> StepResult:
    """Accumulates gradients over `accumulation` micro-batches and updates once, if all is finite.

    `check_stop` is called before the step, in a single process also between micro-batches, and may raise;
    nothing has changed then. Gradients whose norm is over `grad_clip` (0: never) are scaled down to it.
    Loss and norm are over the batches of all ranks, so every rank decides alike. `loss_scale` (float16)
    multiplies the loss; a norm that is not finite shows that this overflowed.
    """
    read = _accumulate(model, optimizer, batches, accumulation, check_stop, loss_scale)
    optimizer.reduce_gradients()
    loss, norm, total_tokens, targets = _reduce_step(optimizer, read, accumulation)
    finite, overflow = math.isfinite(loss) and math.isfinite(norm), False
    if loss_scale is not None:
        norm /= loss_scale.scale
        optimizer.scale_gradients(1 / loss_scale.scale)
        # A loss that is not finite has nothing to do with the scale: only the gradient may blame it.
        overflow = loss_scale.update(overflow=math.isfinite(loss) and not finite)
    if finite and targets:  # else momentum alone would move the weights
        if 0 < grad_clip < norm:
            optimizer.scale_gradients(grad_clip / norm)
        optimizer.step()
    optimizer.zero_grad()
    return StepResult(
        loss=loss,
        grad_norm=norm,
        applied=finite and targets > 0,
        loader=read.loader,
        tokens=total_tokens,
        targets=targets,
        overflow=overflow,
    )


@dataclass(frozen=True)
class _Read:
    """What the micro-batches of one rank were: the sum of their losses, and what they held."""

    loss_sum: Tensor
    targets: Tensor
    """Targets that are trained, and weighted where there are weights: a scalar on the device."""
    tokens: int
    loader: LoaderState


def _accumulate(
    model: GPT,
    optimizer: MuonAdamW,
    batches: Iterator[Batch],
    accumulation: int,
    check_stop: Callable[[], None],
    loss_scale: LossScale | None,
) -> _Read:
    """Forward and backward of this rank's micro-batches."""
    loss_sum, tokens = torch.zeros((), device=model.device), 0
    targets = torch.zeros((), dtype=torch.int64, device=model.device)
    for number in range(accumulation):
        # Between micro-batches ranks cannot agree to stop without waiting for each other.
        if number == 0 or optimizer.ranks.world == 1:
            check_stop()
        batch = next(batches)  # inputs, targets (B, T); weights (B, T) or None
        tokens += batch.inputs.numel()
        targets += count_targets(batch)
        last = number == accumulation - 1
        if batch.weights is not None and not last and not batch.weights.any():
            continue  # all weights are 0, so loss and gradient would be
        loss = model(batch.inputs, batch.targets, weights=batch.weights)  # ()
        if last:
            optimizer.reduce_on_backward()
        # Every micro-batch counts alike: the gradient is that of the mean over the whole batch.
        (loss * loss_scale.scale / accumulation if loss_scale else loss / accumulation).backward()
        loss_sum += loss.detach()
    return _Read(loss_sum, targets, tokens, batch.state)


def count_targets(batch: Batch) -> Tensor:
    """How many targets of a batch teach anything, a scalar: not ignored, and of a weight other than 0."""
    counted = batch.targets != IGNORE_INDEX  # (B, T)
    return (counted if batch.weights is None else counted & (batch.weights != 0)).sum()


def _reduce_step(optimizer: MuonAdamW, read: _Read, accumulation: int) -> tuple[float, float, int, int]:
    """(mean loss, gradient norm, tokens, targets) over all ranks, in one all-reduce and one copy."""
    ranks = optimizer.ranks
    share = read.loss_sum / (accumulation * ranks.world)
    square = optimizer.square_norm().to(share)
    sums = torch.stack((share, square, share.new_tensor(read.tokens), read.targets.to(share)))
    mean, square_norm, tokens, targets = ranks.sum(sums).tolist()
    return mean, math.sqrt(square_norm) if square_norm >= 0 else math.nan, int(tokens), int(targets)


def prepare_for_training(model: GPT, runtime: Runtime, compile: str) -> None:
    """Casts the tables to the type they are trained in, and compiles the blocks when `compile` says so.

    `compile` is on, off or auto, which compiles on a GPU only.
    """
    for table in (model.wte, *model.value_embeds.values()):
        table.to(runtime.embedding_dtype)
    if compile == "on" or (compile == "auto" and runtime.device.type == "cuda"):
        compile_blocks(model)


def compile_blocks(model: GPT) -> None:
    """Compiles by region: one block's code serves all that are alike, so the first step comes early.

    On a CPU the gain is about a fifth and the wait 10 to 25 seconds, so only when asked for. Raises
    `UserError` when the CPU's code cannot be compiled for want of a compiler.
    """
    if model.device.type == "cpu" and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        raise UserError(
            "--compile on needs a C++ compiler, and there is none", "install g++, or leave the option out"
        )
    for block in model.blocks:
        block.compile(dynamic=False)
    # On a CPU a chunk's logits stay in the cache, so fusing the passes over them gains nothing.
    model.compiled_loss = model.device.type == "cuda"


# -- what the loop keeps ---------------------------------------------------------------------------


@dataclass
class LossTracker:
    """Smooths the loss and detects divergence. All of it is kept across a resume."""

    average: float = 0.0
    """Exponential moving average, not debiased."""
    weight: float = 0.0
    """1 − 0.9ⁿ: `average / weight` is debiased, as Adam's moments are (arXiv 1412.6980, section 3)."""
    deviation: float = 0.0
    """Exponential moving average of the absolute deviation from the smoothed loss."""
    skipped: int = 0
    """Steps in a row that were not finite."""
    quiet_until: int = 0
    """No spike is reported before this step."""

    @property
    def smooth(self) -> float:
        return self.average / self.weight if self.weight else math.nan

    @property
    def shown(self) -> str:
        """The smoothed loss for people; none before there is one."""
        return f"{self.smooth:.4f}" if self.weight else "none"

    def update(self, step: int, result: StepResult) -> str:
        """Adds one step; returns what to alert about, or an empty string."""
        if result.overflow:
            return ""
        if not result.applied:
            self.skipped += 1
            return (
                f"step {step}: loss {result.loss} and gradient norm {result.grad_norm}: update skipped "
                f"({self.skipped} in a row, training stops at {MAX_SKIPPED})"
            )
        self.skipped = 0
        alert = self._spike(step, result.loss)
        if self.weight:
            deviation = abs(result.loss - self.smooth)
            self.deviation = DEVIATION_DECAY * self.deviation + DEVIATION_WEIGHT * deviation
        self.average = LOSS_DECAY * self.average + LOSS_WEIGHT * result.loss
        self.weight = LOSS_DECAY * self.weight + LOSS_WEIGHT
        return alert

    def _spike(self, step: int, loss: float) -> str:
        limit = max(SPIKE_MINIMUM, SPIKE_DEVIATIONS * self.deviation)
        too_early = step < SPIKE_PAUSE or step < self.quiet_until or not self.weight
        if too_early or loss - self.smooth <= limit:
            return ""
        self.quiet_until = step + SPIKE_PAUSE
        return f"step {step}: loss {loss:.4f} is {loss - self.smooth:.2f} above its average {self.smooth:.4f}"


@dataclass
class Clock:
    """Seconds of training steps, and the forecast from them."""

    total: float = 0.0
    """Training seconds, without the first steps of each attempt, evaluations and saves."""
    recent: list[float] = field(default_factory=list)
    steps: int = 0
    tokens: int = 0
    """Tokens of the steps that `total` counts."""
    last_logged: float = 0.0

    def update(self, seconds: float, tokens: int) -> None:
        self.steps += 1
        if self.steps > WARMUP_STEPS:
            self.total += seconds
            self.tokens += tokens
        self.recent = [*self.recent[1 - ETA_STEPS :], seconds]

    def should_log(self, last: bool) -> bool:
        """Whether a training line is due: the first steps, the last, and at most one a second otherwise."""
        now = time.monotonic()
        if last or self.steps <= WARMUP_STEPS or now - self.last_logged >= LOG_SECONDS:
            self.last_logged = now
            return True
        return False

    def eta(self, steps_left: float) -> float:
        """Seconds for the steps that are left, from the median of the last hundred."""
        return statistics.median(self.recent) * steps_left if self.recent else 0.0


@dataclass
class LoopState:
    """What the loop carries from step to step, besides weights and optimizer; all of it is in checkpoints."""

    step: int = 0
    tokens: int = 0
    """Tokens trained on, over all ranks."""
    val_bpb: float | None = None
    val_step: int = -1
    """The step `val_bpb` was measured at."""
    min_val_bpb: float | None = None
    loss: LossTracker = field(default_factory=LossTracker)
    clock: Clock = field(default_factory=Clock)
    loader: LoaderState = field(default_factory=LoaderState)
    loss_scale: LossScale | None = None
    """In float16 only."""
    empty_steps: int = 0
    """Steps that had no token to learn from."""

    @property
    def present_bpb(self) -> float | None:
        """Bits per byte of the present weights; None when the last figure is of an earlier step."""
        return self.val_bpb if self.val_step == self.step else None

    def to_meta(self) -> dict[str, Any]:
        """The JSON part, under upstream nanochat's names where it has them."""
        return {
            "min_val_bpb": self.min_val_bpb,
            "smooth_train_loss": self.loss.average,
            "total_training_time": self.clock.total,
            "timed_tokens": self.clock.tokens,
            "tokens": self.tokens,
            "empty_steps": self.empty_steps,
            "loss_tracker": asdict(self.loss),
            "loss_scale": asdict(self.loss_scale) if self.loss_scale else None,
        }

    @classmethod
    def restore(cls, step: int, meta: dict[str, Any], loader: LoaderState) -> "LoopState":
        """The state that `to_meta` described, from a checkpoint's whole metadata."""
        loop = meta["loop_state"]
        scale = loop.get("loss_scale")
        return cls(
            step=step,
            tokens=loop.get("tokens", step * meta.get("total_batch_size", 0)),
            val_bpb=meta["val_bpb"],
            min_val_bpb=loop["min_val_bpb"],
            loss=LossTracker(**loop["loss_tracker"]),
            clock=Clock(loop["total_training_time"], tokens=loop.get("timed_tokens", 0)),
            loader=loader,
            loss_scale=LossScale(**scale) if scale else None,
            empty_steps=loop.get("empty_steps", 0),
        )
