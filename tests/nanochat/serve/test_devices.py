"""Where models are served: on no GPU that somebody uses, unless told; in no more memory than there is."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest
import torch

from nanochat.common.errors import UserError
from nanochat.config.serve_options import ChatWebOptions
from nanochat.serve import devices
from nanochat.serve.devices import (
    GIB,
    available_memory,
    free_gpus,
    gpu_user,
    memory_limit,
    pick_devices,
    pick_one_device,
    prefix_bytes,
    process_name,
    serving_dtype,
    told_gpus,
)

CPU = [torch.device("cpu")]


def test_the_first_free_gpus_are_taken() -> None:
    training = {0: "base_train (process 7)", 2: "base_train (process 7)"}
    assert free_gpus(2, 4, lambda number: training.get(number, "")) == [1, 3]
    asked = []
    free_gpus(1, 8, lambda number: asked.append(number) or "")  # type: ignore[func-returns-value]
    assert asked == [0]


def test_a_gpu_that_trains_is_named_with_its_run_and_the_cpu_offered() -> None:
    with pytest.raises(UserError) as error:
        free_gpus(1, 2, lambda number: f"base_train (process {number})")
    assert str(error.value) == (
        "1 free GPU is wanted, 0 there: GPU 0 is used by base_train (process 0); GPU 1 is used by base_train "
        "(process 1) (serve on the CPU with --device-type cpu, or share with --gpus 0)"
    )


@pytest.mark.parametrize(
    ("gpus", "said"),
    [
        (["x"], "not a GPU's number"),
        (["4"], "is not there"),
        (["-1"], "is not there"),
        (["1", "1"], "is there twice"),
    ],
)
def test_gpus_that_are_told_wrong(gpus: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        told_gpus(gpus, 4)


def test_gpus_that_are_told_are_taken() -> None:
    assert told_gpus(["3", "0"], 4) == [3, 0]


def test_without_cuda_the_cpu_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pick_devices(ChatWebOptions(device_type="cpu")) == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="this machine has none"):
        pick_devices(ChatWebOptions(device_type="cuda"))


def test_a_cpu_computes_in_one_type_however_busy_it_is() -> None:
    assert serving_dtype("auto", CPU[0]) == torch.float32
    assert serving_dtype("bfloat16", CPU[0]) == torch.bfloat16


def test_every_free_gpu_gets_its_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(devices, "gpu_user", lambda number: "base_train (process 7)" if number == 1 else "")
    found = pick_devices(ChatWebOptions(num_gpus=2))
    assert [device.index for device in found] == [0, 2]
    assert [device.index for device in pick_devices(ChatWebOptions(gpus=("1",)))] == [1]
    assert pick_one_device("") == torch.device("cuda", 0)
    with pytest.raises(UserError, match="this machine has 4"):
        pick_devices(ChatWebOptions(num_gpus=5))
    monkeypatch.setattr(devices, "gpu_user", lambda number: "base_train (process 7)")
    with pytest.raises(UserError, match="share with --device-type cuda"):
        pick_one_device("")
    assert pick_one_device("cuda") == torch.device("cuda", 0)


@pytest.mark.parametrize("nvml", ["answers", "is not there"])
@pytest.mark.parametrize("shared", [False, True])
def test_memory_of_the_host_tells_no_user_of_a_gpu(
    nvml: str, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GB10 has none of its own: NVML does not tell it, and CUDA tells the host's."""
    pids: list[SimpleNamespace] = []

    def memory(handle: object, version: object) -> SimpleNamespace:
        if shared:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return SimpleNamespace(used=71 * GIB)

    def begin() -> None:
        if nvml != "answers":
            raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    properties = SimpleNamespace(uuid="1234", is_integrated=shared)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: properties)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda number: (57 * GIB, 128 * GIB))
    monkeypatch.setattr(pynvml, "nvmlInit", begin)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", lambda uuid: uuid)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetComputeRunningProcesses", lambda handle: pids)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", memory)
    said = "" if shared else "somebody: 71.0G of its memory are taken"
    assert gpu_user(0) == said
    pids.append(SimpleNamespace(pid=os.getpid()))
    assert gpu_user(0) == said
    pids.append(SimpleNamespace(pid=1))
    assert gpu_user(0).endswith("process 1)" if nvml == "answers" else said)


def test_a_process_is_called_by_the_stage_it_runs() -> None:
    code = "import sys; print('started', flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", code, "nanochat.stages.base_train"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()  # for a moment after exec the kernel knows no words of it yet
            assert process_name(process.pid) == f"base_train (process {process.pid})"
        finally:
            process.kill()
    assert process_name(process.pid) == f"process {process.pid}"
    assert process_name(os.getpid()).endswith(f"(process {os.getpid()})")


def test_a_containers_limit_counts(tmp_path: Path) -> None:
    machine = available_memory(tmp_path)
    assert machine > 0
    (tmp_path / "memory.max").write_text("1000000\n", encoding="ascii")
    (tmp_path / "memory.current").write_text("400000\n", encoding="ascii")
    assert available_memory(tmp_path) == 600_000
    (tmp_path / "memory.max").write_text("max\n", encoding="ascii")
    assert available_memory(tmp_path) > 600_000


def test_memory_is_as_told_or_a_part_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory_limit(2.5, CPU) == 2.5 * GIB
    monkeypatch.setattr(devices, "available_memory", lambda: 8 * GIB)
    assert memory_limit(-1, CPU) == 4 * GIB
    assert prefix_bytes(3, 4 * GIB, "cpu") == 3 << 20
    assert prefix_bytes(0, 4 * GIB, "cpu") == 0
    assert prefix_bytes(-1, 1 << 20, "cpu") == 1 << 18
    assert prefix_bytes(-1, 100 * GIB, "cuda") == 4 * GIB
