"""The window over matching lines holds what a filter of the whole log gives, however it is walked."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat.common.text import sanitize
from remote.agent.search import MOST_SECONDS, Wanted, find_lines
from remote.fleet.answers import found_of
from remote.runs import Found
from tui.data import console, log_matches
from tui.data.log_matches import Matches


class Log:
    """Bytes that grow, searched as a host would."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    async def fetch(self, offset: int, most: int) -> tuple[bytes, int, int]:
        at = max(0, len(self.data) + offset) if offset < 0 else min(offset, len(self.data))
        return self.data[at : at + most], at, len(self.data)

    async def search(self, text: str, offset: int, back: bool, most: int) -> Found:
        wanted = Wanted(text, offset, back, most, MOST_SECONDS)
        found = find_lines(lambda at, size: self.data[at : at + size], len(self.data), wanted)
        return found_of("local", found)


def matching(data: bytes, text: str) -> list[tuple[int, str]]:
    found, at = [], 0
    for line in data.split(b"\n"):
        shown = line.decode("utf-8", "replace")
        if text in shown.lower() and (line or at < len(data)):
            found.append((at, sanitize(shown)))
        at += len(line) + 1
    return found


steps = st.lists(
    st.sampled_from(["older", "newer", "to_end", "to_start"]) | st.binary(max_size=8) | st.integers(0, 40),
    max_size=12,
)
text = st.lists(st.sampled_from([b"ax", b"b", b"AX y", b""]), max_size=40).map(b"\n".join)


@settings(deadline=None)
@given(text, steps, st.integers(1, 4), st.integers(4, 9))
def test_however_it_is_walked_it_is_an_unbroken_piece_of_all_matches(
    data: bytes, walk: list[str | bytes | int], most: int, held: int
) -> None:
    async def check() -> None:
        log = Log(data)
        window = Matches(log, "x")
        await window.to_end()
        for step in walk:
            if isinstance(step, bytes):
                log.data += step
                continue
            if isinstance(step, int):
                await window.around(min(step, len(log.data)))
            else:
                await getattr(window, step)()
            every = matching(log.data, "x")
            whole = [line for line in every if window.start <= line[0] < window.end]
            assert [tuple(line) for line in window.lines] == whole
            assert len(window.lines) <= held
        while not window.at_end:
            await window.newer()
        await window.newer()
        every = matching(log.data, "x")
        assert [tuple(line) for line in window.shown][-1:] == every[-1:]
        while not window.at_start:
            await window.older()
        assert [tuple(line) for line in window.lines][:1] == [line for line in every if line[0] < window.end][
            :1
        ]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_matches, "MOST", most)
        patch.setattr(console, "MAX_LINES", held)
        asyncio.run(check())


async def test_the_newest_matches_stay_however_many_lines_come_between() -> None:
    lines = [b"quiet"] * 100_000
    lines[10], lines[99_990] = b"first error", b"last error"
    log = Log(b"\n".join(lines) + b"\n")
    window = Matches(log, "error")
    await window.to_end()
    assert [line.text for line in window.shown] == ["first error", "last error"] and window.at_start
    log.data += b"quiet\nnew error\nhalf an error"
    await window.newer()
    assert [line.text for line in window.shown][-2:] == ["new error", "half an error"]
    log.data += b" and more\n"
    await window.newer()
    assert [line.text for line in window.shown][-1] == "half an error and more"
    log.data = b"cut\nerror\n"
    await window.newer()
    assert [line.text for line in window.shown] == ["error"]
