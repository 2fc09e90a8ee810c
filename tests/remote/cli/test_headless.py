"""`nanochat --no-tui PLAN` from a shell, through a real sshd: exit codes, output, ctrl+c, kill -9."""

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from fakes import clean_events, fake_python
from sshd import Sshd, free_port

from nanochat.common.paths import Layout
from nanochat.run.events import read_events
from remote.hosts.book import Host, HostBook
from remote.store.store import Store

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
PLAN = """
name = "two"
[[stage]]
stage = "tok_train"
options = { vocab_size = 512 }
[[stage]]
stage = "base_train"
options = { depth = 2 }
"""


class Shell:
    """A person's shell: the base directory, an empty home, and a host `box` behind sshd."""

    def __init__(self, layout: Layout, home: Path, folder: Path, sshd: Sshd) -> None:
        self.layout = layout
        self.far = folder / "far away"
        self.folder = folder
        self.plan = folder / "my plan.toml"
        self.plan.write_text(PLAN)
        self._sshd = sshd
        self.env = {
            **os.environ,
            "HOME": str(home),
            "NANOCHAT_BASE_DIR": str(layout.base),
            "PYTHONPATH": str(ROOT),
        }

    def box(self, **pace: object) -> None:
        """Puts the host in the book, with a fake stage of this pace."""
        python = fake_python(self.folder, **pace)  # type: ignore[arg-type]
        HostBook(self.layout).add(self._sshd.host(base=self.far, python=str(python)), replace=True)

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "nanochat", *words]

    def run(self, *words: str, code: int) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.argv(*words), env=self.env, cwd=self.folder, capture_output=True, text=True, timeout=90,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.argv(*words), env=self.env, cwd=self.folder, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def check_store(self) -> dict[str, str]:
        """Every run's events are stored exactly once; the status of each by name."""
        with Store(self.layout.store) as store:
            for run in store.runs():
                there = clean_events(self.far / "runs" / run.run_id / "events.jsonl")
                assert store.events(run.key) == there
                assert [event.seq for event in there] == list(range(len(there)))
            return {run.name: run.status for run in store.runs()}

    def logs(self) -> list[Path]:
        return sorted(self.far.glob("runs/2*/events.jsonl"))


@pytest.fixture
def shell(layout: Layout, home: Path, tmp_path: Path, known_sshd: Sshd) -> Shell:
    made = Shell(layout, home, tmp_path, known_sshd)
    made.box()
    return made


def wait_for(true: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_a_plan_succeeds_with_narration_on_stderr_and_a_table_on_stdout(shell: Shell) -> None:
    done = shell.run("--no-tui", "my plan.toml", "--host", "box", code=0)
    assert re.search(r"tok_train\s+✔ succeeded", done.stdout) and re.search(
        r"base_train\s+✔ succeeded", done.stdout
    )
    assert "3 → 2.333" in done.stdout  # bits per byte, first to last
    assert "plan two on box: tok_train, base_train" in done.stderr
    assert "base_train: step 20: val/bpb 2.333" in done.stderr
    assert "The capital →  of France" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr  # neither ours, on a pipe, nor the stage's
    assert shell.check_store() == {"tok_train": "succeeded", "base_train": "succeeded"}
    check_report(shell, done.stdout, "- stages: 2 of 2 succeeded", "| val/bpb", "hosts price box X")
    # The host goes away: what is known here makes the same report, which says how old that is.
    HostBook(shell.layout).add(Host("box", address="127.0.0.1", port=free_port()), replace=True)
    done = shell.run("report", "two", code=0)
    check_report(shell, done.stdout, "host 'box' is unreachable", "is as of", "2 of 2 succeeded", "| val/bpb")


def check_report(shell: Shell, said: str, *words: str) -> None:
    """The last lines of a plan tell where its report lies, on this machine; it holds these words."""
    last = [Path(line.removeprefix("report:").strip()) for line in said.splitlines()[-2:]]
    assert [path.name for path in last] == ["report.md", "report.html"]
    assert all(path.parent.parent == shell.layout.base / "report" for path in last)
    text = last[0].read_text(encoding="utf-8")
    assert all(word in text for word in words), text
    assert "\x1b" not in text


def test_json_is_one_event_a_line_and_nothing_else(shell: Shell) -> None:
    done = shell.run(
        "--no-tui", "my plan.toml", "--host", "box", "--json", "--set", "base_train.depth=3", "--no-report",
        code=0,
    )  # fmt: skip
    assert not (shell.layout.base / "report").exists()
    records = [json.loads(line) for line in done.stdout.splitlines()]
    runs: dict[str, list[int]] = {}
    for record in records:
        assert record.keys() == {"host", "run_id", "stage", "seq", "t", "kind", "step", "data"}
        runs.setdefault(record["run_id"], []).append(record["seq"])
    assert len(runs) == 2 and all(seqs == list(range(len(seqs))) for seqs in runs.values())
    for log in shell.logs():
        assert len(read_events(log)[0]) == len(runs[log.parent.name])
    (run,) = [
        json.loads((p.parent / "run.json").read_text()) for p in shell.logs() if "base_train" in p.parent.name
    ]
    assert run["options"] == {"depth": 3} and run["plan"]["name"] == "two"


def test_a_failed_stage_is_exit_1_and_says_why(shell: Shell) -> None:
    shell.box(fail_at=3, fail_stage="tok_train")
    done = shell.run("--no-tui", "my plan.toml", "--host", "box", code=1)
    assert "the loss is gone" in done.stderr
    assert re.search(r"base_train\s+■ stopped", done.stdout)
    assert shell.check_store() == {"tok_train": "failed", "base_train": "stopped"}
    check_report(shell, done.stdout, "**tok_train failed: the loss is gone", "1 failed, 1 stopped")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["no-such-plan"], "no-such-plan"),
        (["dem"], "demo"),
        (["my plan.toml", "--hots", "box"], "--host"),
        (["my plan.toml", "--host", "bax"], "box"),
        (["my plan.toml", "--set", "base_train.dept=3"], "depth"),
        (["my plan.toml", "--set", "base_trian.depth=3"], "base_train"),
        ([], "needs a PLAN"),
    ],
)
def test_wrong_usage_is_exit_2_and_one_line(shell: Shell, words: list[str], told: str) -> None:
    done = shell.run("--no-tui", *words, code=2)
    assert done.stdout == "" and told in done.stderr and len(done.stderr.splitlines()) == 1
    assert not shell.far.exists()


