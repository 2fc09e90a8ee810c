"""What a stage runs on, as its `stage_start` event tells it: the machine, its GPUs, Python, torch, the code.

A report is made of logs alone, maybe years later and on another machine: what is not in them cannot be told.
"""

from __future__ import annotations

import os
import platform
import sys
from functools import cache
from pathlib import Path
from typing import Any

from nanochat import __version__
from nanochat.run.run_directory import code_sha

MOST_GPUS = 64


@cache
def system_facts() -> dict[str, Any]:
    """This machine as JSON: hostname, platform, cpu, cores, ram (bytes), python, nanochat, commit, torch, and
    where NVIDIA's driver answers `gpus` (name and bytes of each), `driver` and `cuda`.

    What cannot be told is left out. Never raises; loads no library that the stage has not loaded.
    """
    found: dict[str, Any] = {
        "hostname": platform.node(),
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "ram": _ram(),
        "python": platform.python_version(),
        "nanochat": __version__,
        "commit": code_sha(),
        "torch": _torch_version(),
        **_gpus(),
    }
    return {name: value for name, value in found.items() if value}


def _cpu_name() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()[:200]
    except OSError:
        pass  # not Linux
    return platform.processor()[:200]


def _ram() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return 0


def _torch_version() -> str:
    from importlib import metadata

    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:
        return ""


def _gpus() -> dict[str, Any]:
    """The GPUs that torch sees, where the stage has loaded it; else none: their driver may be slow."""
    torch: Any = sys.modules.get("torch")
    try:
        if torch is None or not torch.cuda.is_initialized():
            return {}
        seen = [torch.cuda.get_device_properties(i) for i in range(min(torch.cuda.device_count(), MOST_GPUS))]
        gpus = [{"name": str(one.name), "bytes": int(one.total_memory)} for one in seen]
        return {"gpus": gpus, "cuda": torch.version.cuda or "", "driver": _driver()}
    except (RuntimeError, AttributeError, AssertionError):  # a driver that went away
        return {}


def _driver() -> str:
    """The driver's version, as its own file tells it."""
    try:
        with Path("/proc/driver/nvidia/version").open(encoding="utf-8", errors="replace") as file:
            words = file.readline().split()
    except OSError:
        return ""
    return next((word for word in words if word[0].isdigit() and "." in word), "")
