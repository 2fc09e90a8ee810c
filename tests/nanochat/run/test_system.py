"""What a stage says of its machine: known facts alone, GPUs as torch names them, and never an error."""

import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from nanochat.run import system
from nanochat.run.system import system_facts


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    system_facts.cache_clear()
    yield
    system_facts.cache_clear()


def cuda(**changes: object) -> SimpleNamespace:
    """torch as far as it is asked, with two GPUs."""
    of = SimpleNamespace(name="NVIDIA H200", total_memory=150_000_000_000)
    found = {
        "is_initialized": lambda: True, "device_count": lambda: 2,
        "get_device_properties": lambda index: of,
    }  # fmt: skip
    return SimpleNamespace(cuda=SimpleNamespace(**{**found, **changes}), version=SimpleNamespace(cuda="12.8"))


def test_it_tells_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    found = system_facts()
    assert found["hostname"] == platform.node() and found["python"] == platform.python_version()
    assert found["cores"] >= 1 and found["ram"] > 1 << 28 and found["torch"]
    assert "gpus" not in found and all(found.values())


def test_gpus_are_those_that_torch_works_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", cuda())
    monkeypatch.setattr(system, "_driver", lambda: "570.86.10")
    found = system_facts()
    assert found["gpus"] == [{"name": "NVIDIA H200", "bytes": 150_000_000_000}] * 2
    assert (found["cuda"], found["driver"]) == ("12.8", "570.86.10")


def test_a_driver_that_went_away_costs_the_gpus_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(index: int) -> object:
        raise RuntimeError("CUDA error: unknown error")

    monkeypatch.setitem(sys.modules, "torch", cuda(get_device_properties=gone))
    found = system_facts()
    assert "gpus" not in found and found["python"]


@pytest.mark.parametrize(
    ("line", "version"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024",
            "535.183.01",
        ),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.10  Release Build", "570.86.10"),
        ("", ""),
    ],
)
def test_the_driver_is_read_from_its_own_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, version: str
) -> None:
    (tmp_path / "version").write_text(line, encoding="utf-8")
    monkeypatch.setattr(system, "Path", lambda _: tmp_path / "version")
    assert system._driver() == version


def test_it_loads_no_library_of_its_own() -> None:
    code = "import sys; from nanochat.run.system import system_facts as f; f(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
