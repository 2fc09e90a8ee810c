"""Files that somebody else made: a pipe is never waited for, a size never unbounded."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nanochat.common.errors import UserError
from nanochat.common.files import open_regular, read_regular, regular_text
from nanochat.common.paths import Layout
from nanochat.config.plan import load_plan
from nanochat.data.fingerprint import shards_fingerprint
from nanochat.data.manifest import MANIFEST, built_shard
from nanochat.data.shards import ShardSet, open_parquet
from nanochat.evals.bundle import CoreTask, read_bundle
from nanochat.tasks.customjson import CustomJson
from nanochat.tasks.identity import read_identity
from nanochat.tasks.words import read_words


@pytest.fixture(autouse=True)
def at_once() -> Iterator[None]:
    """Fails what waits, instead of waiting with it."""

    def fail(*_: object) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def test_only_a_regular_file_of_a_bounded_size_is_read(tmp_path: Path, pipe: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"a\r\nb\rc\n")
    assert read_regular(file, 7) == b"a\r\nb\rc\n"
    assert regular_text(file) == "a\nb\nc\n"
    with pytest.raises(OSError, match="larger than 6 bytes"):
        read_regular(file, 6)
    for other in (pipe, tmp_path, Path("/dev/zero")):
        with pytest.raises(OSError, match="no regular file"):
            open_regular(other)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")


def rows_of_a_bundle(path: Path) -> None:
    CoreTask("t", "multiple_choice", path, 0, " ", 0.0).rows()


def parquet(path: Path) -> None:
    with open_parquet(path):
        pass


READERS: list[Callable[[Path], object]] = [
    read_words,
    read_identity,
    CustomJson,
    lambda path: load_plan(str(path), Layout(path.parent)),
    rows_of_a_bundle,
    parquet,
]


@pytest.mark.parametrize("read", READERS)
def test_a_pipe_is_no_input(pipe: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(UserError, match=r"pipe.*no regular file"):
        read(pipe)


@pytest.mark.parametrize("name", ["core.yaml", "eval_meta_data.csv"])
def test_a_pipe_is_no_part_of_a_bundle(tmp_path: Path, name: str) -> None:
    (tmp_path / "core.yaml").write_text("icl_tasks: []\n")
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match=rf"cannot read .*{name} of the CORE bundle: it is no regular file"):
        read_bundle(tmp_path)


def test_a_pipe_is_no_manifest_of_shards(tmp_path: Path) -> None:
    shard = tmp_path / "shard_00000.parquet"
    shard.write_bytes(b"x")
    plain = shards_fingerprint(ShardSet(tmp_path, (shard,), shard))
    os.mkfifo(tmp_path / MANIFEST)
    assert built_shard(shard) is None
    assert shards_fingerprint(ShardSet(tmp_path, (shard,), shard)) == plain
