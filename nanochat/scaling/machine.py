"""The machine a training is planned for: known GPUs, those here, or this CPU (only these load torch)."""

import os
from dataclasses import dataclass

from nanochat.compute.gpus import PUBLISHED_PRICE, GpuModel, find_gpu

MEASURED_SIZE, MEASURED_SECONDS = 1024, 0.3
"""Of the matrix products that a CPU's speed is measured on: large enough for full speed, and short."""


@dataclass(frozen=True)
class Machine:
    """What trains: `count` equal devices. `peak` is FLOP/s of one, on a CPU in its compute type."""

    name: str
    count: int
    memory: int | None
    """Bytes of one device; None where it is not known: then neither is what fits."""
    peak: float | None
    """None where it is not known: then neither is the time."""
    kind: str = "cuda"
    """cuda or cpu."""
    dtype: str = "bfloat16"
    """What `--dtype auto` means there."""
    float8: bool = False
    price: float | None = None
    """Dollars an hour of one device."""

    @property
    def label(self) -> str:
        return f"{self.count} × {self.name}" if self.kind == "cuda" else self.name


def gpu_machine(
    model: GpuModel, count: int, price: float | None = None, memory: int | None = None
) -> Machine:
    """`count` GPUs of a known model. `memory` bytes of one, where it was looked up, else its usual size."""
    if price is None and model.name == PUBLISHED_PRICE[0]:
        price = PUBLISHED_PRICE[1]
    label = model.name.upper().replace(" ", "-")
    return Machine(label, count, memory or model.memory, model.peak, float8=model.float8, price=price)


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
        name=properties.name,
        count=count,
        memory=memory,
        peak=None,
        dtype="bfloat16" if properties.major >= 8 else "float32",  # Ampere and newer
        float8=properties.major >= 9,  # Hopper and newer
        price=price,
    )


def cpu_here(dtype: str, price: float | None) -> Machine:
    """This machine's CPU, its speed measured for a moment on matrix products of the compute type."""
    import torch

    from nanochat.compute.device import matmul_flops, pick_dtype

    chosen = pick_dtype(dtype, torch.device("cpu"))
    return Machine(
        name=f"this CPU ({torch.get_num_threads()} threads)",
        count=1,
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        peak=matmul_flops(chosen, MEASURED_SIZE, MEASURED_SECONDS),
        kind="cpu",
        dtype=str(chosen).removeprefix("torch."),
        price=price,
    )
