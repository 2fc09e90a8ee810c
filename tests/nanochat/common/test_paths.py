"""Where artifacts live, and files written whole or not at all."""

import subprocess
from pathlib import Path

import pytest

from nanochat.common.errors import UserError
from nanochat.common.paths import Layout, atomic_write, base_dir, expanded


def test_the_base_directory_is_the_explicit_one_else_the_environment_else_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("NANOCHAT_BASE_DIR", str(tmp_path / "env"))
    assert base_dir(tmp_path / "x") == tmp_path / "x"
    assert base_dir() == tmp_path / "env"
    monkeypatch.delenv("NANOCHAT_BASE_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert base_dir() == tmp_path / ".cache" / "nanochat"


def test_modern_data_goes_before_classic(layout: Layout):
    assert layout.data_dir() == layout.base / "base_data"
    (layout.base / "base_data_climbmix").mkdir()
    assert layout.data_dir() == layout.base / "base_data_climbmix"
    assert layout.data_dir("{base}/demo") == layout.base / "demo"


def test_a_replaced_file_is_the_old_or_the_new_one(tmp_path: Path):
    path = tmp_path / "state.json"
    atomic_write(path, "old")
    atomic_write(path, b"new")
    assert path.read_text() == "new"
    assert [item.name for item in tmp_path.iterdir()] == ["state.json"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path):
    mount = tmp_path / "small"
    mount.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", mount], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        atomic_write(mount / "a", "old")
        with pytest.raises(UserError, match="No space left on device") as caught:
            atomic_write(mount / "a", b"x" * 1_000_000)
        assert caught.value.exit_code == 1
        assert (mount / "a").read_text() == "old"
        assert [item.name for item in mount.iterdir()] == ["a"]
    finally:
        subprocess.run(["umount", mount], check=True)


def test_a_base_directory_that_nobody_can_look_into_is_one_line(tmp_path: Path, monkeypatch):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for path, told in ((tmp_path / ("x" * 300), "File name too long"), (loop, "Too many levels")):
        with pytest.raises(UserError, match=told):
            base_dir(path)
    assert base_dir(tmp_path / "not there") == tmp_path / "not there"
    monkeypatch.setattr("os.access", lambda path, mode: False)  # as for another user than root
    with pytest.raises(UserError, match=r"cannot look into the base directory .*Permission denied"):
        base_dir(tmp_path)


def test_a_home_that_is_not_there_is_one_line():
    for use in (expanded, base_dir, Layout(Path("/")).resolve):
        with pytest.raises(UserError, match="there is no such home directory"):
            use("~nobody-of-this-name/x")


def test_a_text_that_utf_8_cannot_hold_is_written(tmp_path: Path) -> None:
    atomic_write(tmp_path / "file", "half a letter: \ud83d")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "half a letter: \ufffd"


def test_a_path_under_the_base_directory_is_told_without_it(layout: Layout) -> None:
    assert layout.told(layout.base / "cc_dialogue" / "talk.md") == "cc_dialogue/talk.md"
    assert layout.told(Path("/elsewhere/talk.md")) == "/elsewhere/talk.md"
