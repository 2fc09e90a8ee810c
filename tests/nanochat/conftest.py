"""Fixtures of the pipeline's tests."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chat_models import make_chat_base
from training_data import link_base, make_base

from nanochat.common.paths import Layout


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base directory with a tokenizer and small shards, for every test to link to."""
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def base(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A base directory of the test's own with tokenizer and data, and nothing trained."""
    link_base(template, tmp_path)
    monkeypatch.delenv("NANOCHAT_RUN_DIR", raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def chat_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base directory with small random models of both eras, base and chat; not to be written to."""
    return make_chat_base(tmp_path_factory.mktemp("chat"))


@pytest.fixture
def chat_base(chat_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A copy of it for the test alone."""
    shutil.copytree(chat_template, tmp_path / "chat-base")
    monkeypatch.delenv("NANOCHAT_RUN_DIR", raising=False)
    return Layout(tmp_path / "chat-base")


@pytest.fixture
def mount_tmpfs() -> Iterator[Callable[[Path, str], Path]]:
    """Mounts a file system of a size ("2m") on a folder, for as long as the test runs."""
    mounted: list[Path] = []

    def mount(folder: Path, size: str) -> Path:
        folder.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            pytest.skip("needs the right to mount a tmpfs")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path, mount_tmpfs: Callable[[Path, str], Path]) -> Path:
    """A file system of one mebibyte."""
    return mount_tmpfs(tmp_path / "disk", "1m")


@pytest.fixture
def left_behind() -> Callable[[], set[psutil.Process]]:
    """Gives the processes below this one that were not there when the test began (other tests start some)."""
    before = set(psutil.Process().children(recursive=True))
    return lambda: set(psutil.Process().children(recursive=True)) - before


@pytest.fixture(scope="session")
def shard() -> bytes:
    """A small shard, as a file."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": ["one", "two"]}), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content
