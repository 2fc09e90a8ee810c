"""Lines for people: a full disk or a closed pipe behind a stream never ends what prints them."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from nanochat.common.streams import on_stop_signals, say

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def pipe() -> Iterator[tuple[int, TextIO]]:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        yield reader, stream


def test_output_to_a_closed_pipe_is_discarded(pipe: tuple[int, TextIO]) -> None:
    reader, stream = pipe
    assert say("one", stream)
    assert os.read(reader, 100) == b"one\n"
    os.close(reader)
    assert not say("two", stream)
    assert say("three", stream)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_costs_the_line() -> None:
    stream = Path("/dev/full").open("w")  # noqa: SIM115 - closing it fails, as it must
    assert say("one", stream)
    with contextlib.suppress(OSError):
        stream.close()


def test_a_program_whose_reader_is_gone_ends_silently() -> None:
    """The interpreter flushes its streams at exit: that must not fail either."""
    code = "import sys; from nanochat.common.streams import say; print(say('x', sys.stdout)); sys.exit(4)"
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (4, b"")


@pytest.mark.parametrize("under_nohup", [False, True])
def test_a_hangup_asks_to_stop_but_under_nohup(under_nohup: bool) -> None:
    before = [signal.getsignal(number) for number in STOPS]
    seen: list[int] = []
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN if under_nohup else signal.SIG_DFL)
        on_stop_signals(lambda number, _frame: seen.append(number))
        for number in STOPS:
            os.kill(os.getpid(), number)
        assert seen == [*STOPS[:2], *([] if under_nohup else STOPS[2:])]
    finally:
        for number, handler in zip(STOPS, before, strict=True):
            signal.signal(number, handler)


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_stage_started_with_its_output_closed_runs(tmp_path: Path, closed: str) -> None:
    (tmp_path / "text.txt").write_text("\n\n".join(f"paragraph {i} of some text" for i in range(400)))
    words = "data_build text.txt --out out --base-dir . --doc-chars 100 --shard-chars 1000"
    command = f'"$0" -m nanochat {words} {closed}'
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    subprocess.run(["sh", "-c", command, sys.executable], cwd=tmp_path, env=env, check=True)
    assert len(list((tmp_path / "out").glob("shard_*.parquet"))) > 1
