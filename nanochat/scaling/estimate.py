"""`nanochat estimate`: what a pretraining run is before it is started.

Sizes and horizon come from the functions base_train itself uses; memory from `nanochat.scaling.memory`; time
from the machine's peak and the utilisation that published runs reached.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nanochat.common.errors import Exit, UserError
from nanochat.common.text import duration
from nanochat.compute.gpus import PUBLISHED_MFU, PUBLISHED_PRICE, GpuModel, find_gpu, named_gpu
from nanochat.config.command_parser import Parser, collect, command_parser, parse
from nanochat.config.options import option
from nanochat.config.train_options import BaseTrainOptions
from nanochat.data.shards import split_shards
from nanochat.model.architecture import ModelConfig, parameter_counts
from nanochat.scaling.horizon import Horizon, plan_run
from nanochat.scaling.memory import HEADROOM, Compute, Memory, device_batch_that_fits, estimate_memory

VOCABULARY = 32_768
"""Where no tokenizer is there: the usual size."""
CPU_UTILISATION = 0.5
"""Part of the speed of plain matrix products that training on a CPU reaches (docs/planning.md)."""
GIB = 1 << 30


@dataclass(frozen=True)
class Machine:
    """What trains: `count` devices alike. `peak` is FLOP/s of one, in the compute type on a CPU."""

    name: str
    count: int
    memory: int
    """Bytes of one device."""
    peak: float | None
    """None where it is not known: then there is no time."""
    kind: str = "cuda"
    """cuda or cpu."""
    dtype: str = "bfloat16"
    """What `--dtype auto` is there."""
    float8: bool = False
    price: float | None = None
    """Dollars an hour of one device."""

    @property
    def label(self) -> str:
        return f"{self.count} × {self.name}" if self.kind == "cuda" else self.name


def gpu_machine(model: GpuModel, count: int, price: float | None = None, memory: int = 0) -> Machine:
    """`count` GPUs of a known model. `memory` bytes of one, where it was looked up, else its usual size."""
    if price is None and model.name == PUBLISHED_PRICE[0]:
        price = PUBLISHED_PRICE[1]
    label = model.name.upper().replace(" ", "-")
    return Machine(label, count, memory or model.memory, model.peak, float8=model.float8, price=price)


@dataclass(frozen=True)
class Estimate:
    """A run foreseen. Times in seconds, sizes in bytes."""

    config: ModelConfig
    horizon: Horizon
    machine: Machine
    compute: Compute
    device_batch: int
    accumulation: int
    """Micro-batches of an optimizer step; 0 where they do not add up to the batch."""
    memory: Memory
    fits: int
    """The largest micro-batch, in rows, that fits and divides the batch; 0: none does."""
    utilisation: float
    evaluation_tokens: int

    @property
    def flops(self) -> float:
        return float(self.horizon.flops_per_token) * self.horizon.tokens

    @property
    def enough_memory(self) -> bool:
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
        """Of the evaluations: a forward pass, a third of a step's work a token."""
        rate = self.tokens_per_second
        return None if rate is None else self.evaluation_tokens / (3 * rate)

    @property
    def cost(self) -> float | None:
        """Dollars of training and evaluations; None without a price."""
        if self.machine.price is None or self.seconds is None or self.evaluation_seconds is None:
            return None
        return (self.seconds + self.evaluation_seconds) / 3600 * self.machine.count * self.machine.price

    def document(self) -> dict[str, Any]:
        """For programs; names are those of a run's `stage_start` where it tells the same."""
        counts = parameter_counts(self.config)
        horizon, machine = self.horizon, self.machine
        return {
            "params": counts["total"], **{f"params_{k}": v for k, v in counts.items() if k != "total"},
            "scaling_params": horizon.scaling_params, "total_steps": horizon.steps, "tokens": horizon.tokens,
            "total_batch_size": horizon.total_batch, "device_batch_size": self.device_batch,
            "grad_accum_steps": self.accumulation, "flops_per_token": horizon.flops_per_token,
            "total_flops": horizon.flops_per_token * horizon.tokens, "vocab_size": self.config.vocab_size,
            "machine": machine.name, "devices": machine.count, "dtype": self.compute.dtype,
            "fp8": self.compute.fp8, "peak_flops": machine.peak, "mfu": 100 * self.utilisation,
            "memory": asdict(self.memory), "memory_total": self.memory.total,
            "memory_device": machine.memory, "fits": self.enough_memory,
            "device_batch_that_fits": self.fits, "tok_per_sec": self.tokens_per_second,
            "seconds": self.seconds, "evaluation_seconds": self.evaluation_seconds,
            "price_per_device_hour": machine.price, "cost": self.cost,
        }  # fmt: skip