def test_an_unreachable_host_is_exit_3(shell: Shell) -> None:
    HostBook(shell.layout).add(Host("gone", address="127.0.0.1", port=free_port()))
    done = shell.run("--no-tui", "my plan.toml", "--host", "gone", code=3)
    assert "unreachable: connection refused" in done.stderr and len(done.stderr.splitlines()) == 1


def test_an_unknown_host_key_without_a_terminal_is_refused_and_says_how_to_accept(
    shell: Shell, known_sshd: Sshd
) -> None:
    shell.layout.known_hosts.unlink()
    done = shell.run("--no-tui", "my plan.toml", "--host", "box", code=3)
    (fingerprint,) = set(re.findall(r"SHA256:\S+", done.stderr.replace("`", " ").replace(")", " ")))
    assert fingerprint == known_sshd.fingerprint()
    assert not shell.layout.known_hosts.exists()
    wrong = shell.run("hosts", "test", "box", "--accept-key", "SHA256:somethingelse", code=3)
    assert fingerprint in wrong.stderr and not shell.layout.known_hosts.exists()
    accepted = shell.run("hosts", "test", "box", "--accept-key", fingerprint, code=0)
    assert "agent" in accepted.stdout
    shell.run("--no-tui", "my plan.toml", "--host", "box", code=0)


