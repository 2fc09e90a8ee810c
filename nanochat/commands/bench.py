"""`nanochat bench infer`: latency and throughput of decoding, and how close they are to the machine's limits.

Prefill is bound by arithmetic, so it is given as a share of the peak FLOP/s (MFU, model FLOPs utilisation).
Decoding reads all weights and caches for a little arithmetic a token, so it is given as a share of the memory
bandwidth (MBU, model bandwidth utilisation); the bandwidth is that of a large copy, measured first.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nanochat.common.errors import Exit, UserError
from nanochat.common.fields import parse_int
from nanochat.common.paths import Layout
from nanochat.config.command_parser import Parser, add_arguments, add_base_dir, command_parser, parse_options
from nanochat.config.eval_options import CheckpointOptions
from nanochat.config.options import option
from nanochat.model.architecture import ModelConfig, decode_bytes, parameter_counts, prefill_flops

if TYPE_CHECKING:
    from nanochat.compute.device import Runtime
    from nanochat.infer.engine import Engine
    from nanochat.model.gpt import GPT

_COPY_BYTES = 1 << 26
"""More than the caches of common processors hold."""
_ROW = "{:>6} {:>9} {:>9} {:>9} {:>9} {:>7} {:>9}"


@dataclass(frozen=True)
class InferBenchOptions(CheckpointOptions):
    """Which model, and how long its prompts and completions are."""

    depth: int = option(
        -1, "An untrained model of this depth", minus_one="a checkpoint", minimum=1, group="Shape"
    )
    aspect_ratio: int = option(64, "Its width over its depth", minimum=1, group="Shape")
    head_dim: int = option(128, "Its channels of a head", minimum=8, group="Shape")
    max_seq_len: int = option(2048, "Its context in tokens", minimum=2, group="Shape")
    vocab_size: int = option(32_768, "Its vocabulary", minimum=2, group="Shape")
    window_pattern: str = option("SSSL", "Its attention windows", group="Shape")
    prompt_tokens: int = option(2048, "Length of the prompt", minimum=1, group="Load")
    decode_tokens: int = option(256, "Tokens generated a row", minimum=2, group="Load")
    batch_sizes: tuple[str, ...] = option(
        ("1", "8", "32", "128"), "Batch sizes to measure, in rows", group="Load"
    )
    temperature: float = option(0.0, "Of the sampling; 0: greedy", short="-t", minimum=0, group="Load")
    device_type: str = option(
        "", "Device; empty: the best there is", choices=("", "cpu", "cuda", "mps"), group="Load"
    )
    dtype: str = option("auto", "Compute type", choices=("auto", "float32", "bfloat16"), group="Load")
    cuda_graphs: bool = option(True, "Replay captured decoding steps on a CUDA device", group="Load")


def parser() -> Parser:
    """The parser of `nanochat bench`."""
    top = command_parser("nanochat bench", "Measure how fast a model generates on this machine.")
    infer = top.add_subparsers(dest="what", required=True).add_parser(
        "infer", description=__doc__, help="latency, tokens a second, utilisation by batch size"
    )
    add_base_dir(infer, sub_command=True)
    add_arguments(infer, InferBenchOptions)
    return top


def main(argv: Sequence[str]) -> int:
    """Prints a card, a table, and one JSON document as the last line of stdout."""
    options, layout = parse_options(InferBenchOptions, parser(), argv)
    sizes = batch_sizes(options)
    from nanochat.compute.device import pick_device, pick_dtype

    device = pick_device(options.device_type)
    dtype = pick_dtype(options.dtype, device)
    model, named = find_model(options, layout, device, dtype)
    print(json.dumps(measure(model, named, options, sizes)))
    return Exit.OK


def batch_sizes(options: InferBenchOptions) -> list[int]:
    """The batch sizes. Raises `UserError` on anything but numbers from 1 up."""
    try:
        sizes = [parse_int(size) for size in options.batch_sizes]
    except ValueError:
        sizes = []
    if not sizes or min(sizes) < 1:
        raise UserError(
            f"--batch-sizes {','.join(options.batch_sizes)[:200]} is not a list of numbers from 1 up",
            "such as 1,8,32",
        )
    return sizes


def find_model(options: InferBenchOptions, layout: Layout, device: Any, dtype: Any) -> "tuple[GPT, str]":
    """The checkpoint's model, or an untrained one of the given shape; and its name."""
    import torch

    from nanochat.checkpoint.files import find_checkpoint
    from nanochat.checkpoint.weights import load_model
    from nanochat.model.gpt import build_model
    from nanochat.scaling.horizon import config_from_depth

    if options.depth == 0:
        raise UserError("--depth: a model needs at least 1 layer", "leave --depth out to take a checkpoint")
    if options.depth < 0:
        checkpoint = find_checkpoint(layout.checkpoints(options.source), options.model_tag, options.step)
        return load_model(checkpoint, device, dtype), str(checkpoint.path)
    config = config_from_depth(
        options.depth,
        options.vocab_size,
        options.max_seq_len,
        aspect_ratio=options.aspect_ratio,
        head_dim=options.head_dim,
        window_pattern=options.window_pattern,
    )
    model = build_model(config, device, dtype)
    model.init_weights(1)
    with torch.no_grad():
        for parameter in model.parameters():  # no matrix stays zero: zeros may be faster
            parameter.add_(torch.randn_like(parameter), alpha=0.01)
    return model, f"an untrained model of depth {options.depth}"


