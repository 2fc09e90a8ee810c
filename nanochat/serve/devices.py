"""Where models are served: a GPU that nothing else uses, or the CPU; how much of its memory they may take.

A training is never slowed down, or pushed out of memory, by a server that nobody told to share its GPU.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import torch

from nanochat.common.errors import UserError
from nanochat.common.fields import parse_int
from nanochat.common.text import size_bytes
from nanochat.compute.device import pick_device, pick_dtype
from nanochat.config.serve_options import ChatWebOptions
from nanochat.config.stages import STAGES

MIB, GIB = 1 << 20, 1 << 30
USED = GIB
"""More used memory than this means that somebody uses a GPU, also where his processes cannot be seen."""
CPU_SHARE, GPU_SHARE = 0.5, 0.9
"""Part of the free memory that models may take, where nothing is said."""
PREFIX_MIB = {"cpu": 512, "mps": 512, "cuda": 4096}


def pick_devices(options: ChatWebOptions) -> list[torch.device]:
    """The devices that each hold a copy of every model. Raises `UserError` when there are not as many."""
    kind = options.device_type or pick_device("").type
    if kind != "cuda":
        if options.gpus or options.num_gpus > 1:
            flag = "--gpus" if options.gpus else "--num-gpus"
            raise UserError(f"{flag}: no CUDA device is used here", f"models run on: {kind}")
        return [pick_device(kind)]
    pick_device("cuda")  # is there one?
    count = torch.cuda.device_count()
    if options.gpus:
        return [torch.device("cuda", number) for number in told_gpus(options.gpus, count)]
    if options.num_gpus > count:
        raise UserError(f"--num-gpus {options.num_gpus}: this machine has {count}")
    return [torch.device("cuda", number) for number in free_gpus(options.num_gpus, count, gpu_user)]


def pick_one_device(device_type: str) -> torch.device:
    """The device for one chat: as told, else a free GPU, else what there is. Raises `UserError`."""
    device = pick_device(device_type)
    if device_type or device.type != "cuda":
        return device
    return torch.device("cuda", free_gpus(1, torch.cuda.device_count(), gpu_user, "--device-type cuda")[0])


def told_gpus(gpus: Sequence[str], count: int) -> list[int]:
    """The numbers of `--gpus`. Raises `UserError` for one that is none of `count`, or there twice."""
    numbers = []
    for text in gpus:
        try:
            number = parse_int(text)
        except ValueError:
            raise UserError(f"--gpus: '{text[:80]}' is not a GPU's number", f"0 to {count - 1}") from None
        if not 0 <= number < count or number in numbers:
            what = "is there twice" if number in numbers else f"is not there: this machine has {count}"
            raise UserError(f"--gpus: GPU {number} {what}")
        numbers.append(number)
    return numbers


def free_gpus(wanted: int, count: int, user: Callable[[int], str], share: str = "") -> list[int]:
    """The first `wanted` GPUs of which `user` knows no user. Raises `UserError` that names theirs,
    and `share`, the option that shares one (default --gpus)."""
    free, users = [], []
    for number in range(count):
        if used_by := user(number):
            users.append((number, used_by))
        else:
            free.append(number)
            if len(free) == wanted:
                return free
    said = "; ".join(f"GPU {number} is used by {used_by}" for number, used_by in users[:8])
    raise UserError(
        f"{wanted} free GPU{'s are' if wanted > 1 else ' is'} wanted, {len(free)} there: {said}",
        f"serve on the CPU with --device-type cpu, or share with {share or f'--gpus {users[0][0]}'}",
    )


def gpu_user(number: int) -> str:
    """Who uses a GPU beside this process; "" for nobody."""
    try:
        import pynvml

        pynvml.nvmlInit()
        # torch counts what CUDA_VISIBLE_DEVICES shows, NVML everything: the UUID is the same.
        uuid = f"GPU-{torch.cuda.get_device_properties(number).uuid}"
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        others = [p.pid for p in pynvml.nvmlDeviceGetComputeRunningProcesses(handle) if p.pid != os.getpid()]
        used = own_memory_used(pynvml, handle)
    except Exception:  # an old driver's mismatch is no NVMLError; a slice of a GPU (MIG) has another handle
        others, used = [], 0
        if not torch.cuda.get_device_properties(number).is_integrated:
            free, total = torch.cuda.mem_get_info(number)
            used = total - free
    if others:
        return process_name(others[0])
    return f"somebody: {size_bytes(used)} of its memory are taken" if used > USED else ""


def own_memory_used(nvml: Any, handle: Any) -> int:
    """Bytes used of a GPU's own memory; 0 for one without, such as NVIDIA's GB10.

    That one works in the host's memory, of which other programs always use some: that tells no user of it.
    """
    try:
        return int(nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2).used)
    except nvml.NVMLError as error:
        if error.value == nvml.NVML_ERROR_NOT_SUPPORTED:
            return 0
        raise


def process_name(pid: int) -> str:
    """A process as people know it: the stage that it runs, or its program."""
    try:
        process = psutil.Process(pid)
        words = [Path(word).name.removesuffix(".py").rpartition(".")[2] for word in process.cmdline()]
        stage = next((word for word in words if word in STAGES), "") or process.name()
    except psutil.Error:  # it is another user's, or gone
        return f"process {pid}"
    return f"{stage} (process {pid})"


def serving_dtype(name: str, device: torch.device) -> torch.dtype:
    """The compute type. `auto` on a CPU is float32, whose answers are the same in every process: which type
    is faster there is measured, and a busy moment would change the answers."""
    return pick_dtype("float32" if name == "auto" and device.type == "cpu" else name, device)


def memory_limit(max_memory: float, devices: Sequence[torch.device]) -> int:
    """Bytes that models may take on each device: GiB as told, or a part of what is free."""
    if max_memory > 0:
        return int(max_memory * GIB)
    if devices[0].type == "cuda":
        return int(GPU_SHARE * min(torch.cuda.mem_get_info(device)[0] for device in devices))
    return int(CPU_SHARE * available_memory())


def available_memory(group: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that this process can still take: the machine's, or its container's where that has fewer."""
    machine = int(psutil.virtual_memory().available)
    try:
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        used = int((group / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):  # no container's limit: "max", or no such file
        return machine
    return max(0, min(machine, limit - used))


def prefix_bytes(mib: int, limit: int, kind: str) -> int:
    """Bytes of a prefix cache: MiB as told, else the device's default, at most a quarter of `limit`."""
    return mib * MIB if mib >= 0 else min(PREFIX_MIB[kind] * MIB, limit // 4)
