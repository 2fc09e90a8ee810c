"""`nanochat chat_cli` as a person has it: keys into a real terminal (tmux), text on its screen, files."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from stub_server import END, StubServer, chunk, error, text

from bench.parts.terminal import Terminal, available
from nanochat.cli import main as nanochat
from nanochat.serve.chat_log import load

ROOT = Path(__file__).resolve().parents[4]
PATIENCE = 20.0

needs_tmux = pytest.mark.skipif(not available(), reason="needs tmux")


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    with Terminal("160x30") as made:
        yield made


def command(stub: StubServer, base: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "nanochat", "chat_cli", "--url", stub.url, "--base-dir", str(base), *words]


def start(terminal: Terminal, stub: StubServer, base: Path, *words: str) -> None:
    terminal.start(command(stub, base, *words), {"PYTHONPATH": str(ROOT)})
    sees(terminal, "you › *\n")


def sees(terminal: Terminal, pattern: str) -> None:
    found = terminal.wait(lambda shown, _: bool(re.search(pattern, shown)), time.monotonic(), PATIENCE)
    assert found is not None, f"no {pattern!r} in\n{terminal.text().rstrip()}"


def type_line(terminal: Terminal, line: str) -> None:
    terminal.press(f"={line}")
    terminal.press("Enter")


def ends(terminal: Terminal) -> None:
    found = terminal.wait(lambda *_: terminal.ended(), time.monotonic(), PATIENCE)
    assert found is not None, terminal.text()


@pytest.mark.slow
@needs_tmux
def test_a_question_is_answered_and_remembered(terminal: Terminal, stub: StubServer, tmp_path: Path) -> None:
    start(terminal, stub, tmp_path)
    type_line(terminal, "hello there")
    sees(
        terminal, r"you › hello there\s*\nhello there\s*\n2 tokens · .*context 12 of 1,000, 7 of them reused"
    )
    type_line(terminal, "/save")
    sees(terminal, r"saved 1 turn to .*cc_\d{8}_\d{6}\.md")
    terminal.press("C-d")
    ends(terminal)
    (log,) = (tmp_path / "cc_dialogue").glob("*.md")
    assert [turn.question for turn in load(log)[0].turns] == ["hello there"]
    assert (tmp_path / "chat_history").stat().st_mode & 0o777 == 0o600

    start(terminal, stub, tmp_path, "--load", str(log))
    sees(terminal, "going on after 1 turn")
    terminal.press("Up Up")
    sees(terminal, "you › hello there")  # typed in another process
    terminal.press("Enter")
    sees(terminal, r"\n2 tokens")
    assert len(stub.requests[-1]["messages"]) == 3
    type_line(terminal, "/save")  # to the file it came from
    sees(terminal, rf"saved 2 turns to {re.escape(str(log))}")


@needs_tmux
def test_ctrl_c_stops_the_answer_and_not_the_program(
    terminal: Terminal, stub: StubServer, tmp_path: Path
) -> None:
    stub.answer = lambda body: [text("one "), text("two "), 60.0, text("never"), END]
    start(terminal, stub, tmp_path)
    type_line(terminal, "count")
    sees(terminal, "\none two")
    terminal.press("C-c")
    sees(terminal, r"\none two *\nstopped.*\nyou › *\n")
    deadline = time.monotonic() + PATIENCE
    while not stub.left and time.monotonic() < deadline:
        time.sleep(0.01)
    assert stub.left == 1  # the server knows
    stub.answer = lambda body: [text("go on"), END]
    type_line(terminal, "and?")
    sees(terminal, "\ngo on")
    assert stub.requests[-1]["messages"][1] == {"role": "assistant", "content": "one two "}
    terminal.press("=half a line")
    sees(terminal, "half a line")
    terminal.press("C-c")  # empties the line, and the program stays
    sees(terminal, r"ctrl\+d or /quit leaves\s*\nyou › *\n")


@needs_tmux
def test_ctrl_c_at_any_moment_of_an_answer_never_ends_the_program(
    terminal: Terminal, stub: StubServer, tmp_path: Path
) -> None:
    stub.answer = lambda body: [text("short"), 0.02, END]
    start(terminal, stub, tmp_path)
    pid = int(terminal.tmux("display-message", "-p", "#{pane_pid}")[0])
    for _ in range(5):
        type_line(terminal, "go")
        for _ in range(40):
            os.kill(pid, signal.SIGINT)
            time.sleep(0.002)
    stub.answer = lambda body: [text("still here"), END]
    terminal.press("C-c")  # what was typed ahead
    type_line(terminal, "are you?")
    sees(terminal, r"\nstill here\s*\n.*\nyou › *\n")


@pytest.mark.slow
@needs_tmux
def test_lines_completion_and_editing(terminal: Terminal, stub: StubServer, tmp_path: Path) -> None:
    start(terminal, stub, tmp_path)
    terminal.press("=one")
    terminal.press("C-j")
    terminal.press("=two")
    terminal.press("M-Enter")
    terminal.press("=three")
    sees(terminal, r"you › one\s*\n\s+two\s*\n\s+three")
    assert not stub.requests
    terminal.press("Enter")
    sees(terminal, "3 tokens|1 token")
    assert stub.requests[0]["messages"][0]["content"] == "one\ntwo\nthree"
    terminal.press("=/te")
    sees(terminal, r"/temp \[X\] +temperature")  # the menu
    terminal.press("Tab")
    terminal.press("= 0.25")
    terminal.press("Enter")
    sees(terminal, "\ntemperature 0.25")
    type_line(terminal, "/edit")
    sees(terminal, r"you › one\s*\n\s+two\s*\n\s+three\s*\n(.*\n)*.*temperature 0.25 ")
    terminal.press("= and four")
    terminal.press("Enter")
    sees(terminal, "three and four *\n[0-9]+ tokens")
    assert len(stub.requests) == 2
    assert [message["content"] for message in stub.requests[1]["messages"]] == ["one\ntwo\nthree and four"]
    assert stub.requests[1]["temperature"] == 0.25


@needs_tmux
def test_what_is_typed_during_an_answer_waits_for_its_end(
    terminal: Terminal, stub: StubServer, tmp_path: Path
) -> None:
    stub.answer = lambda body: [text("begun "), 0.4, text("done"), END]
    start(terminal, stub, tmp_path)
    type_line(terminal, "go")
    sees(terminal, "\nbegun")
    type_line(terminal, "typed ahead")
    terminal.press("=and more")
    sees(terminal, r"\nbegun done\s*\n.*\nyou › typed ahead\s*\nbegun done\s*\n.*\nyou › and more")
    assert stub.requests[1]["messages"][-1]["content"] == "typed ahead"


@needs_tmux
def test_a_hostile_answer_does_nothing_to_the_terminal(
    terminal: Terminal, stub: StubServer, tmp_path: Path
) -> None:
    call = {"arguments": "\x1b[2J6*7", "output": "\x1b]0;owned\x0742", "offset": 0}
    hostile = "\x1b[2J\x1b]0;owned\x07\x1b[?1049h\x9b31mseen" + "x" * 1_000_000
    stub.answer = lambda body: [
        chunk(delta={"executed_tools": [call]}),
        *(text(hostile[at : at + 50_000]) for at in range(0, len(hostile), 50_000)),
        text("\nafter"),
        END,
    ]
    start(terminal, stub, tmp_path)
    title = terminal.tmux("display-message", "-p", "#{pane_title}")
    type_line(terminal, "go")
    sees(terminal, r"… \+\d{3},\d{3} characters\s*\nafter\s*\n")
    assert terminal.tmux("display-message", "-p", "#{pane_title} #{alternate_on}") == [f"{title[0]} 0"]
    type_line(terminal, "/save")
    sees(terminal, "saved 1 turn")
    (log,) = (tmp_path / "cc_dialogue").glob("*.md")
    assert load(log)[0].turns[0].answer_text == hostile + "\nafter"
    assert not set(log.read_text(encoding="utf-8")) & {"\x1b", "\x07", "\x9b"}


@needs_tmux
def test_errors_are_one_line_and_the_chat_goes_on(
    terminal: Terminal, stub: StubServer, tmp_path: Path
) -> None:
    start(terminal, stub, tmp_path)
    stub.answer = lambda body: [text("half")]
    type_line(terminal, "go")
    sees(terminal, r"\nhalf\s*\ncut off.*\nerror: http.* broke off")
    type_line(terminal, "/tepm 1")
    sees(terminal, r"\nerror: no command is called '/tepm' \(did you mean '/temp'\?")
    stub.answer = lambda body: [text("whole"), END]
    type_line(terminal, "/retry")
    sees(terminal, "\nwhole")
    assert [message["content"] for message in stub.requests[-1]["messages"]] == ["go"]


@needs_tmux
def test_a_base_directory_that_cannot_be_written_is_told_once(
    terminal: Terminal, stub: StubServer, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    start(terminal, stub, tmp_path / "file" / "base")
    type_line(terminal, "hello")
    sees(terminal, r"you › hello\s*\nquestions are not remembered: .*\n(.*\n)?hello\s*\n1 token")
    type_line(terminal, "/save")
    sees(terminal, r"you › /save\s*\nerror: cannot create the folder")
    type_line(terminal, "again")
    sees(terminal, r"you › again\s*\nagain\s*\n1 token")


@needs_tmux
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_the_conversation_and_restores_the_terminal(
    terminal: Terminal, stub: StubServer, tmp_path: Path, number: signal.Signals
) -> None:
    script = (
        f"exec 2>&1; {' '.join(command(stub, tmp_path))}; echo ended with $?; stty -a | grep -c ' echo '; cat"
    )
    terminal.start(["bash", "-c", script], {"PYTHONPATH": str(ROOT)})
    sees(terminal, "you › *\n")
    type_line(terminal, "keep this")
    sees(terminal, r"\n2 tokens")
    shell = terminal.tmux("display-message", "-p", "#{pane_pid}")[0]
    (chat,) = Path(f"/proc/{shell}/task/{shell}/children").read_text(encoding="ascii").split()
    os.kill(int(chat), number)
    sees(terminal, rf"saved 1 turn to .*\n?.*ended with {128 + number}\s*\n1\s*\n")
    (log,) = (tmp_path / "cc_dialogue").glob("*.md")
    assert load(log)[0].turns[0].question == "keep this"


@needs_tmux
def test_a_pipe_gets_the_answers_alone_and_the_chat_goes_on_beside_it(
    terminal: Terminal, stub: StubServer, tmp_path: Path
) -> None:
    script = f"{' '.join(command(stub, tmp_path))} | cat > {tmp_path / 'answers'}"
    terminal.start(["bash", "-c", script], {"PYTHONPATH": str(ROOT)})
    sees(terminal, "you › *\n")
    type_line(terminal, "hello there")
    sees(terminal, r"you › hello there\s*\n2 tokens")
    type_line(terminal, "/quit")
    ends(terminal)
    assert (tmp_path / "answers").read_text(encoding="utf-8") == "hello there\n"


# -- one question ----------------------------------------------------------------------------------


def ask(
    stub: StubServer, base: Path, *words: str, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(stub, base, *words),
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
        timeout=60,
    )


def test_one_question_gives_the_answer_alone(stub: StubServer, tmp_path: Path) -> None:
    done = ask(stub, tmp_path, "-p", "hello there")
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello there\n", "")
    assert list(tmp_path.iterdir()) == []  # no run, no history


@pytest.mark.slow
def test_one_question_from_stdin_and_as_json(stub: StubServer, tmp_path: Path) -> None:
    call = {"arguments": "6*7", "output": "42", "offset": 3}
    stub.answer = lambda body: [text("It "), chunk(delta={"executed_tools": [call]}), text("is\x1b 42."), END]
    done = ask(stub, tmp_path, "--json", "--seed", "5", "-t", "0", stdin="what is\n6*7?\n")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert "\x1b" not in done.stdout
    assert document["question"] == "what is\n6*7?"
    assert document["answer"] == "It is\x1b 42."
    assert document["tool_calls"] == [{"expression": "6*7", "output": "42"}]
    assert (document["finish_reason"], document["settings"]["seed"]) == ("stop", 5)
    done = ask(stub, tmp_path, "-p", "-", stdin="from stdin")
    assert (done.stdout, done.stderr) == ("It is\x1b 42.\n", "⚙ 6*7\n  → 42\n")


def test_a_file_of_prompts_gives_a_line_of_json_each(
    stub: StubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stub.answer = lambda body: (
        error(400, "not this one") if body["messages"][-1]["content"] == "two" else [text("yes"), END]
    )
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("one\nmore\n---\ntwo\n---\nthree\n", encoding="utf-8")
    words = [
        "chat_cli",
        "--url",
        stub.url,
        "--base-dir",
        str(tmp_path),
        "--system",
        "be brief",
        "--seed",
        "3",
    ]
    assert nanochat([*words, "--prompts", str(prompts)]) == 1
    told = capsys.readouterr()
    lines = [json.loads(line) for line in told.out.splitlines()]
    assert [(line["prompt"], line["question"], line["answer"]) for line in lines] == [
        (1, "one\nmore", "yes"),
        (2, "two", ""),
        (3, "three", "yes"),
    ]
    assert "not this one" in lines[1]["error"] and "error" not in lines[0]
    assert told.err.startswith("prompt 2: ") and told.err.count("\n") == 1
    # Each is asked by itself, after the system message.
    assert [len(request["messages"]) for request in stub.requests] == [2, 2, 2]
    assert nanochat([*words, "--prompts", str(prompts), "-p", "q"]) == 2
    assert nanochat([*words, "--prompts", str(tmp_path / "none.txt")]) == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("words", [[], ["--json"]])
def test_a_full_disk_behind_stdout_is_one_line(stub: StubServer, tmp_path: Path, words: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command(stub, tmp_path, "-p", "go", *words),
            stdout=full, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False, timeout=60,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "nanochat: error: cannot write the answer: No space left on device\n"


def test_the_answer_of_a_pipe_begins_before_it_ends(stub: StubServer, tmp_path: Path) -> None:
    stub.answer = lambda body: [text("first "), 60.0, END]
    words = command(stub, tmp_path, "-p", "go")
    program = subprocess.Popen(words, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert program.stdout is not None
    try:
        assert program.stdout.read(6) == b"first "
        program.send_signal(signal.SIGINT)
        assert program.wait(PATIENCE) == 130
    finally:
        program.kill()
        program.stdout.close()


@pytest.mark.parametrize(
    ("words", "stdin", "code", "says"),
    [
        (["-p", ""], "", 2, "the question is empty"),
        ([], "", 2, "stdin holds no question"),
        ([], b"ab\xff", 2, "stdin is not UTF-8 text: byte 2"),
        (["-p", "x", "--model", "sft/d20", "-g", "d20"], "", 2, "--model-tag contradicts"),
        (["-p", "x", "--step", "5"], "", 2, "--step is for a checkpoint"),
        (["-p", "x", "-t", "3"], "", 2, "too large"),
        (["-p", "x", "--load", "nowhere.md"], "", 2, "cannot read"),
        (["-p", "x", "--tepmerature", "1"], "", 2, "did you mean '--temperature'"),
        (["-p", "x", "--model", "tiny", "--api-key", "wrong"], "", 1, "--api-key or NANOCHAT_API_KEY"),
        (["-p", "x", "--url", "ftp://x"], "", 2, "is no address"),
        (["-p", "x", "--url", "http://127.0.0.1:9"], "", 3, "cannot reach"),
    ],
)
def test_bad_input_is_one_line(
    stub: StubServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    stdin: str | bytes,
    code: int,
    says: str,
) -> None:
    stub.key = "right"
    raw = stdin.encode() if isinstance(stdin, str) else stdin
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(raw)))
    assert nanochat(command(stub, tmp_path, *words)[3:]) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert says in told.err
    assert len(told.err.splitlines()) == 1
