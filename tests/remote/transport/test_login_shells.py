"""Any login shell on the host: words arrive as they were written, and a login file's words are never ours."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from account import LOGIN_FILES, PYTHON, SHELLS, Account, account
from sshd import Sshd

from nanochat.common.paths import Layout
from remote.hosts.book import Host
from remote.transport.base import Completed, LoginShellFailed
from remote.transport.login_shell import command_line, script_line
from remote.transport.ssh import SSHTransport

pytestmark = pytest.mark.slow

AWKWARD = [
    "it's", 'say "hi"', "$HOME", "${HOME:-x}", "a  b", "`id`", "*", "new\nline", "ünï", "-n", "", "\\",
    "\\\\", "\\'", "!x", "!!", "a\\nb", "%s%n", "~", "\t", "{a,b}", "#x", "x" * 5000, "'" * 300,
]  # fmt: skip
SAY_WORDS = "import sys, json; print(json.dumps(sys.argv[1:])); sys.exit(7)"
SAY_INPUT = "import sys; print(len(sys.stdin.buffer.read()))"


@pytest.fixture(params=SHELLS)
def person(request: pytest.FixtureRequest, known_sshd: Sshd) -> Iterator[Account]:
    """A throwaway user with each login shell in turn."""
    with account(request.param, known_sshd) as made:
        yield made


@pytest.fixture
def bash_user(known_sshd: Sshd) -> Iterator[Account]:
    with account("bash", known_sshd) as made:
        yield made


async def ran(host: Host, layout: Layout, *argv: str, input: bytes = b"", within: float = 20) -> Completed:
    transport = SSHTransport(host, layout)
    try:
        await transport.connect()
        return await transport.run(argv, input, within)
    finally:
        await transport.close()


async def test_every_word_arrives_under_every_login_shell(person: Account, layout: Layout) -> None:
    done = await ran(person.host(), layout, PYTHON, "-c", SAY_WORDS, *AWKWARD)
    assert json.loads(done.stdout) == AWKWARD
    assert (done.exit_code, done.stderr) == (7, b"")


async def test_a_command_without_input_finds_its_input_closed(person: Account, layout: Layout) -> None:
    done = await ran(person.host(), layout, PYTHON, "-c", SAY_INPUT)
    assert done.stdout == b"0\n"


async def test_a_command_that_is_not_there_says_so(person: Account, layout: Layout) -> None:
    done = await ran(person.host(), layout, "no-such-program")
    assert done.exit_code == 127 and b"no-such-program" in done.stderr


def shared_input(name: str) -> str:
    """One of the login files of the fault report, byte for byte."""
    folder = os.environ.get("NANOCHAT_SHARED")
    path = Path(folder or "/nowhere") / "faults" / "inputs" / "ssh" / name
    kept = {
        "bashrc-title": "printf '\\033]0;node7\\007'\n",
        "bashrc-no-newline": "printf 'quota ok> '\n",
        "bashrc-exec-other-shell": "exec fish\n",
    }
    return path.read_text(encoding="utf-8") if path.is_file() else kept[name]


SPEAKING = {
    "a title": shared_input("bashrc-title"),
    "no line end": shared_input("bashrc-no-newline"),
    "JSON": """echo '{"error": "not ours", "code": "x"}'\n""",
    "both outputs": "echo hello; sh -c 'echo warning >&2'\n",
    "bytes": "printf '\\303\\050\\377\\036\\036'\n",
}


@pytest.mark.parametrize("text", SPEAKING.values(), ids=SPEAKING.keys())
async def test_what_a_login_file_prints_is_not_the_commands(
    bash_user: Account, layout: Layout, text: str
) -> None:
    bash_user.login_file(text)
    done = await ran(bash_user.host(), layout, "sh", "-c", "printf out; printf err >&2")
    assert (done.stdout, done.stderr) == (b"out", b"err")
    transport = SSHTransport(bash_user.host(), layout)
    await transport.connect()
    stream = await transport.stream(["sh", "-c", "echo one; read line; echo $line; echo low >&2"])
    await stream.write(b"two\n")
    assert [line async for line in stream.lines()] == [b"one", b"two"]
    assert await stream.close() == "low\n"
    await transport.close()


@pytest.mark.parametrize("shell", sorted(LOGIN_FILES))
async def test_a_login_file_of_each_shell_may_speak(known_sshd: Sshd, layout: Layout, shell: str) -> None:
    with account(shell, known_sshd) as person:
        person.login_file("echo 'quota ok'\n")
        done = await ran(person.host(), layout, "echo", "in")
        assert done.stdout == b"in\n"


async def test_a_login_file_that_reads_its_input_gets_none_of_ours(
    bash_user: Account, layout: Layout
) -> None:
    bash_user.login_file("read -t 0.3 line\n")
    data = b"0123456789" * 100_000
    done = await ran(bash_user.host(), layout, "cat", input=data)
    assert done.stdout == data


async def test_a_login_file_that_starts_another_shell_is_told_as_that(
    bash_user: Account, layout: Layout
) -> None:
    bash_user.login_file(shared_input("bashrc-exec-other-shell").replace("fish", "sh"))
    with pytest.raises(LoginShellFailed, match="without running our command") as caught:
        await ran(bash_user.host(), layout, "true")
    assert ".bashrc" in str(caught.value) and "\n" not in str(caught.value)
    transport = SSHTransport(bash_user.host(), layout)
    await transport.connect()
    bash_user.login_file("exec sh -c 'echo no admittance; exit 3'\n")
    with pytest.raises(LoginShellFailed, match=r"exit 3.*no admittance"):
        await transport.stream(["cat"])
    await transport.close()


async def test_a_login_file_that_waits_is_told_as_that(bash_user: Account, layout: Layout) -> None:
    bash_user.login_file("echo please wait; sleep 60\n")
    with pytest.raises(LoginShellFailed, match=r"has not come to our command in 1 s.*please wait"):
        await ran(bash_user.host(), layout, "true", within=1)


def test_no_line_holds_a_character_that_a_login_shell_reads() -> None:
    line = command_line(["a'b", "c\\d", "e!f", "g\nh", "$i"], b"\x1emark\x1e")
    pieces = line.split("sh '", 1)[1]
    assert set(pieces) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 _-./:=,\\'")
    assert max(len(piece) for piece in pieces.split("' '")) < 1000
    with pytest.raises(ValueError, match="NUL"):
        script_line("a\0b")