def measure(model: "GPT", named: str, options: InferBenchOptions, sizes: list[int]) -> dict[str, Any]:
    """Measures prefill and every batch size; prints the results as they come and returns them all."""
    from nanochat.compute.device import Runtime
    from nanochat.infer.engine import Engine

    config, runtime = model.config, Runtime(model.device, model.compute_dtype)
    load = fitting_load(options, config)
    bandwidth = copy_bandwidth(runtime)
    engine = Engine(model, capture="auto" if options.cuda_graphs else None)
    result = describe(engine, runtime, named, load, bandwidth)
    print_card(result, config)
    result["prefill"] = prefill(engine, runtime, load.prompt_tokens)
    print(_ROW.format("batch", "TTFT ms", "ms/step", "tok/s", "GB/s", "MBU %", "memory MB"))
    result["sweep"] = []
    for size in sizes:
        row = measure_batch(engine, runtime, load, size, bandwidth)
        result["sweep"].append(row)
        print_row(row)
    return result


@dataclass(frozen=True)
class Load:
    """What every batch size is measured with."""

    prompt_tokens: int
    decode_tokens: int
    temperature: float

    @property
    def mean_length(self) -> int:
        """Tokens of a row in the middle of decoding."""
        return self.prompt_tokens + self.decode_tokens // 2


def fitting_load(options: InferBenchOptions, config: ModelConfig) -> Load:
    """The load of the options, with a prompt that leaves room for the decoded tokens in the context."""
    prompt_tokens = min(options.prompt_tokens, max(1, config.sequence_len - options.decode_tokens))
    if prompt_tokens < options.prompt_tokens:
        print(
            f"note: the prompt is cut to {prompt_tokens} tokens, so that it and the {options.decode_tokens} "
            f"decoded ones fit the context of {config.sequence_len}"
        )
    return Load(prompt_tokens, options.decode_tokens, options.temperature)


def describe(
    engine: "Engine", runtime: "Runtime", named: str, load: Load, bandwidth: float
) -> dict[str, Any]:
    """What is measured, on what, and how many bytes a step must read."""
    config = engine.model.config
    itemsize = engine.decoder.like.dtype.itemsize
    weights = decode_bytes(config, 0, 0, itemsize)
    return {
        "model": named,
        "model_config": config.to_meta(),
        "num_params": parameter_counts(config)["total"],
        "device": runtime.name,
        "dtype": str(engine.model.compute_dtype).removeprefix("torch."),
        "threads": threads(runtime),
        "copy_bandwidth_bytes_per_sec": bandwidth,
        "peak_flops_per_sec": runtime.peak_flops,
        "prompt_tokens": load.prompt_tokens,
        "decode_tokens": load.decode_tokens,
        "temperature": load.temperature,
        "decoder": engine.decoder.backend,
        "weight_bytes_read": weights,
        "kv_bytes_read_per_row": decode_bytes(config, 1, load.mean_length, itemsize) - weights,
    }


def print_card(result: dict[str, Any], config: ModelConfig) -> None:
    print(
        f"{result['model']}: width {config.n_embd}, {config.n_head} heads over {config.n_kv_head}, "
        f"{result['num_params'] / 1e6:,.1f}M parameters, {result['dtype']}\n"
        f"{result['device']}, {result['threads']} threads, "
        f"copy bandwidth {result['copy_bandwidth_bytes_per_sec'] / 1e9:,.1f} GB/s; "
        f"a step reads {result['weight_bytes_read'] / 1e6:,.1f} MB of weights and "
        f"{result['kv_bytes_read_per_row'] / 1e6:,.2f} MB of cache a row; {result['decoder']}"
    )


