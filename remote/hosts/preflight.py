"""What a host needs to run stages, as one line per check with what to do when it fails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from nanochat.common.text import duration, sanitize, size_bytes

if TYPE_CHECKING:
    from remote.runs import Gpu, Probe

LITTLE_DISK = 10 << 30
MUCH_SKEW = 60.0


class Check(NamedTuple):
    """One line: `level` is good, warn or bad; `fix` what to do."""

    level: str
    what: str
    fix: str = ""


def checks(probe: Probe) -> Iterator[Check]:
    """Every check of a host that answered."""
    where = "in a container" if probe.in_container else ""
    yield Check(
        "good",
        f"agent {probe.agent[:12]} runs on {sanitize(probe.hostname)} under Python {probe.python} {where}",
    )
    yield _interpreter(probe)
    yield _disk(probe)
    memory = f"{size_bytes(probe.ram_total)} memory" if probe.ram_total else "memory unknown"
    cores = f"{probe.cores:g} cores" if probe.cores else "cores unknown"
    yield Check("good", f"{cores}, {memory}")
    yield _gpus(probe)
    if abs(probe.clock_ahead) > MUCH_SKEW:
        where = "ahead of" if probe.clock_ahead > 0 else "behind"
        yield Check(
            "warn",
            f"its clock is {duration(abs(probe.clock_ahead))} {where} this machine's",
            "times of its runs are by its own clock; set both by NTP (timedatectl set-ntp true)",
        )


def _disk(probe: Probe) -> Check:
    if not probe.disk_total:
        return Check(
            "warn", "the free space where the base directory lies is unknown", "look with df -h there"
        )
    free = (
        f"{size_bytes(probe.disk_free)} of {size_bytes(probe.disk_total)} free where the base directory lies"
    )
    few = probe.disk_free < LITTLE_DISK
    fix = "checkpoints need room: free some, or set another base directory" * few
    return Check("warn" if few else "good", free, fix)


def _interpreter(probe: Probe) -> Check:
    found = probe.interpreter
    if found is None:
        return Check("warn", "the interpreter of the stages was not looked at", "")
    if not found.ok:
        fix = f"{found.path} -m pip install nanochat there, or name a Python that has it (--python)"
        return Check(
            "bad", f"{sanitize(found.path)} cannot import nanochat: {sanitize(found.error, 200)}", fix
        )
    return Check("good", f"{sanitize(found.path)} (Python {found.python}) has nanochat {found.nanochat}")


def _gpus(probe: Probe) -> Check:
    if probe.gpus:
        names: dict[str, int] = {}
        for gpu in probe.gpus:
            label = f"{sanitize(gpu.name)} {_memory(gpu)}"
            names[label] = names.get(label, 0) + 1
        shown = ", ".join(f"{count} × {name}" for name, count in names.items())
        driver = f"driver {sanitize(probe.driver)}" if probe.driver else "driver unknown"
        return Check("good", f"{shown}, {driver}")
    if probe.nvml_error:
        return Check("warn", f"no GPU: {sanitize(probe.nvml_error, 120)}", "stages run on the CPU there")
    return Check("warn", "no GPU", "stages run on the CPU there")


def _memory(gpu: Gpu) -> str:
    if gpu.mem_total:
        return size_bytes(gpu.mem_total)
    return "(shares the host's memory)" if gpu.mem_shared else "(memory unknown)"