def estimate(
    options: BaseTrainOptions,
    machine: Machine,
    vocab_size: int = VOCABULARY,
    rows: int | None = None,
    validation_tokens: int | None = None,
) -> Estimate:
    """The run of `options` on `machine`. `rows` stands for the micro-batch of the options; 0: the largest
    that fits, at most theirs. `validation_tokens` is how many there are to evaluate on, None: enough.

    Raises `UserError` where base_train would: for a shape that cannot be, or no horizon.
    """
    config, horizon = plan_run(options, vocab_size)
    if options.fp8 and not machine.float8:
        raise UserError(f"--fp8 needs a GPU of the Hopper generation or newer, not {machine.name}")
    compute = Compute(
        machine.kind,
        machine.dtype if options.dtype == "auto" else options.dtype,
        options.fp8,
        compiled=options.compile == "on" or (options.compile == "auto" and machine.kind == "cuda"),
    )
    world = machine.count
    fits = device_batch_that_fits(
        config, compute, machine.memory, world=world, total_batch=horizon.total_batch
    )
    if rows is None:
        rows = options.device_batch_size
    elif rows == 0:
        rows = min(fits, options.device_batch_size) or options.device_batch_size
    per_pass = rows * config.sequence_len * world
    accumulation, rest = divmod(horizon.total_batch, per_pass)
    every, steps = options.eval_every, horizon.steps
    evaluations = 1 if every <= 0 else steps // every + 1 + (steps % every > 0)
    judged = options.evaluation_tokens(validation_tokens)
    return Estimate(
        config, horizon, machine, compute, rows, 0 if rest else accumulation,
        estimate_memory(config, compute, device_batch_size=rows, world=world), fits,
        PUBLISHED_MFU[compute.fp8] if machine.kind == "cuda" else CPU_UTILISATION,
        evaluations * max(1, judged // per_pass) * per_pass,
    )  # fmt: skip


@dataclass(frozen=True)
class EstimateOptions:
    """On what, and how it is told."""

    gpu: str = option("", "GPU model: h100, h200, a100, b200 …; default what is here", group="Machine")
    gpus: int = option(0, "How many of them; default --nproc, those here, or 1", group="Machine", minimum=0)
    price: float = option(-1.0, "Dollars a GPU-hour", minus_one="not known", group="Machine", minimum=0)
    vocab_size: int = option(
        -1, "Vocabulary", minus_one="the tokenizer's, else 32768", group="Machine", minimum=1
    )
    json: bool = option(False, "One JSON document instead of the table", group="Machine")


def parser() -> Parser:
    """The parser of `nanochat estimate`."""
    return command_parser(
        "nanochat estimate",
        "Parameters, tokens, memory, time and cost of a base_train run, before it is started. "
        "Takes base_train's options, so that its command line can be tried here first.",
        EstimateOptions,
        BaseTrainOptions,
    )


def main(argv: Sequence[str]) -> int:
    """Answers `nanochat estimate …`: every option of base_train is taken too."""
    given, layout = parse(parser(), argv)
    wanted, options = collect(EstimateOptions, given), collect(BaseTrainOptions, given)
    folder = layout.tokenizer_dir(options.tokenizer_dir)
    vocab_size, source = vocabulary(wanted.vocab_size, folder, bool(options.tokenizer_dir))
    machine = machine_for(wanted, options)
    rows = None if hasattr(given, "device_batch_size") else 0
    elsewhere = bool(wanted.gpu or wanted.gpus)
    text = None if elsewhere else validation_tokens_in(layout.data_dir(options.data_dir))
    made = estimate(options, machine, vocab_size, rows, text)
    if wanted.json:
        print(json.dumps(made.document()))
    else:
        print("\n".join(table(made, options, source)))
    return Exit.OK


def validation_tokens_in(folder: Path) -> int | None:
    """About how many tokens the validation shard in `folder` has: one a byte on disk. None without shards."""
    try:
        return split_shards(folder).val.stat().st_size
    except (UserError, OSError):
        return None


def vocabulary(asked: int, folder: Path, must: bool = False) -> tuple[int, str]:
    """The vocabulary to plan with and where its size is from: what was asked, a tokenizer, or the usual.

    Raises `UserError` when a tokenizer `must` be in `folder` and is not, or is damaged.
    """
    if asked > 0:
        return asked, "as asked"
    from nanochat.tokenizer.tokenizer import META_FILE, Tokenizer

    if must or (folder / META_FILE).is_file() or (folder / "tokenizer.pkl").is_file():
        return Tokenizer.load(folder).vocab_size, f"of the tokenizer in {folder}"
    return VOCABULARY, "the usual, for no tokenizer is here"


def machine_for(wanted: EstimateOptions, options: BaseTrainOptions) -> Machine:
    """The machine asked for, else this one. Raises `UserError` for a GPU nobody knows."""
    price = wanted.price if wanted.price >= 0 else None
    count = wanted.gpus or (options.nproc if options.nproc > 1 else 0)
    if wanted.gpu or wanted.gpus:
        here = None if wanted.gpu else gpus_here(price)
        if here is not None:
            return replace(here, count=count)
        return gpu_machine(named_gpu(wanted.gpu or PUBLISHED_PRICE[0]), max(1, count), price)
    here = gpus_here(price) if options.device_type in ("", "cuda") else None
    if here is not None and count:
        return replace(here, count=count)
    return here or cpu_here(options.dtype, price)


def gpus_here(price: float | None) -> Machine | None:
    """This machine's GPUs, None without any."""
    import torch

    if not torch.cuda.is_available():
        return None
    properties = torch.cuda.get_device_properties(0)
    count, memory = torch.cuda.device_count(), int(properties.total_memory)
    model = find_gpu(properties.name)
    if model is not None:
        return gpu_machine(model, count, price, memory)
    return Machine(
        properties.name, count, memory, None, dtype="bfloat16" if properties.major >= 8 else "float32",
        float8=properties.major >= 9, price=price,
    )  # fmt: skip


def cpu_here(dtype: str, price: float | None) -> Machine:
    """This machine's CPU, its speed measured for a moment on matrix products of the compute type."""
    import torch

    from nanochat.compute.device import matmul_flops, pick_dtype

    chosen = pick_dtype(dtype, torch.device("cpu"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(
        f"this CPU ({torch.get_num_threads()} threads)", 1, memory, matmul_flops(chosen, 1024, 0.3), "cpu",
        str(chosen).removeprefix("torch."), price=price,
    )  # fmt: skip


def table(made: Estimate, options: BaseTrainOptions, vocabulary_source: str) -> list[str]:
    """The estimate for people, in lines of at most 80 columns."""
    config, horizon, machine = made.config, made.horizon, made.machine
    counts = parameter_counts(config)
    lines: list[str] = []

    def add(label: str, *texts: str) -> None:
        for text in texts:
            lines.append(f"{label:<12}{text}")
            label = ""

    add(
        "model",
        f"depth {config.n_layer}, {options.era}: width {config.n_embd:,}, {config.n_head} heads of "
        f"{config.head_dim}, context {config.sequence_len:,}",
        f"vocabulary {config.vocab_size:,}",
        f"  {vocabulary_source}"[-66:],
    )
    add("parameters", f"{counts.pop('total'):,}", *(f"  {n:<14}{v:>16,}" for n, v in counts.items()))
    add(
        "training",
        f"{horizon.tokens:,} tokens, {horizon.tokens / horizon.scaling_params:.1f} a scaling parameter",
        f"{horizon.steps:,} steps of {horizon.total_batch:,} tokens",
        f"{made.flops:.2e} FLOPs, {horizon.flops_per_token:.2e} a token",
    )
    ranks = f" × {machine.count} GPUs" if machine.count > 1 else ""
    rows = f"{made.device_batch} rows × {config.sequence_len:,} tokens{ranks}"
    if made.accumulation:
        often = f" × {made.accumulation} micro-batches" if made.accumulation > 1 else ""
        add("batch", rows + often)
    else:
        add("batch", f"{rows} do not add up to {horizon.total_batch:,}: base_train will refuse")
    unit = "GPU" if machine.kind == "cuda" else "machine"
    what = "float8 products" if made.compute.fp8 else made.compute.dtype
    add("machine", f"{machine.label}, {machine.memory / GIB:,.1f} GiB, {what}"[:68])
    add(
        "memory",
        f"{made.memory.total / GIB:,.2f} GiB a {unit}",
        memory_verdict(made),
        *(f"  {name:<14}{size / GIB:>12,.2f} GiB" for name, size in asdict(made.memory).items()),
    )
    if made.seconds is None or made.evaluation_seconds is None or machine.peak is None:
        add("time", f"not known: no peak speed of a {machine.name} is known")
        return lines
    peak = (
        f"{machine.peak / 1e12:,.0f} TFLOP/s" if machine.peak > 1e13 else f"{machine.peak / 1e9:,.0f} GFLOP/s"
    )
    source = (
        f"{100 * made.utilisation:.0f}% of {peak}, as published for 8 × H100"
        if machine.kind == "cuda"
        else f"{100 * made.utilisation:.0f}% of {peak}, measured just now"
    )
    add("speed", f"{made.tokens_per_second:,.0f} tokens/s", source)
    total = duration(made.seconds + made.evaluation_seconds)
    add(
        "time",
        f"{total}: {duration(made.seconds)} of training, {duration(made.evaluation_seconds)} of evaluations",
    )
    if made.cost is not None:
        add("cost", f"${made.cost:,.2f} at ${machine.price:g} a {unit}-hour")
    elif machine.kind == "cuda":
        add("cost", "not known: give --price")
    return lines


def memory_verdict(made: Estimate) -> str:
    """Whether the micro-batch fits, and which would."""
    other = f"--device-batch-size {made.fits}"
    if made.enough_memory:
        return f"fits; the largest that does is {other}" if made.fits else "fits"
    return f"does not fit; {other} does" if made.fits else "does not fit, nor does any that divides the batch"
