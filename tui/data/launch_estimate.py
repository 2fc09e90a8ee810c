"""The estimate on the Launch form of a pretraining run on a host: size, memory, time and cost."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from textual.content import Content

from nanochat.common.errors import UserError
from nanochat.common.fields import parse_json
from nanochat.common.text import duration, sanitize, short, size_bytes
from nanochat.compute.gpus import PUBLISHED_PRICE, find_gpu, named_gpu
from nanochat.config.train_options import BaseTrainOptions
from nanochat.model.architecture import parameter_counts
from nanochat.scaling.estimate import CPU_UTILISATION, VOCABULARY, Estimate, estimate
from nanochat.scaling.machine import Machine, gpu_machine
from remote.run_summary import speed

if TYPE_CHECKING:
    from remote.hosts.book import Host
    from remote.runs import Probe, RunRow


def machine_of(
    host: Host, probe: Probe | None, runs: Iterable[RunRow], processes: int = 1
) -> tuple[Machine, str]:
    """The host as a machine to estimate for, and a phrase that names it.

    Each of `processes` trains on its own GPU, and the whole host is paid for. A host that has not been probed
    counts as GPUs of the published kind. A CPU counts as fast as in its last pretraining run; without one
    the time is unknown.
    """
    if probe is None:
        gpus = "one H100" if processes == 1 else f"{processes} H100"
        return gpu_machine(named_gpu(PUBLISHED_PRICE[0]), processes), f"on {gpus}, until the host is probed"
    if probe.gpus:
        return _gpus_of(host, probe, processes)
    speed = cpu_speed(host.name, runs)
    machine = Machine(
        "its CPU",
        count=1,
        memory=probe.ram_total or None,
        peak=None if speed is None else speed / CPU_UTILISATION,
        kind="cpu",
        dtype="float32",
        price=host.price_per_hour,
    )
    return machine, "on its CPU" + (", as fast as in its last run" if speed else "")


def _gpus_of(host: Host, probe: Probe, processes: int) -> tuple[Machine, str]:
    count, gpu = len(probe.gpus), probe.gpus[0]
    price = None if host.price_per_hour is None else host.price_per_hour / processes
    model = find_gpu(gpu.name)
    memory = gpu.mem_total or (probe.ram_total if gpu.mem_shared else 0) or None
    if model is not None:
        machine = gpu_machine(model, processes, price, memory)
    else:
        machine = Machine(sanitize(gpu.name, 24), processes, memory, peak=None, price=price)
    if processes > count:
        return machine, f"its {count} {machine.name} are too few for {processes} processes"
    used = "one" if processes == 1 else str(processes)
    return machine, f"on {used} of its {count} {machine.name}" if count > 1 else f"on its {machine.name}"


def cpu_speed(host: str, runs: Iterable[RunRow]) -> float | None:
    """FLOP/s of the newest pretraining run on `host` that reported its speed, or None."""
    for run in sorted(runs, key=lambda run: run.created_at, reverse=True):
        if run.host == host and run.stage == "base_train":
            totals = [run.latest.get(f"train/total_{name}") for name in ("flops", "tokens")]
            flops, tokens = (value if isinstance(value, float | int) else 0.0 for value in totals)
            rate = speed(run).value if "train/tok_per_sec" in run.latest else None
            if rate and flops and tokens:
                return rate * flops / tokens
    return None


def tokenizer_size(folder: Path) -> int:
    """The vocabulary size of the tokenizer in a folder on this machine, else the default."""
    try:
        size = parse_json((folder / "tokenizer.json").read_bytes())["vocab_size"]
    except (OSError, ValueError, KeyError, TypeError):
        return VOCABULARY
    return size if type(size) is int and size > 0 else VOCABULARY


def estimate_text(
    options: BaseTrainOptions, machine: Machine, where: str, vocab_size: int, validation_tokens: int | None
) -> Content:
    """The estimate as two or three lines of text, or the error that makes the run impossible."""
    try:
        result = estimate(options, machine, vocab_size, validation_tokens=validation_tokens)
    except UserError as error:
        return Content.styled(str(error), "$error")
    horizon = result.horizon
    size = (
        f"{short(parameter_counts(result.config)['total'])} parameters, {short(horizon.tokens)} tokens in "
        f"{horizon.steps:,} steps"
    )
    return Content(" · ").join([Content(size), _memory(result), Content(_time(result)), Content(where)])


def _memory(result: Estimate) -> Content:
    there = "unknown memory" if result.machine.memory is None else size_bytes(result.machine.memory)
    needs = f"{size_bytes(result.memory.total)} of {there}"
    if not result.accumulation:
        hint = f", {result.fits} does" if result.fits else ""
        return Content.styled(
            f"batch {result.device_batch} does not divide {result.horizon.total_batch:,}{hint}", "$warning"
        )
    if result.enough_memory is False:
        hint = f"batch {result.fits} fits" if result.fits else "no batch fits"
        return Content.styled(f"{needs}: too much, {hint}", "$warning")
    return Content(f"{needs}" + (f", up to batch {result.fits} fits" if result.fits else ""))


def _time(result: Estimate) -> str:
    if result.seconds is None or result.evaluation_seconds is None:
        return "time not known"
    cost = f", ${result.cost:,.2f}" if result.cost is not None else ""
    return f"about {duration(result.seconds + result.evaluation_seconds)}{cost}"
