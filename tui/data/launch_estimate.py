"""What the Launch form foresees of a pretraining run on a host: size, memory, time and cost."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from textual.content import Content

from nanochat.common.errors import UserError
from nanochat.common.text import duration, harmless, short, size_bytes
from nanochat.compute.gpus import PUBLISHED_PRICE, find_gpu, named_gpu
from nanochat.config.train_options import BaseTrainOptions
from nanochat.model.architecture import parameter_counts
from nanochat.scaling.estimate import CPU_UTILISATION, VOCABULARY, Estimate, Machine, estimate, gpu_machine

if TYPE_CHECKING:
    from remote.hosts.book import Host
    from remote.runs import Probe, RunRow


def machine_of(
    host: Host, probe: Probe | None, runs: Iterable[RunRow], processes: int = 1
) -> tuple[Machine, str]:
    """The host as a machine to plan for, and how it is called.

    Each of `processes` trains on a GPU of its own, and the whole host is paid for. A host that has not been
    asked stands as GPUs of the published kind. A CPU is taken to be as fast as in its last pretraining
    run; before one its time is not known.
    """
    if probe is None:
        gpus = "one H100" if processes == 1 else f"{processes} H100"
        return gpu_machine(
            named_gpu(PUBLISHED_PRICE[0]), processes
        ), f"on {gpus}, until the host has answered"
    count = len(probe.gpus)
    if count:
        price = None if host.price_per_hour is None else host.price_per_hour / processes
        name, memory = probe.gpus[0].name, probe.gpus[0].mem_total
        model = find_gpu(name)
        if model is not None:
            machine = gpu_machine(model, processes, price, memory)
        else:
            machine = Machine(harmless(name, 24), processes, memory, None, price=price)
        used = "one" if processes == 1 else str(processes)
        if processes > count:
            return machine, f"its {count} {machine.name} are too few for {processes} processes"
        return machine, f"on {used} of its {count} {machine.name}" if count > 1 else f"on its {machine.name}"
    speed = cpu_speed(host.name, runs)
    peak = None if speed is None else speed / CPU_UTILISATION
    machine = Machine("its CPU", 1, probe.ram_total, peak, "cpu", "float32", price=host.price_per_hour)
    return machine, "on its CPU" + (", as fast as in its last run" if speed else "")


def cpu_speed(host: str, runs: Iterable[RunRow]) -> float | None:
    """FLOP/s of the newest pretraining run on a host that told its speed."""
    for run in sorted(runs, key=lambda run: run.created_at, reverse=True):
        if run.host == host and run.stage == "base_train":
            told = [
                run.latest.get(f"train/{name}") for name in ("tok_per_sec", "total_flops", "total_tokens")
            ]
            rate, flops, tokens = (value if isinstance(value, float | int) else 0.0 for value in told)
            if rate and flops and tokens:
                return rate * flops / tokens
    return None


def tokenizer_size(folder: Path) -> int:
    """The vocabulary of the tokenizer in a folder of this machine, else the usual one."""
    try:
        size = json.loads((folder / "tokenizer.json").read_bytes())["vocab_size"]
    except (OSError, ValueError, KeyError, TypeError):
        return VOCABULARY
    return size if type(size) is int and size > 0 else VOCABULARY


def foresee(
    options: BaseTrainOptions, machine: Machine, where: str, vocab_size: int, validation_tokens: int | None
) -> Content:
    """The estimate in two or three lines' worth of words; what cannot be is said in its place."""
    try:
        made = estimate(options, machine, vocab_size, validation_tokens=validation_tokens)
    except UserError as error:
        return Content.styled(str(error), "$error")
    horizon = made.horizon
    size = (
        f"{short(parameter_counts(made.config)['total'])} parameters, {short(horizon.tokens)} tokens in "
        f"{horizon.steps:,} steps"
    )
    return Content(" · ").join([Content(size), _memory(made), Content(_time(made)), Content(where)])


def _memory(made: Estimate) -> Content:
    needs = f"{size_bytes(made.memory.total)} of {size_bytes(made.machine.memory)}"
    if not made.accumulation:
        hint = f", {made.fits} does" if made.fits else ""
        return Content.styled(
            f"batch {made.device_batch} does not divide {made.horizon.total_batch:,}{hint}", "$warning"
        )
    if not made.enough_memory:
        hint = f"batch {made.fits} fits" if made.fits else "no batch fits"
        return Content.styled(f"{needs}: too much, {hint}", "$warning")
    return Content(f"{needs}" + (f", up to batch {made.fits} fits" if made.fits else ""))


def _time(made: Estimate) -> str:
    if made.seconds is None or made.evaluation_seconds is None:
        return "time not known"
    cost = f", ${made.cost:,.2f}" if made.cost is not None else ""
    return f"about {duration(made.seconds + made.evaluation_seconds)}{cost}"
