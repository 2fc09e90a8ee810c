"""Folders written completely or not at all: what is swept, what is not, and who may write."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nanochat.common import atomic_folder
from nanochat.common.atomic_folder import (
    AtomicFolder,
    FolderLock,
    commit,
    has_writer,
    remove,
    sweep,
    temp_folder,
)
from nanochat.common.errors import UserError

WRITER = """
import sys, time
from pathlib import Path
from nanochat.common.atomic_folder import FolderLock
lock = FolderLock(Path(sys.argv[1]))
(Path(sys.argv[1]) / "file").write_text("half")
print("locked", flush=True)
time.sleep(60)
"""


@contextmanager
def writer(temp: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that is writing into `temp`; killed at the end."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(temp)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        try:
            yield process
        finally:
            process.kill()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def everything(name: str) -> bool:
    return True


def test_only_what_dead_writers_left_is_swept(tmp_path: Path) -> None:
    out = tmp_path / "out"
    living, dead = temp_folder(out, "living"), temp_folder(out, "dead")
    with writer(living), writer(dead) as victim:
        sweep(tmp_path, everything)
        assert names(tmp_path) == [".out.dead.tmp", ".out.living.tmp"]
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        sweep(tmp_path, everything)
        assert names(tmp_path) == [".out.living.tmp"]
        assert has_writer(out)
        assert not has_writer(out, besides=living)
    assert not has_writer(out)


def test_a_replaced_folder_returns_only_when_its_writer_is_dead(tmp_path: Path) -> None:
    """Between the two renames of a commit there is no folder: a living writer is about to put its own
    there."""
    replaced = tmp_path / ".out.replaced"
    replaced.mkdir()
    (replaced / "file").write_text("old")
    with writer(temp_folder(tmp_path / "out", "token")):
        sweep(tmp_path, everything)
        assert replaced.exists()
    sweep(tmp_path, everything)
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out" / "file").read_text() == "old"


def test_folders_of_others_are_not_swept(tmp_path: Path) -> None:
    for name in (".other.token.tmp", ".other.replaced", ".other.deleted", ".out", ".out.tmp"):
        (tmp_path / name).mkdir()
    (tmp_path / ".out.json.token.tmp").write_text("a file being written, not a folder")
    before = names(tmp_path)
    sweep(tmp_path, lambda name: name in ("out", "out.json"))
    assert names(tmp_path) == before


def test_a_commit_replaces_and_meets_another_writers_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for text in ("first", "second"):
        temp = temp_folder(out, text)
        lock = FolderLock(temp)
        (temp / "file").write_text(text)
        commit(temp, out)
        lock.release()
        lock.release()
        assert (out / "file").read_text() == text
        assert names(tmp_path) == ["out"]
    remove(out)
    assert names(tmp_path) == []


def test_a_commit_that_fails_leaves_the_old_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "file").write_text("old")
    with pytest.raises(OSError, match="gone"):
        commit(tmp_path / "gone", out)
    assert (out / "file").read_text() == "old"
    assert names(tmp_path) == ["out"]


def test_a_locked_folder_that_was_swept_before_it_was_locked_is_made_again(tmp_path: Path) -> None:
    temp = temp_folder(tmp_path / "out", "token")
    first = FolderLock(temp)
    temp.rename(tmp_path / "elsewhere")
    second = FolderLock(temp)
    assert temp.is_dir()
    first.release()
    sweep(tmp_path, everything)
    assert temp.is_dir()
    second.release()
    sweep(tmp_path, everything)
    assert names(tmp_path) == ["elsewhere"]


def test_a_lock_that_somebody_else_holds_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic_folder, "LOCK_SECONDS", 0.0)
    temp = temp_folder(tmp_path / "out", "token")
    FolderLock(temp).release()
    assert temp.stat().st_mode & 0o777 == 0o700  # nobody else can open it, and so lock it
    held = os.open(temp, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(OSError, match="another process holds the lock"):
        FolderLock(temp)
    os.close(held)
    FolderLock(temp).release()


def test_a_second_writer_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with AtomicFolder(tmp_path / "out", everything) as new:
        (new.content / "file").write_text("mine")
        with (
            pytest.raises(UserError, match="another process is writing"),
            AtomicFolder(tmp_path / "out", everything),
        ):
            pass
        assert len(names(tmp_path)) == 1
        new.commit()
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["file"]


def test_without_a_commit_nothing_is_left(tmp_path: Path) -> None:
    with AtomicFolder(tmp_path / "out", everything) as new:
        (new.scratch / "file").write_text("x")
    assert names(tmp_path) == []
    with pytest.raises(UserError, match="No such file"), AtomicFolder(tmp_path / "out", everything) as new:
        (new.content / "not/there").write_text("x")
    assert names(tmp_path) == []


def test_files_of_others_are_never_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "ours").write_text("old")
    with pytest.raises(UserError, match="already holds 1 files"), AtomicFolder(out, everything):
        pass
    (out / "notes.txt").write_text("mine")
    with (
        pytest.raises(UserError, match=r"notes\.txt"),
        AtomicFolder(out, lambda name: name == "ours", overwrite=True),
    ):
        pass
    assert names(out) == ["notes.txt", "ours"]
