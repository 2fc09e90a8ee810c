"""The parts of a training loop: one optimizer step, the guard against bad ones, the clock."""

import math
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from nanochat.common.errors import UserError
from nanochat.compute.device import Runtime
from nanochat.data.dataloader import Batch, LoaderState
from nanochat.model.gpt import GPT
from nanochat.train.loss_scale import LossScale
from nanochat.train.optimizer import MuonAdamW

MAX_SKIPPED = 5
"""Non-finite steps in a row after which training stops."""
WARMUP_STEPS = 10
"""Steps left out of times and forecasts: they compile, allocate and warm caches."""


class StopRequested(Exception):  # noqa: N818 - it is no error
    """Raised between micro-batches or evaluation batches when the run was asked to stop."""


@dataclass(frozen=True)
class StepResult:
    """What one optimizer step gave. `loss` is the mean over the whole batch, in nats a token."""

    loss: float
    grad_norm: float
    applied: bool
    """False when loss or gradient was not finite, and the update was left out."""
    loader: LoaderState
    tokens: int
    """Tokens the model read, over all ranks."""
    overflow: bool = False
    """The update was left out because the loss scale was too large; it is smaller now."""


def train_step(
    model: GPT,
    optimizer: MuonAdamW,
    batches: Iterator[Batch],
    accumulation: int,
    check_stop: Callable[[], None],
    grad_clip: float = 0.0,
    loss_scale: LossScale | None = None,
) -> StepResult:
    """Sums gradients over `accumulation` micro-batches and updates once, if all is finite.

    `check_stop` is called before the step, in a single process also between micro-batches, and may raise;
    nothing is changed then. Gradients whose norm is over `grad_clip` (0: never) are scaled down to it; the
    norm reported is the one before. Loss and norm are over the batches of all ranks, so all decide alike.
    `loss_scale` (float16) multiplies the loss; the norm says whether that overflowed.
    """
    ranks = optimizer.ranks
    total, tokens = torch.zeros((), device=model.device), 0
    for number in range(accumulation):
        if number == 0 or ranks.world == 1:
            check_stop()
        batch = next(batches)
        tokens += batch.inputs.numel()
        last = number == accumulation - 1
        if batch.weights is not None and not last and not batch.weights.any():
            continue  # all weights 0: so would be loss and gradient
        loss = model(batch.inputs, batch.targets, weights=batch.weights)
        if last:
            optimizer.reduce_on_backward()
        (loss * loss_scale.scale / accumulation if loss_scale else loss / accumulation).backward()
        total += loss.detach()
    optimizer.reduce_gradients()
    mine = torch.stack((
        total / (accumulation * ranks.world), optimizer.square_norm().to(total), total.new_tensor(tokens)
    ))  # fmt: skip
    mean, square, read = ranks.sum(mine).tolist()
    size = math.sqrt(square) if square >= 0 else math.nan
    applied, overflow = math.isfinite(mean) and math.isfinite(size), False
    if loss_scale is not None:
        size /= loss_scale.scale
        optimizer.scale_gradients(1 / loss_scale.scale)
        overflow = loss_scale.update(overflow=math.isfinite(mean) and not applied)
    if applied:
        if 0 < grad_clip < size:
            optimizer.scale_gradients(grad_clip / size)
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return StepResult(mean, size, applied, batch.state, int(read), overflow)


def prepare_for_training(model: GPT, runtime: Runtime, compile: str) -> None:
    """Tables in the type they are trained in; blocks compiled when `compile` is on, or auto and on a GPU."""
    for table in (model.wte, *model.value_embeds.values()):
        table.to(runtime.embedding_dtype)
    if compile == "on" or (compile == "auto" and runtime.device.type == "cuda"):
        compile_blocks(model)


