"""Commands on this machine: words unchanged, out of reach of the terminal's ctrl+c, nothing left behind."""

import asyncio
import json
import os
import sys

import psutil
import pytest

from nanochat.common.errors import UserError
from remote.transport.base import HostUnreachable
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