def measure_batch(
    engine: "Engine", runtime: "Runtime", load: Load, size: int, bandwidth: float
) -> dict[str, Any]:
    """The results of one batch size."""
    run_once(engine, runtime, replace(load, decode_tokens=4), size)  # warms up, and captures graphs
    ttft, steps = run_once(engine, runtime, load, size)
    itemsize = engine.decoder.like.dtype.itemsize
    step_bytes = decode_bytes(engine.model.config, size, load.mean_length, itemsize)
    row = summarise(size, ttft, steps, step_bytes=step_bytes, bandwidth=bandwidth)
    return row | {"peak_memory_bytes": runtime.peak_memory()}


def print_row(row: dict[str, Any]) -> None:
    print(
        _ROW.format(
            row["batch_size"],
            f"{1e3 * row['ttft_sec']:.1f}",
            f"{1e3 * row['step_sec']:.2f}",
            f"{row['tok_per_sec']:,.0f}",
            f"{row['bytes_per_sec'] / 1e9:.1f}",
            f"{row['mbu_percent']:.0f}",
            f"{row['peak_memory_bytes'] / 1e6:,.0f}",
        ),
        flush=True,
    )


def summarise(
    rows: int, ttft: float, steps: list[float], *, step_bytes: float, bandwidth: float
) -> dict[str, Any]:
    """Results of one batch size: the median step, and tokens a second over all steps.

    A step reads `step_bytes` bytes; the machine copies `bandwidth` bytes a second.
    """
    step = sorted(steps)[len(steps) // 2]
    bytes_per_sec = step_bytes / step
    return {
        "batch_size": rows,
        "ttft_sec": ttft,
        "step_sec": step,
        "tok_per_sec": rows * len(steps) / sum(steps),
        "bytes_per_sec": bytes_per_sec,
        "mbu_percent": 100 * bytes_per_sec / bandwidth,
        "decode_steps": len(steps),
    }


def prefill(engine: "Engine", runtime: "Runtime", tokens: int) -> dict[str, Any]:
    """Measures and prints the time to the first token of one prompt."""
    load = Load(tokens, decode_tokens=2, temperature=0.0)
    seconds = min(run_once(engine, runtime, load, 1)[0] for _ in range(3))
    flops = prefill_flops(engine.model.config, tokens) / seconds
    peak = runtime.peak_flops
    mfu = 100 * flops / peak if peak else None
    print(
        f"prefill of {tokens} tokens: {1e3 * seconds:.1f} ms, {tokens / seconds:,.0f} tok/s, "
        f"{flops / 1e9:,.0f} GFLOP/s, " + (f"MFU {mfu:.1f} %" if mfu else "MFU unknown: no peak is published")
    )
    return {
        "time_sec": seconds,
        "tok_per_sec": tokens / seconds,
        "flops_per_sec": flops,
        "mfu_percent": mfu,
    }


def run_once(engine: "Engine", runtime: "Runtime", load: Load, rows: int) -> tuple[float, list[float]]:
    """Seconds to the first token of `rows` rows of one prompt, and of each step after it."""
    import random

    from nanochat.infer.sampling import Sampling

    vocab = engine.model.config.vocab_size
    prompt = random.Random(0).choices(range(vocab), k=load.prompt_tokens)
    sampling = Sampling(temperature=load.temperature)
    steps = engine.generate(prompt, samples=rows, max_tokens=load.decode_tokens, sampling=sampling)
    times = []
    runtime.synchronize()
    last = time.perf_counter()
    for _ in steps:
        runtime.synchronize()
        now = time.perf_counter()
        times.append(now - last)
        last = now
    return times[0], times[1:]


def copy_bandwidth(runtime: "Runtime") -> float:
    """Bytes a second, read and written, of a copy too large for any cache: the best of six."""
    import torch

    source = torch.ones(_COPY_BYTES, dtype=torch.uint8, device=runtime.device)
    target = torch.empty_like(source)
    best = float("inf")
    for _ in range(6):
        runtime.synchronize()
        start = time.perf_counter()
        target.copy_(source)
        runtime.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2 * _COPY_BYTES / best


def threads(runtime: "Runtime") -> int:
    """CPU threads a matmul may use."""
    import torch

    return torch.get_num_threads() if runtime.device.type == "cpu" else 1
