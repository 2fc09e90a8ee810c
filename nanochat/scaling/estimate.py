"""What a pretraining run will be, before it is started: sizes, memory, time and cost.

Sizes and horizon come from the functions base_train itself calls; memory from `nanochat.scaling.memory`; time
from the machine's peak and the utilisation that published runs reached.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nanochat.common.errors import UserError
from nanochat.compute.gpus import PUBLISHED_MFU
from nanochat.config.train_options import BaseTrainOptions
from nanochat.data.shards import split_shards
from nanochat.model.architecture import ModelConfig, parameter_counts
from nanochat.scaling.horizon import Horizon, plan_run
from nanochat.scaling.machine import Machine
from nanochat.scaling.memory import HEADROOM, Compute, Memory, device_batch_that_fits, estimate_memory

VOCABULARY = 32_768
"""Where there is no tokenizer: the modern era's size."""
CPU_UTILISATION = 0.5
"""Part of the speed of plain matrix products that training on a CPU reaches (docs/planning.md)."""
FORWARD_SHARE = 3
"""A training step costs three forward passes: the backward pass is twice the forward one."""


@dataclass(frozen=True)
class Estimate:
    """What a run will be. Times in seconds, sizes in bytes."""

    config: ModelConfig
    horizon: Horizon
    machine: Machine
    compute: Compute
    device_batch: int
    accumulation: int
    """Micro-batches of an optimizer step; 0 where they do not add up to the batch."""
    memory: Memory
    fits: int
    """The largest micro-batch, in rows, that fits and divides the batch; 0: none does, or it is unknown."""
    utilisation: float
    evaluation_tokens: int

    @property
    def flops(self) -> float:
        return float(self.horizon.flops_per_token) * self.horizon.tokens

    @property
    def enough_memory(self) -> bool | None:
        """None where the device's memory is not known."""
        if self.machine.memory is None:
            return None
        return self.memory.total <= HEADROOM * self.machine.memory

    @property
    def tokens_per_second(self) -> float | None:
        peak = self.machine.peak
        if peak is None:
            return None
        return peak * self.utilisation * self.machine.count / self.horizon.flops_per_token

    @property
    def seconds(self) -> float | None:
        """Of the training steps."""
        rate = self.tokens_per_second
        return None if rate is None else self.horizon.tokens / rate

    @property
    def evaluation_seconds(self) -> float | None:
        """Of the evaluations, which are forward passes."""
        rate = self.tokens_per_second
        return None if rate is None else self.evaluation_tokens / (FORWARD_SHARE * rate)

    @property
    def cost(self) -> float | None:
        """Dollars of training and evaluations; None without a price."""
        if self.machine.price is None or self.seconds is None or self.evaluation_seconds is None:
            return None
        return (self.seconds + self.evaluation_seconds) / 3600 * self.machine.count * self.machine.price

    def document(self) -> dict[str, Any]:
        """For programs; names are those of a run's `stage_start` where both say the same."""
        counts = parameter_counts(self.config)
        horizon, machine = self.horizon, self.machine
        return {
            "params": counts["total"],
            **{f"params_{name}": count for name, count in counts.items() if name != "total"},
            "scaling_params": horizon.scaling_params,
            "total_steps": horizon.steps,
            "tokens": horizon.tokens,
            "total_batch_size": horizon.total_batch,
            "device_batch_size": self.device_batch,
            "grad_accum_steps": self.accumulation,
            "flops_per_token": horizon.flops_per_token,
            "total_flops": horizon.flops_per_token * horizon.tokens,
            "vocab_size": self.config.vocab_size,
            "machine": machine.name,
            "devices": machine.count,
            "dtype": self.compute.dtype,
            "fp8": self.compute.fp8,
            "peak_flops": machine.peak,
            "mfu": 100 * self.utilisation,
            "memory": asdict(self.memory),
            "memory_total": self.memory.total,
            "memory_device": machine.memory,
            "fits": self.enough_memory,
            "device_batch_that_fits": self.fits,
            "tok_per_sec": self.tokens_per_second,
            "seconds": self.seconds,
            "evaluation_seconds": self.evaluation_seconds,
            "price_per_device_hour": machine.price,
            "cost": self.cost,
        }


def estimate(
    options: BaseTrainOptions,
    machine: Machine,
    vocab_size: int = VOCABULARY,
    rows: int | None = None,
    validation_tokens: int | None = None,
) -> Estimate:
    """The run of `options` on `machine`. `rows` replaces the micro-batch of the options; 0: the largest that
    fits, at most theirs. `validation_tokens` is how many there are to evaluate on, None: enough.

    Raises `UserError` where base_train would: for an impossible shape, or no horizon.
    """
    config, horizon = plan_run(options, vocab_size)
    compute = compute_of(options, machine)
    world = machine.count
    fits = 0
    if machine.memory is not None:
        fits = device_batch_that_fits(
            config, compute, machine.memory, world=world, total_batch=horizon.total_batch
        )
    if rows is None:
        rows = options.device_batch_size
    elif rows == 0:
        rows = min(fits, options.device_batch_size) or options.device_batch_size
    per_pass = rows * config.sequence_len * world  # tokens of one micro-batch over all devices
    accumulation, rest = divmod(horizon.total_batch, per_pass)
    evaluated = max(1, options.evaluation_tokens(validation_tokens) // per_pass) * per_pass
    return Estimate(
        config=config,
        horizon=horizon,
        machine=machine,
        compute=compute,
        device_batch=rows,
        accumulation=0 if rest else accumulation,
        memory=estimate_memory(config, compute, device_batch_size=rows, world=world),
        fits=fits,
        utilisation=PUBLISHED_MFU[compute.fp8] if machine.kind == "cuda" else CPU_UTILISATION,
        evaluation_tokens=number_of_evaluations(options, horizon) * evaluated,
    )


def compute_of(options: BaseTrainOptions, machine: Machine) -> Compute:
    """How the options compute on that machine. Raises `UserError` for float8 where it has none."""
    if options.fp8 and not machine.float8:
        raise UserError(f"--fp8 needs a GPU of the Hopper generation or newer, not {machine.name}")
    return Compute(
        device=machine.kind,
        dtype=machine.dtype if options.dtype == "auto" else options.dtype,
        fp8=options.fp8,
        compiled=options.compile == "on" or (options.compile == "auto" and machine.kind == "cuda"),
    )


def number_of_evaluations(options: BaseTrainOptions, horizon: Horizon) -> int:
    """Of bits per byte: before the first step, at the multiples of --eval-every, and at the end."""
    every, steps = options.eval_every, horizon.steps
    return 1 if every <= 0 else steps // every + 1 + (steps % every > 0)


def validation_tokens_in(folder: Path) -> int | None:
    """About how many tokens the validation shard in `folder` has: one a byte on disk. None without shards."""
    try:
        return split_shards(folder).val.stat().st_size
    except (UserError, OSError):
        return None
