"""A new file is complete or not there, and what is there is not replaced unasked."""

import errno
import os
import stat
from pathlib import Path

import pytest

from nanochat.common.errors import UserError
from nanochat.common.new_file import check_new, free_name, new_file


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_file_has_its_name_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with new_file(path) as temp:
        temp.write_text("x")
        assert not path.exists()
    assert path.read_text() == "x" and left(tmp_path) == ["a.csv"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_file_that_is_there_stays_until_it_may_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old")
    with pytest.raises(UserError, match="is there already"), new_file(path):
        raise AssertionError("not begun")
    with pytest.raises(UserError, match="is there already"), new_file(tmp_path / "b.csv") as temp:
        temp.write_text("mine")
        (tmp_path / "b.csv").write_text("somebody was quicker")
    assert (tmp_path / "b.csv").read_text() == "somebody was quicker"
    with new_file(path, replace=True) as temp:
        temp.write_text("new")
    assert path.read_text() == "new" and left(tmp_path) == ["a.csv", "b.csv"]


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EIO, "bad")]
)
def test_an_error_leaves_nothing_half(tmp_path: Path, error: OSError) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old")
    with pytest.raises(UserError, match=r"disk is full|bad"), new_file(path, replace=True) as temp:
        temp.write_text("half")
        raise error
    assert path.read_text() == "old" and left(tmp_path) == ["a.csv"]
    with pytest.raises(KeyError), new_file(tmp_path / "b") as temp:
        raise KeyError
    assert left(tmp_path) == ["a.csv"]


def test_what_is_no_file_or_has_no_folder_is_one_line(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UserError, match="no ordinary file"):
        check_new(pipe, replace=True)
    with pytest.raises(UserError, match="is a folder"):
        check_new(tmp_path)
    with pytest.raises(UserError, match="there is no folder"):
        check_new(tmp_path / "no" / "a")
    with pytest.raises(UserError, match="cannot write"), new_file(tmp_path / ("x" * 300)):
        pass
    assert left(tmp_path) == ["pipe"]


def test_behind_a_link_the_file_itself_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    with new_file(tmp_path / "link", replace=True) as temp:
        temp.write_text("new")
    assert (tmp_path / "real").read_text() == "new" and (tmp_path / "link").is_symlink()


def test_a_free_name_counts_up(tmp_path: Path) -> None:
    assert free_name(tmp_path / "a-7.svg").name == "a-7.svg"
    for name in ("a-7.svg", "a-7-2.svg"):
        (tmp_path / name).touch()
    assert free_name(tmp_path / "a-7.svg").name == "a-7-3.svg"
