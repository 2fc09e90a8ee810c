"""GPUs by name: peak speed, memory, what they can; and how well published runs used them."""

import re
from dataclasses import dataclass

from nanochat.common.errors import UserError, nearest

MIB = 1 << 20


@dataclass(frozen=True)
class GpuModel:
    """A GPU of the data sheets. `name` is words that all are in the device's name."""

    name: str
    peak: float
    """Dense bfloat16 FLOP/s."""
    memory: int
    """Bytes, as the driver reports them."""
    float8: bool = False
    """Trains in float8: Hopper and newer."""


GPUS = (
    GpuModel("gb200", 2.5e15, 189_471 * MIB, True),
    GpuModel("b200", 2.25e15, 183_359 * MIB, True),
    GpuModel("b100", 1.8e15, 183_359 * MIB, True),
    GpuModel("gh200", 989e12, 97_871 * MIB, True),
    GpuModel("h200", 989e12, 143_771 * MIB, True),
    GpuModel("h100 nvl", 835e12, 95_830 * MIB, True),
    GpuModel("h100 pcie", 756e12, 81_559 * MIB, True),
    GpuModel("h100", 989e12, 81_559 * MIB, True),
    GpuModel("a100 40gb", 312e12, 40_960 * MIB),
    GpuModel("a100", 312e12, 81_920 * MIB),
    GpuModel("a800", 312e12, 81_920 * MIB),
    GpuModel("l40s", 362e12, 46_068 * MIB),
    GpuModel("l4", 121e12, 23_034 * MIB),
    GpuModel("a40", 149.7e12, 46_068 * MIB),
    GpuModel("a10g", 70e12, 23_028 * MIB),
    GpuModel("a10", 125e12, 23_028 * MIB),
    GpuModel("4090", 165.2e12, 24_564 * MIB),
    GpuModel("3090", 71e12, 24_576 * MIB),
)
"""Peaks and memory of the vendors' data sheets. The first whose words are all in a name counts, so the more
special names come first."""


def find_gpu(name: str) -> GpuModel | None:
    """The model of a device's name ("NVIDIA H100 80GB HBM3") or of a short one ("h100"); None if unknown."""
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    return next((gpu for gpu in GPUS if words.issuperset(gpu.name.split())), None)


def named_gpu(name: str) -> GpuModel:
    """The model of that name; raises `UserError` with the nearest names."""
    gpu = find_gpu(name)
    if gpu is None:
        raise UserError(
            f"no GPU called '{name}' is known", nearest(name, [gpu.name.replace(" ", "-") for gpu in GPUS])
        )
    return gpu


PUBLISHED_MFU = {False: 0.50, True: 0.57}
"""Model FLOPs utilisation, against the bfloat16 peak, of the runs on the leaderboard of upstream nanochat
(dev/LEADERBOARD.md, 8 × H100): without and with float8."""

PUBLISHED_PRICE = ("h100", 3.0)
"""Dollars a GPU-hour that the published costs assume."""
