"""A console log is read in windows; what is shown equals the file, however it is walked through."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat.common.text import sanitize
from tui.data import console as module
from tui.data.console import CHUNK, Console, Fetch


class File:
    """Bytes that grow, and how much of them was read."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data
        self.read = 0

    async def fetch(self, offset: int, most: int) -> tuple[bytes, int, int]:
        at = max(0, len(self.data) + offset) if offset < 0 else min(offset, len(self.data))
        part = self.data[at : at + most]
        self.read += len(part)
        return part, at, len(self.data)


def lines_of(data: bytes) -> list[str]:
    whole = data.split(b"\n")
    return [sanitize(line.decode("utf-8", "replace")) for line in (whole if whole[-1] else whole[:-1])]


def open_console(fetch: Fetch) -> Console:
    return Console(fetch)


text = st.lists(st.binary(max_size=40).map(lambda raw: raw.replace(b"\n", b" ")), max_size=60).map(b"\n".join)


@settings(deadline=None)
@given(text, st.integers(min_value=41, max_value=200))
def test_walking_back_to_the_start_shows_every_line(data: bytes, chunk: int) -> None:
    async def walk() -> list[str]:
        console = open_console(File(data).fetch)
        await console.to_end()
        while not console.at_start:
            await console.older()
        return [line.text for line in console.shown]

    assert _with_chunk(chunk, walk) == lines_of(data)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=30), max_size=30), st.integers(min_value=41, max_value=200))
def test_following_a_growing_file_shows_every_line(parts: list[bytes], chunk: int) -> None:
    async def follow() -> tuple[list[str], bytes]:
        file = File()
        console = open_console(file.fetch)
        await console.to_end()
        for part in parts:
            file.data += part
            await console.newer()
        while not console.at_end:
            await console.newer()
        return [line.text for line in console.shown], file.data

    shown, data = _with_chunk(chunk, follow)
    if all(len(line) < chunk for line in data.split(b"\n")):
        assert shown == lines_of(data)


async def test_of_a_million_lines_only_a_window_is_read_and_held() -> None:
    file = File(b"".join(b"step %07d loss 2.5\n" % step for step in range(1_000_000)))
    console = open_console(file.fetch)
    await console.to_end()
    assert console.shown[-1].text == "step 0999999 loss 2.5"
    assert file.read <= CHUNK
    for _ in range(6):
        await console.older()
    assert len(console.lines) <= module.MAX_LINES
    first = console.lines[0]
    await console.to_start()
    assert console.lines[0].text == "step 0000000 loss 2.5"
    assert first.offset == int(first.text.split()[1]) * 22


@pytest.mark.slow
async def test_letting_go_at_one_end_keeps_offsets_true() -> None:
    file = File(b"".join(b"%06d\n" % line for line in range(200_000)))
    console = open_console(file.fetch)
    await console.to_start()
    while not console.at_end:
        await console.newer()
    assert all(line.offset == int(line.text) * 7 for line in console.lines)
    assert console.lines[-1].text == "199999"
    while not console.at_start:
        await console.older()
    assert [line.text for line in console.lines[:2]] == ["000000", "000001"]
    await console.newer()
    assert all(line.offset == int(line.text) * 7 for line in console.lines)


async def test_a_line_longer_than_a_chunk_comes_in_capped_pieces() -> None:
    console = open_console(File(b"x" * (3 * CHUNK) + b"\nend\n").fetch)
    await console.to_start()
    while not console.at_end:
        await console.newer()
    assert console.shown[-1].text == "end"
    assert all(len(line.text) < 2_100 for line in console.shown)


async def test_a_file_cut_by_a_power_loss_is_read_anew() -> None:
    file = File(b"one\ntwo\nthree\n")
    console = open_console(file.fetch)
    await console.to_end()
    file.data = b"one\n"
    await console.newer()
    assert [line.text for line in console.shown] == ["one"]


async def test_an_unfinished_line_is_shown_and_then_finished() -> None:
    file = File(b"one\nhalf")
    console = open_console(file.fetch)
    await console.to_end()
    assert [line.text for line in console.shown] == ["one", "half"]
    file.data += b" and whole\n"
    await console.newer()
    assert [line.text for line in console.shown] == ["one", "half and whole"]


def _with_chunk(chunk, work):  # type: ignore[no-untyped-def]
    before = module.CHUNK
    module.CHUNK = chunk
    try:
        return asyncio.run(work())
    finally:
        module.CHUNK = before
