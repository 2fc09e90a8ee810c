"""Copies of items: of bounded size together, and never another file than the one that was noted."""

import base64
import os
import resource
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from nanochat.common.errors import UserError
from remote.fleet.items_cache import Chunk, ItemsCache, chunk_of


def put(cache: ItemsCache, path: str, raw: bytes, age: float = 0.0) -> Path:
    """A copy of a file as the host has it."""
    chunk = Chunk(raw, 0, len(raw), f"{path}-{len(raw)}")
    copy = cache.begin("box", path, None)
    copy.add(chunk)
    found = copy.keep(chunk, chunk)
    copy.close()
    if age:
        os.utime(found, (1e9 - age, 1e9 - age))
    return found


def test_the_copies_not_looked_at_longest_go_first(tmp_path: Path) -> None:
    cache = ItemsCache(tmp_path / "cache", most_bytes=100)
    oldest, older = put(cache, "a", b"x" * 40, 300), put(cache, "b", b"x" * 40, 200)
    newest = put(cache, "c", b"x" * 40)
    assert not oldest.exists() and older.exists() and newest.exists()
    assert cache.find("box", "a") is None and cache.find("box", "b") is not None
    assert len(list(cache.folder.iterdir())) == 4  # two copies, and what is noted of each


def test_what_killed_programs_left_goes_after_a_day(tmp_path: Path) -> None:
    cache = ItemsCache(tmp_path)
    at_work, dead = tmp_path / ".items-a.part", tmp_path / ".items-b.part"
    for path, age in ((at_work, 3_600), (dead, 90_000)):
        path.write_bytes(b"x")
        os.utime(path, (time.time() - age,) * 2)
    put(cache, "a", b"x\n")
    assert at_work.exists() and not dead.exists()


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file of this process grows beyond 64 KiB, which the system refuses as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    cache = ItemsCache(tmp_path)
    copy = cache.begin("box", "a", None)
    with pytest.raises(UserError, match=f"cannot copy items to {tmp_path}: File too large"):
        copy.add(Chunk(b"x" * (128 << 10), 0, 128 << 10, "f"))
    copy.close()
    for use in (lambda copy, chunk: copy.digest(), lambda copy, chunk: copy.keep(chunk, chunk)):
        copy, size = cache.begin("box", "a", None), 0
        for part in (b"x" * (60 << 10), b"x" * 4_096, b"x" * 100):  # the last one waits in the buffer
            last = Chunk(part, size, size + len(part), "f")
            copy.add(last)
            size += len(part)
        with pytest.raises(UserError, match="cannot copy items"):
            use(copy, last)
        copy.close()
    assert not list(tmp_path.iterdir())


def test_a_copy_that_cannot_be_gone_on_with_leaves_nothing(tmp_path: Path) -> None:
    cache = ItemsCache(tmp_path)
    path = put(cache, "a", b"x\n")
    found = cache.find("box", "a")
    assert found is not None
    path.unlink()
    with pytest.raises(UserError, match="cannot copy items"):
        cache.begin("box", "a", found)
    assert [left.name for left in tmp_path.iterdir()] == [path.with_suffix(".json").name]


def test_a_copy_that_somebody_changed_is_none(tmp_path: Path) -> None:
    cache = ItemsCache(tmp_path)
    path = put(cache, "a", b"x\n")
    found = cache.find("box", "a")
    assert found is not None and found.path == path and cache.find("far", "a") is None
    path.write_bytes(b"longer than noted\n")
    assert cache.find("box", "a") is None
    path.write_bytes(b"x\n")
    path.with_suffix(".json").write_text("[", encoding="utf-8")
    assert cache.find("box", "a") is None


def test_a_file_that_grew_while_it_was_read_is_kept_up_to_its_last_line(tmp_path: Path) -> None:
    cache = ItemsCache(tmp_path)
    first = Chunk(b"one\ntwo\nthr", 0, 11, "f-11")
    copy = cache.begin("box", "a", None)
    copy.add(first)
    copy.add(Chunk(b"lost", 40, 50, "f-50"))  # not where it ends: asked for again
    path = copy.keep(first, Chunk(b"", 11, 50, "f-50"))
    copy.close()
    assert path.read_bytes() == b"one\ntwo\n"
    found = cache.find("box", "a")
    assert found is not None and found.identity == ""  # the rest is asked for the next time


@pytest.mark.parametrize(
    "change",
    [
        {"zlib": "!"},
        {"zlib": base64.b64encode(b"no zlib").decode()},
        {"size": -1},
        {"offset": "0"},
        {"before": 3},
    ],
)
def test_an_answer_that_is_none_is_one_line(change: dict[str, object]) -> None:
    told = {
        "offset": 0,
        "size": 1,
        "identity": "i",
        "before": "",
        "zlib": base64.b64encode(zlib.compress(b"x")).decode(),
    }
    assert chunk_of("box", dict(told)).raw == b"x"
    with pytest.raises(UserError, match="host 'box' gave an answer we cannot read"):
        chunk_of("box", {**told, **change})


def test_an_answer_that_unpacks_to_far_more_is_cut(tmp_path: Path) -> None:
    packed = base64.b64encode(zlib.compress(b"\0" * (64 << 20))).decode()
    told = {"offset": 0, "size": 1, "identity": "i", "before": "", "zlib": packed}
    assert len(chunk_of("box", told).raw) == 4 << 20
