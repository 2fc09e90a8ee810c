"""Compiles the fake libnvidia-ml.so.1."""

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("fake_nvml.c")


def build(folder: Path, *defines: str) -> Path:
    """The folder that holds the library, for the front of LD_LIBRARY_PATH."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler for the fake NVML library")
    flags = ["-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC"]
    library = folder / "libnvidia-ml.so.1"
    subprocess.run(
        [compiler, *flags, *(f"-D{name}" for name in defines), "-o", library, SOURCE],
        check=True, timeout=120,
    )  # fmt: skip
    return folder
