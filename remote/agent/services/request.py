"""What `serve` is asked, checked before anything is started, and the server's command line from it."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from ..documents import LONGEST_GRACE
from ..files import AgentError
from .folder import check_holder

if TYPE_CHECKING:
    from .devices import Device

    Json = dict[str, Any]

DEVICE = re.compile(r"cpu|cuda:\d{1,4}")
GIB = 1 << 30
CPU_SHARE, GPU_SHARE, SHARED_GPU_SHARE = 0.5, 0.9, 0.5
"""Part of the free memory that models may take; less where a run is at work that may want more."""
LEAST_GIB = 0.05
CPU_NICE = 10
"""Of a server beside a run on the same processors: the run goes first."""


class Wanted(NamedTuple):
    """A service that `holder` wants. `device` None: the agent chooses."""

    device: str | None
    python: str
    holder: str
    lease_seconds: float
    unload_after: float

    @classmethod
    def parse(cls, content: Json) -> Wanted:
        """Raises AgentError that names the first thing wrong."""
        device, python = content.get("device"), content.get("python")
        if device is not None and not (isinstance(device, str) and DEVICE.fullmatch(device)):
            raise AgentError(f"'{str(device)[:80]}' is no device: cpu, or cuda:0", "device")
        if not isinstance(python, str) or not python:
            raise AgentError("'python' must be the interpreter", "usage")
        return cls(
            device,
            python,
            check_holder(content.get("holder")),
            _seconds(content, "lease_seconds"),
            _seconds(content, "unload_after"),
        )

    def argv(self, device: Device) -> list[str]:
        """The server's command line on `device`, its memory bounded by what is free now."""
        words = [
            os.path.expanduser(self.python),
            "-m",
            "nanochat.stages.chat_web",
            "--all-models",
            "--json",
            "--port",
            "0",
        ]
        words += ["--unload-after", f"{self.unload_after / 60:g}"]
        share = CPU_SHARE
        if device.name == "cpu":
            words += ["--device-type", "cpu"]
            if device.run:
                words = ["nice", "-n", str(CPU_NICE), *words]
        else:
            words += ["--device-type", "cuda", "--gpus", "0"]
            share = SHARED_GPU_SHARE if device.run or device.other else GPU_SHARE
        if device.free is not None:
            words += ["--max-memory", f"{max(LEAST_GIB, share * device.free / GIB):.3f}"]
        return words


def _seconds(content: Json, name: str) -> float:
    value = content.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= LONGEST_GRACE:
        raise AgentError(f"'{name}' must be a number of seconds", "usage")
    return float(value)
