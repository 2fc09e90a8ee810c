"""Commands on this machine: words unchanged, out of reach of the terminal's ctrl+c, nothing left behind."""

import asyncio
import json
import os
import sys

import psutil
import pytest

from nanochat.common.errors import UserError
from remote.transport.base import HostUnreachable, split_lines
from remote.transport.local import LocalTransport


async def test_words_input_output_and_exit_code_pass_unchanged() -> None:
    words = ["it's", 'a "b"', "$HOME", "*", "new\nline", ""]
    code = (
        "import sys, json; sys.stderr.write('e');"
        "print(json.dumps([sys.argv[1:], sys.stdin.read()])); sys.exit(3)"
    )
    done = await LocalTransport().run([sys.executable, "-c", code, *words], input=b"in")
    assert json.loads(done.stdout) == [words, "in"]
    assert (done.exit_code, done.stderr) == (3, b"e")


async def test_a_command_that_takes_too_long_is_killed_with_its_children() -> None:
    transport = LocalTransport()
    with pytest.raises(HostUnreachable, match="no answer"):
        await transport.run(["sh", "-c", "sleep 4321 & sleep 4321"], within=0.3)
    assert not [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "4321"]]


async def test_a_cancelled_command_is_killed() -> None:
    task = asyncio.create_task(LocalTransport().run(["sleep", "4322"]))
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "4322"]]


async def test_a_program_that_is_not_there_is_one_line() -> None:
    with pytest.raises(UserError, match="cannot run /no/such/program"):
        await LocalTransport().run(["/no/such/program"])


async def test_a_stream_gives_whole_lines_of_any_length_and_ends_with_its_input() -> None:
    transport = LocalTransport()
    code = (
        "import sys; n = int(input()); print('x' * n); print('ß');"
        "sys.stdout.write('torn'); sys.stdout.flush(); input()"
    )
    stream = await transport.stream([sys.executable, "-X", "utf8", "-c", code])
    await stream.write(b"300000\n")
    lines = stream.lines()
    assert await anext(lines) == b"x" * 300_000
    assert await anext(lines) == "ß".encode()
    said = await stream.close()
    assert "EOFError" in said
    await transport.close()


async def test_closing_the_transport_ends_every_stream() -> None:
    transport = LocalTransport()
    stream = await transport.stream(["sh", "-c", "echo $$; exec cat"])
    pid = int(await anext(stream.lines()))
    assert os.getsid(pid) == pid  # a session of its own: the terminal's ctrl+c does not reach it
    await transport.close()
    assert not psutil.pid_exists(pid)


async def test_a_command_without_input_finds_its_input_closed() -> None:
    done = await LocalTransport().run(["cat"], within=5)
    assert (done.stdout, done.exit_code) == (b"", 0)


async def test_a_command_that_reads_no_input_is_no_error() -> None:
    done = await LocalTransport().run(["sh", "-c", "echo enough"], input=b"x" * 3_000_000)
    assert (done.stdout, done.exit_code) == (b"enough\n", 0)


async def test_an_answer_without_end_is_cut_off_by_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("remote.transport.base.ANSWER_LIMIT", 1 << 20)
    with pytest.raises(HostUnreachable, match="more than 1 MiB"):
        await LocalTransport().run(["yes"], within=20)


async def test_a_command_that_prints_what_nobody_reads_ends_at_once() -> None:
    """asyncio stops to read a full pipe, and takes a process for alive until its pipes are at their end."""
    transport = LocalTransport()
    stream = await transport.stream(["yes"])
    await anext(stream.lines())
    await asyncio.sleep(0.2)
    async with asyncio.timeout(20):
        await stream.close()
    silent = await transport.stream(["sh", "-c", "yes | head -c 10000000; echo last words >&2"])
    async with asyncio.timeout(20):
        assert await silent.close() == "last words\n"


async def test_a_long_line_is_read_in_linear_time_and_cut_off_by_its_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("remote.transport.base._MAX_LINE", 1 << 20)
    pieces = [b"a" * 65536] * 15 + [b"b\nc\n\nd"] + [b"e" * 65536] * 17

    async def read(_: int) -> bytes:
        return pieces.pop(0) if pieces else b""

    lines = split_lines(read, "box")
    assert [await anext(lines) for _ in range(3)] == [b"a" * 65536 * 15 + b"b", b"c", b""]
    with pytest.raises(HostUnreachable, match="a line of more than 1 MiB"):
        await anext(lines)
