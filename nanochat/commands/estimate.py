"""`nanochat estimate`: what a pretraining run will be, as a table or one JSON document."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from nanochat.common.errors import Exit
from nanochat.common.text import duration
from nanochat.compute.gpus import PUBLISHED_PRICE, named_gpu
from nanochat.config.command_parser import Parser, collect, command_parser, parse
from nanochat.config.options import option
from nanochat.config.train_options import BaseTrainOptions
from nanochat.model.architecture import parameter_counts
from nanochat.scaling.estimate import VOCABULARY, Estimate, estimate, validation_tokens_in
from nanochat.scaling.machine import Machine, cpu_here, gpu_machine, gpus_here

GIB = 1 << 30


@dataclass(frozen=True)
class EstimateOptions:
    """On which machine, and in what form."""

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
    """Runs `nanochat estimate …`: every option of base_train is taken too."""
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


def vocabulary(given: int, folder: Path, must: bool = False) -> tuple[int, str]:
    """The vocabulary to plan with and where its size is from: the option, a tokenizer, or the default.

    Raises `UserError` when a tokenizer `must` be in `folder` and is not, or is damaged.
    """
    if given > 0:
        return given, "as given"
    from nanochat.tokenizer.files import META_FILE
    from nanochat.tokenizer.tokenizer import Tokenizer

    if must or (folder / META_FILE).is_file() or (folder / "tokenizer.pkl").is_file():
        return Tokenizer.load(folder).vocab_size, f"of the tokenizer in {folder}"
    return VOCABULARY, "the default, as there is no tokenizer"


def machine_for(wanted: EstimateOptions, options: BaseTrainOptions) -> Machine:
    """The machine of the options, else this one. Raises `UserError` for an unknown GPU."""
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


def table(made: Estimate, options: BaseTrainOptions, vocabulary_source: str) -> list[str]:
    """The estimate for people, in lines of at most 80 columns."""
    return [
        *_block("model", *_model(made, options, vocabulary_source)),
        *_block("parameters", *_parameters(made)),
        *_block("training", *_training(made)),
        *_block("batch", _batch(made)),
        *_block("machine", _machine(made)),
        *_block("memory", *_memory(made)),
        *_time_and_cost(made),
    ]


def _block(label: str, *texts: str) -> list[str]:
    """The texts one below the other, the label before the first."""
    return [f"{'' if number else label:<12}{text}" for number, text in enumerate(texts)]


def _model(made: Estimate, options: BaseTrainOptions, vocabulary_source: str) -> list[str]:
    config = made.config
    return [
        f"depth {config.n_layer}, {options.era}: width {config.n_embd:,}, {config.n_head} heads of "
        f"{config.head_dim}, context {config.sequence_len:,}",
        f"vocabulary {config.vocab_size:,}",
        f"  {vocabulary_source}"[-66:],
    ]


def _parameters(made: Estimate) -> list[str]:
    counts = parameter_counts(made.config)
    total = counts.pop("total")
    return [f"{total:,}", *(f"  {name:<14}{count:>16,}" for name, count in counts.items())]


def _training(made: Estimate) -> list[str]:
    horizon = made.horizon
    return [
        f"{horizon.tokens:,} tokens, {horizon.tokens / horizon.scaling_params:.1f} a scaling parameter",
        f"{horizon.steps:,} steps of {horizon.total_batch:,} tokens",
        f"{made.flops:.2e} FLOPs, {horizon.flops_per_token:.2e} a token",
    ]


def _batch(made: Estimate) -> str:
    ranks = f" × {made.machine.count} GPUs" if made.machine.count > 1 else ""
    rows = f"{made.device_batch} rows × {made.config.sequence_len:,} tokens{ranks}"
    if not made.accumulation:
        return f"{rows} do not add up to {made.horizon.total_batch:,}: base_train will refuse"
    return rows + (f" × {made.accumulation} micro-batches" if made.accumulation > 1 else "")


def _machine(made: Estimate) -> str:
    machine = made.machine
    what = "float8 products" if made.compute.fp8 else made.compute.dtype
    memory = "memory unknown" if machine.memory is None else f"{machine.memory / GIB:,.1f} GiB"
    return f"{machine.label}, {memory}, {what}"[:68]


def _memory(made: Estimate) -> list[str]:
    return [
        f"{made.memory.total / GIB:,.2f} GiB a {_unit(made.machine)}",
        memory_verdict(made),
        *(f"  {name:<14}{size / GIB:>12,.2f} GiB" for name, size in asdict(made.memory).items()),
    ]


def _time_and_cost(made: Estimate) -> list[str]:
    machine = made.machine
    if made.seconds is None or made.evaluation_seconds is None or machine.peak is None:
        return _block("time", f"not known: no peak speed of a {machine.name} is known")
    cuda = machine.kind == "cuda"
    peak = (
        f"{machine.peak / 1e12:,.0f} TFLOP/s" if machine.peak > 1e13 else f"{machine.peak / 1e9:,.0f} GFLOP/s"
    )
    source = "as published for 8 × H100" if cuda else "measured just now"
    speed = f"{100 * made.utilisation:.0f}% of {peak}, {source}"
    training, evaluations = duration(made.seconds), duration(made.evaluation_seconds)
    total = duration(made.seconds + made.evaluation_seconds)
    lines = [
        *_block("speed", f"{made.tokens_per_second:,.0f} tokens/s", speed),
        *_block("time", f"{total}: {training} of training, {evaluations} of evaluations"),
    ]
    if made.cost is not None:
        lines += _block("cost", f"${made.cost:,.2f} at ${machine.price:g} a {_unit(machine)}-hour")
    elif cuda:
        lines += _block("cost", "not known: give --price")
    return lines


def _unit(machine: Machine) -> str:
    return "GPU" if machine.kind == "cuda" else "machine"


def memory_verdict(made: Estimate) -> str:
    """Whether the micro-batch fits, and which would."""
    other = f"--device-batch-size {made.fits}"
    if made.enough_memory is None:
        return "whether it fits is unknown: so is the memory"
    if made.enough_memory:
        return f"fits; the largest that does is {other}" if made.fits else "fits"
    return f"does not fit; {other} does" if made.fits else "does not fit, nor does any that divides the batch"