def test_a_host_whose_python_lacks_nanochat_is_told_before_anything_starts(
    shell: Shell, known_sshd: Sshd, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    bare.write_text(f'#!/bin/sh\ncd / && unset PYTHONPATH && exec {sys.executable} -S -E "$@"\n')
    bare.chmod(0o755)
    HostBook(shell.layout).add(known_sshd.host(base=shell.far, python=str(bare)), replace=True)
    done = shell.run("--no-tui", "my plan.toml", "--host", "box", code=2)
    assert "cannot run stages" in done.stderr and "--python" in done.stderr
    assert shell.logs() == []


def test_escape_sequences_a_host_sends_never_reach_the_terminal(
    shell: Shell, known_sshd: Sshd, tmp_path: Path
) -> None:
    rude = tmp_path / "rude"
    rude.write_text("#!/bin/sh\nprintf '\\033]0;owned\\007\\033[2J' >&2; exit 1\n")
    rude.chmod(0o755)
    HostBook(shell.layout).add(known_sshd.host(base=shell.far, python=str(rude)), replace=True)
    tested = shell.run("hosts", "test", "box", code=1)
    refused = shell.run("--no-tui", "my plan.toml", "--host", "box", code=2)
    assert "owned" in tested.stdout and "owned" in refused.stderr  # shown, and safe to print
    assert not set("\x1b\x07") & set(tested.stdout + tested.stderr + refused.stdout + refused.stderr)


def test_an_app_killed_in_the_middle_loses_nothing_and_the_plan_goes_on(shell: Shell) -> None:
    shell.box(steps=60, pace=0.05)
    app = shell.start("--no-tui", "my plan.toml", "--host", "box", "--json")
    wait_for(lambda: shell.logs() and lines(shell.logs()[0]) > 20)
    app.kill()
    app.communicate()
    with Store(shell.layout.store) as store:
        seen = {run.key: len(store.events(run.key)) for run in store.runs()}
        assert all([e.seq for e in store.events(key)] == list(range(count)) for key, count in seen.items())
    wait_for(lambda: lines(shell.logs()[0]) > 40)  # nobody is there, and it goes on
    done = shell.run("runs", "follow", "base_train", "--json", code=0)
    seqs = [json.loads(line)["seq"] for line in done.stdout.splitlines()]
    assert seqs == list(range(len(seqs))) and len(seqs) > 60
    shell.run("runs", "follow", "tok_train", code=0)
    assert shell.check_store() == {"tok_train": "succeeded", "base_train": "succeeded"}


def test_a_signal_without_a_terminal_detaches_with_130_and_the_plan_goes_on(shell: Shell) -> None:
    shell.box(steps=60, pace=0.05)
    app = shell.start("--no-tui", "my plan.toml", "--host", "box")
    wait_for(lambda: shell.logs() and lines(shell.logs()[0]) > 5)
    app.send_signal(signal.SIGINT)
    _, told = app.communicate(timeout=20)
    assert app.returncode == 130 and b"nanochat runs follow" in told
    shell.run("runs", "follow", "base_train", code=0)
    assert shell.check_store() == {"tok_train": "succeeded", "base_train": "succeeded"}


@contextlib.contextmanager
def terminal(shell: Shell, *words: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The command on a real terminal of its own; yields the process and the terminal's other end."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        shell.argv(*words), env={**shell.env, "TERM": "xterm", "COLUMNS": "100"}, cwd=shell.folder,
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(theirs)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def read_until(terminal: int, wanted: str, seconds: float = 30) -> str:
    seen = b""
    deadline = time.monotonic() + seconds
    while wanted.encode() not in seen:
        assert time.monotonic() < deadline, f"no {wanted!r} in {seen[-2000:].decode(errors='replace')}"
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                seen += os.read(terminal, 65536)
            except OSError:
                break
    return seen.decode(errors="replace")


def test_ctrl_c_on_a_terminal_asks_and_s_stops_with_4(shell: Shell) -> None:
    shell.box(steps=2000, pace=0.05)
    with terminal(shell, "--no-tui", "my plan.toml", "--host", "box") as (process, screen):
        shown = read_until(screen, "left")
        assert "\r\x1b[K" in shown  # the progress line is rewritten in place
        os.write(screen, b"\x03")
        read_until(screen, "[s]top")
        os.write(screen, b"s\n")
        assert "stopped" in read_until(screen, "base_train  ■ stopped")
        assert process.wait(timeout=30) == 4
    assert shell.check_store() == {"tok_train": "stopped", "base_train": "stopped"}


def test_ctrl_c_and_enter_detach_with_130(shell: Shell) -> None:
    shell.box(steps=60, pace=0.05)
    with terminal(shell, "--no-tui", "my plan.toml", "--host", "box") as (process, screen):
        read_until(screen, "left")
        os.write(screen, b"\x03")
        read_until(screen, "[d]etach")
        os.write(screen, b"\n")
        read_until(screen, "runs on")
        assert process.wait(timeout=30) == 130
    shell.run("runs", "follow", "base_train", code=0)
    assert shell.check_store()["base_train"] == "succeeded"


def test_an_unknown_host_key_is_asked_about_on_a_terminal(shell: Shell, known_sshd: Sshd) -> None:
    shell.layout.known_hosts.unlink()
    with terminal(shell, "hosts", "test", "box") as (process, screen):
        assert known_sshd.fingerprint() in read_until(screen, "[y/N]")
        os.write(screen, b"n\n")
        assert process.wait(timeout=30) == 3
    with terminal(shell, "hosts", "test", "box") as (process, screen):
        read_until(screen, "[y/N]")
        os.write(screen, b"y\n")
        read_until(screen, "memory")
        assert process.wait(timeout=30) == 0


def test_runs_are_stopped_and_resumed_from_a_shell(shell: Shell) -> None:
    shell.box(steps=4000, pace=0.05)
    app = shell.start("--no-tui", "my plan.toml", "--host", "box")
    wait_for(lambda: shell.logs() and lines(shell.logs()[0]) > 5)
    shell.run("runs", "stop", "tok_train", code=0)
    out, _ = app.communicate(timeout=60)
    assert app.returncode == 4 and b"stopped" in out
    shell.box(steps=20, pace=0.01)
    shell.run("runs", "resume", "tok_train", code=0)
    shell.run("runs", "follow", "tok_train", code=0)
    (run,) = [
        r for r in json.loads(shell.run("runs", "ls", "--json", code=0).stdout) if r["name"] == "tok_train"
    ]
    assert run["status"] == "succeeded" and run["attempt"] == 2
    shown = shell.run("runs", "show", "tok_train", code=0).stdout
    assert "attempt 2" in shown and "vocab_size=512" in shown
    told = shell.run("runs", "show", "tok_trian", code=2).stderr
    assert "tok_train" in told and len(told.splitlines()) == 1
    shell.check_store()


def test_no_process_of_ours_outlives_a_plan(shell: Shell) -> None:
    def ours() -> list[psutil.Process]:
        return [
            p for p in psutil.process_iter(["cmdline"]) if str(shell.far) in " ".join(p.info["cmdline"] or [])
        ]

    with shell.start("--no-tui", "my plan.toml", "--host", "box") as plan:
        wait_for(ours)
        plan.communicate(timeout=90)
    assert plan.returncode == 0
    wait_for(lambda: not ours(), 15)
