"""The machine a stage computes on: device, compute type, processes of one group, peak FLOP/s."""

import atexit
import ctypes
import gc
import math
import os
import sys
import time
from dataclasses import dataclass
from datetime import timedelta

import torch

from nanochat.common.environment import env_number
from nanochat.common.errors import UserError, one_line
from nanochat.compute.gpus import find_gpu
from nanochat.compute.ranks import Ranks
from nanochat.compute.rendezvous import RENDEZVOUS, world_size
from nanochat.compute.rendezvous import rank as own_rank

GROUP_TIMEOUT = timedelta(minutes=30)
"""How long a process waits for another: rank 0 alone samples and writes checkpoints' metadata."""

MIN_SPEEDUP = 1.2
"""bfloat16 products must be this much faster on a CPU: casts cost some, and float32 is the safer type."""

GC_EVERY = 5000
"""Steps between collections once the collector is frozen: a scan costs about half a second."""


@dataclass(frozen=True)
class Runtime:
    """What one process computes with."""

    device: torch.device
    dtype: torch.dtype
    rank: int = 0
    world: int = 1

    @property
    def ranks(self) -> Ranks:
        return Ranks(self.rank, self.world)

    @property
    def name(self) -> str:
        """The device as people call it."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type

    @property
    def embedding_dtype(self) -> torch.dtype:
        """Type the embedding tables are kept in: the compute type where memory is short, else float32.

        A gradient summed in bfloat16 over the tokens of a batch loses most of what a rare token adds, so on a
        CPU, where nothing is gained, tables stay float32. float16 gradients could not be unscaled.
        """
        return self.dtype if self.device.type == "cuda" and self.dtype == torch.bfloat16 else torch.float32

    @property
    def muon_dtype(self) -> torch.dtype:
        """Type of the matrix products that orthogonalise Muon's updates."""
        return torch.bfloat16 if self.dtype == torch.bfloat16 else torch.float32

    @property
    def peak_flops(self) -> float | None:
        """Peak dense bfloat16 FLOP/s of the device, None when it is not known."""
        if self.device.type != "cuda":
            return None
        gpu = find_gpu(self.name)
        return gpu.peak if gpu is not None else None

    def synchronize(self) -> None:
        """Waits until the device has finished all its work, for timing."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()

    def peak_memory(self) -> int:
        """Bytes: the device's peak allocation, or on a CPU the process's peak resident size."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def setup_runtime(device_type: str = "", dtype: str = "auto") -> Runtime:
    """The runtime of this process from its options and torchrun's environment.

    Raises `UserError` when the device is not there, the type does not fit it, or the other processes of
    the group cannot be joined.
    """
    rank, world = join_group(device_type)
    device = pick_device(device_type)
    # float32 products may use TF32 (10 mantissa bits) on GPUs that have it: enough where bfloat16's 7 are.
    torch.set_float32_matmul_precision("high")
    if device.type == "cpu":
        keep_freed_memory()
    # `auto` measures this machine, so every rank takes what rank 0 found.
    kind = Ranks(rank, world).broadcast(pick_dtype(dtype, device))
    return Runtime(device, kind, rank, world)


def join_group(device_type: str) -> tuple[int, int]:
    """(rank, world) of this process; joins the others that were started with it, if any.

    nccl on GPUs, one a process, else gloo. They meet through the file that `nanochat.run.launcher` gives,
    or as torchrun's variables say. Raises `UserError` when there are fewer GPUs than processes here, or the
    others cannot be reached, or a variable is no number.
    """
    world, rank = world_size(), own_rank()
    if world == 1:
        return 0, 1
    local = env_number("LOCAL_RANK", 0)
    cuda = device_type == "cuda" or (not device_type and torch.cuda.is_available())
    if cuda:
        if local >= torch.cuda.device_count():
            raise UserError(
                f"process {local} of this machine has no GPU: there are {torch.cuda.device_count()}",
                "start one process a GPU",
            )
        torch.cuda.set_device(local)
    if not torch.distributed.is_initialized():
        file = os.environ.pop(RENDEZVOUS, "")  # what this process starts is no part of its group
        try:
            torch.distributed.init_process_group(
                "nccl" if cuda else "gloo",
                init_method=f"file://{file}" if file else "env://",
                timeout=GROUP_TIMEOUT,
                world_size=world,
                rank=rank,
            )
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"the {world} processes did not find each other: {one_line(str(error))}"
            ) from error
        atexit.register(leave_group)
    return rank, world


def leave_group() -> None:
    """Takes this process out of its group, if it is in one."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def pick_device(device_type: str) -> torch.device:
    """The device asked for, or the best there is. Raises `UserError` when it is not there."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if not device_type:
        device_type = next(name for name, there in available.items() if there)
    if not available.get(device_type, False):
        there = ", ".join(name for name, here in available.items() if here)
        raise UserError(f"--device-type {device_type}: this machine has none", f"it has: {there}")
    return (
        torch.device("cuda", torch.cuda.current_device())
        if device_type == "cuda"
        else torch.device(device_type)
    )


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """The compute type. `auto` is bfloat16 where it is native and fast, else float32."""
    if name != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]
    if device.type == "cuda":
        # Native from Ampere on; before, float16 must be asked for, as its loss scale changes the training.
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float32
    if device.type == "cpu" and bfloat16_speedup() > MIN_SPEEDUP:
        return torch.bfloat16
    return torch.float32


def bfloat16_speedup() -> float:
    """How many times faster this CPU multiplies bfloat16 matrices than float32 ones, measured."""
    return matmul_flops(torch.bfloat16) / matmul_flops(torch.float32)


def matmul_flops(dtype: torch.dtype, size: int = 512, seconds: float = 0.03) -> float:
    """FLOP/s of this CPU on square matrix products: the fastest of those that `seconds` allow."""
    a = torch.ones(size, size, dtype=dtype)
    a @ a  # the first product also starts threads and picks a kernel
    best, begin = math.inf, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)  # other work on the machine only makes one slower
    return float(2 * size**3 / best)


# M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h.
MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""Parameters of glibc's mallopt(3)."""


def keep_freed_memory() -> None:
    """Has glibc keep freed memory for the next allocation, as long as the process lives.

    By default it returns tensors of some megabytes to the kernel and gets them again, zeroed a page at a
    time, within every step. Does nothing with another C library, or where glibc's tunables are set.
    """
    if any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if sys.platform == "linux" and mallopt is not None:
        mallopt(MMAP_THRESHOLD, 32 << 20)  # the largest there is
        mallopt(TRIM_THRESHOLD, 1 << 30)


def freeze_garbage_collector() -> None:
    """Takes all objects that live now out of the collector's scans, and turns it off."""
    gc.collect()
    gc.freeze()
    gc.disable()