def compile_blocks(model: GPT) -> None:
    """Compiles by region: one block's code serves all that are alike, so the first step comes early.

    On a CPU the gain is about a fifth and the wait 10 to 25 seconds: so only when asked for. Raises
    `UserError` when the CPU's code cannot be compiled for want of a compiler.
    """
    if model.device.type == "cpu" and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        raise UserError("--compile on needs a C++ compiler, and there is none", "install g++ or leave it out")
    for block in model.blocks:
        block.compile(dynamic=False)
    model.compiled_loss = model.device.type == "cuda"  # on a CPU a chunk's logits are in the cache as it is


@dataclass
class LossTracker:
    """Smooths the loss and notices what is wrong with it. All of it is kept across a resume."""

    average: float = 0.0
    """Exponential average (0.9), not debiased."""
    weight: float = 0.0
    """1 − 0.9^n: `average / weight` is debiased."""
    deviation: float = 0.0
    """Exponential average of the absolute deviation from the smoothed loss."""
    skipped: int = 0
    """Steps in a row that were not finite."""
    quiet_until: int = 0

    @property
    def smooth(self) -> float:
        return self.average / self.weight if self.weight else math.nan

    def update(self, step: int, result: StepResult) -> str:
        """Takes in one step; returns what to alert about, or an empty string."""
        if result.overflow:
            return ""
        if not result.applied:
            self.skipped += 1
            return (
                f"step {step}: loss {result.loss} and gradient norm {result.grad_norm}: update left out "
                f"({self.skipped} in a row, training stops at {MAX_SKIPPED})"
            )
        self.skipped = 0
        alarm = self._spike(step, result.loss)
        if self.weight:
            self.deviation = 0.95 * self.deviation + 0.05 * abs(result.loss - self.smooth)
        self.average = 0.9 * self.average + 0.1 * result.loss
        self.weight = 0.9 * self.weight + 0.1
        return alarm

    def _spike(self, step: int, loss: float) -> str:
        """A loss far above its average, reported once in 50 steps; the first 50 are too rough to tell."""
        limit = max(0.5, 6 * self.deviation)
        if step < 50 or step < self.quiet_until or not self.weight or loss - self.smooth <= limit:
            return ""
        self.quiet_until = step + 50
        return f"step {step}: loss {loss:.4f} is {loss - self.smooth:.2f} above its average {self.smooth:.4f}"


@dataclass
class Clock:
    """Seconds of training steps, and what they forecast."""

    total: float = 0.0
    """Training seconds, the first steps of each attempt left out; evaluations and saves do not count."""
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
        self.recent = [*self.recent[-99:], seconds]

    def should_log(self, last: bool) -> bool:
        """Whether a line is due: the first steps, the last, and else at most one a second."""
        now = time.monotonic()
        if last or self.steps <= WARMUP_STEPS or now - self.last_logged >= 1.0:
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
    min_val_bpb: float | None = None
    loss: LossTracker = field(default_factory=LossTracker)
    clock: Clock = field(default_factory=Clock)
    loader: LoaderState = field(default_factory=LoaderState)
    loss_scale: LossScale | None = None
    """In float16 only."""

    def to_meta(self) -> dict[str, Any]:
        """The JSON part, under the reference's names where it has them."""
        return {
            "min_val_bpb": self.min_val_bpb,
            "smooth_train_loss": self.loss.average,
            "total_training_time": self.clock.total,
            "timed_tokens": self.clock.tokens,
            "tokens": self.tokens,
            "loss_tracker": asdict(self.loss),
            "loss_scale": asdict(self.loss_scale) if self.loss_scale else None,
        }

    @classmethod
    def restore(cls, step: int, meta: dict[str, Any], loader: LoaderState) -> "LoopState":
        loop = meta["loop_state"]
        scale = loop.get("loss_scale")
        clock = Clock(loop["total_training_time"], tokens=loop.get("timed_tokens", 0))
        tokens = loop.get("tokens", step * meta.get("total_batch_size", 0))
        return cls(
            step, tokens, meta["val_bpb"], loop["min_val_bpb"], LossTracker(**loop["loss_tracker"]), clock,
            loader, LossScale(**scale) if scale else None,
        )  # fmt: skip
