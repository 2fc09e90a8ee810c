"""No byte of a host's text reaches the terminal as a control sequence, on any screen and from any command.

Every field of a run on disk holds a marker sequence; the real agent, store, commands and app read it. The
app runs on a real pty, and what it writes there is searched for the marker.
"""

import base64
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
RUN_ID = "20260101-000000-base_train-0001"
EVIL = "\x1b]1337;EVIL\x07\x1b[5;6H\x9b7mEVIL\x1bPq\x07\x0e\u202e\x85\x7f"
RAW = (b"\x1b]1337", b"\x1b[5;6H", b"\xc2\x9b", b"\x1bPq", b"\x0e", b"\xe2\x80\xae", b"\xc2\x85", b"\x7f")
"""What of the marker a terminal would act on; none of it is anything that the app writes itself."""
PLAIN = {"TERM": "xterm-256color", "COLUMNS": "150", "LINES": "45", "NANOCHAT_CLIPBOARD": "osc52"}


def spoil(value: object, keep: tuple[str, ...] = ()) -> object:
    """`value` with the marker in every text and name in it."""
    if isinstance(value, str):
        return f"{value}{EVIL}"
    if isinstance(value, dict):
        return {
            name if name in keep else name + EVIL * (not name.isidentifier()): item
            if name in keep
            else spoil(item, keep)
            for name, item in value.items()
        }
    return [spoil(item, keep) for item in value] if isinstance(value, list) else value


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base directory with one run, every text of which is foreign."""
    folder = tmp_path / "base" / "runs" / RUN_ID
    folder.mkdir(parents=True)
    run = {
        "schema": 1,
        "run_id": RUN_ID,
        "name": "n",
        "stage": "base_train",
        "options": {"depth": "4", "x-y": ["z"]},
        "argv": ["python", "-m", "x"],
        "code": {"version": "0", "sha": "s"},
        "host": "h",
        "env": ["A"],
        "created_at": 1.79e9,
        "cwd": "/c",
        "plan": {"id": "p", "name": "plan", "index": 0, "needs": ["b"]},
    }
    state = {
        "schema": 1,
        "run_id": RUN_ID,
        "status": "failed",
        "attempt": 1,
        "pid": 7,
        "pid_start": 9,
        "boot_id": "b",
        "heartbeat": 1.79e9,
        "started_at": 1.79e9,
        "ended_at": 1.79e9 + 9,
        "exit_code": 1,
        "signal": None,
        "reason": "r",
        "supervisor": None,
        "events_offset": 0,
        "host": "h",
    }
    kept = ("run_id", "status", "needs")  # a need that is no run's id is refused: the run would be damaged
    (folder / "run.json").write_text(json.dumps(spoil(run, kept)), encoding="utf-8")
    (folder / "state.json").write_text(json.dumps(spoil(state, kept)), encoding="utf-8")
    events = [
        ("stage_start", {"attempt": 1, "total_steps": 9, "unit": "step", "stage": "s", "info": {"a-b": "c"}}),
        ("metric", {"train/loss": 2.5, "other/name": 1.0, "gpu/0/name": "text"}),
        ("eval", {"val/bpb": 1.5, "core/a": "text"}),
        ("sample", {"prompt": "p", "text": "t\nu", "mode": "m"}),
        ("checkpoint", {"path": "/c", "bytes": 3}),
        ("alert", {"level": "warn", "what": "w", "message": "m"}),
        ("log", {"text": "l"}),
        ("stage_end", {"status": "failed", "error": "e", "results": {"r/x": "text"}}),
    ]
    named = ("attempt", "total_steps", "train/loss", "val/bpb", "status")
    lines = [
        json.dumps({"seq": seq, "t": 1.79e9 + seq, "kind": kind, "step": seq, "data": spoil(data, named)})
        for seq, (kind, data) in enumerate(events)
    ]
    (folder / "events.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    telemetry = {
        "host/cpu": 50.0,
        "host/nvml": EVIL,
        "gpu/0/name": EVIL,
        "gpu/0/util": 5.0,
        f"gpu/0/{EVIL}": 1.0,
    }
    line = json.dumps({"seq": 0, "t": 1.79e9, "kind": "telemetry", "data": telemetry})
    (folder / "telemetry.jsonl").write_text(line + "\n", encoding="utf-8")
    (folder / "console.log").write_text(f"one {EVIL}\n{EVIL}\n", encoding="utf-8")
    return tmp_path / "base"


def environment(base: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NANOCHAT_", "TMUX"))}
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "NO_COLOR"):
        kept.pop(name, None)
    return {
        **kept,
        **PLAIN,
        "PYTHONPATH": str(ROOT),
        "HOME": str(base.parent),
        "NANOCHAT_BASE_DIR": str(base),
    }


def check_clean(written: bytes) -> None:
    assert b"EVIL" in written
    assert [raw for raw in RAW if raw in written] == []


@pytest.mark.parametrize(
    "words",
    [
        ["runs", "ls"],
        ["runs", "ls", "--json"],
        ["runs", "show", RUN_ID],
        ["runs", "show", RUN_ID, "--json"],
        ["runs", "follow", RUN_ID],
        ["runs", "follow", RUN_ID, "--json"],
        ["runs", "mark", RUN_ID, "--tag", f"t{EVIL}".replace("\x85", "")],
        ["runs", "show", f"x{EVIL}"],
        ["hosts", "test", f"x{EVIL}"],
    ],
    ids=lambda words: " ".join(words[:2]) + ("--json" if "--json" in words else ""),
)
def test_commands(base: Path, words: list[str]) -> None:
    if words[1] == "mark":  # asks no host: the store has to know the run
        subprocess.run([sys.executable, "-m", "nanochat", "runs", "ls"], env=environment(base), check=True)
    done = subprocess.run(
        [sys.executable, "-m", "nanochat", *words], env=environment(base), capture_output=True, timeout=120
    )
    assert b"Traceback" not in done.stderr
    check_clean(done.stdout + done.stderr)


class Terminal:
    """The app on a pty of its own."""

    def __init__(self, base: Path) -> None:
        self.written = b""
        self.process, self.leader = pty.fork()
        if self.process == 0:
            words = [sys.executable, "-m", "nanochat"]
            os.execvpe(words[0], words, environment(base))
        fcntl.ioctl(self.leader, termios.TIOCSWINSZ, struct.pack("HHHH", 45, 150, 0, 0))

    def read(self, until: bytes = b"", seconds: float = 1.0) -> None:
        """Takes what is written until `until` appears, or until nothing came for `seconds`."""
        start, quiet = len(self.written), time.monotonic() + seconds
        while time.monotonic() < quiet:
            if select.select([self.leader], [], [], 0.1)[0]:
                try:
                    part = os.read(self.leader, 65536)
                except OSError:
                    return
                self.written += part
                if not until:
                    quiet = time.monotonic() + min(seconds, 0.5)
            if until and until in self.written[start:]:
                return

    def press(self, keys: str) -> None:
        os.write(self.leader, keys.encode())
        self.read()

    def close(self) -> None:
        os.kill(self.process, signal.SIGTERM)
        for _ in range(100):
            self.read(seconds=0.1)
            if os.waitpid(self.process, os.WNOHANG)[0]:
                break
        else:
            os.kill(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)
        os.close(self.leader)


def test_screens(base: Path) -> None:
    terminal = Terminal(base)
    try:
        terminal.read(until=b"EVIL", seconds=60)
        for keys in (
            "y",
            "\r",
            "\t",
            "\t",
            "\t",
            "\t",
            "?",
            "\x1b",
            "1",
            "c",
            "\x1b",
            "7",
            "\r",
            "\x1b",
            "1",
            "n",
            "\x1b",
        ):
            terminal.press(keys)
        for keys in ("2", "3", "4", "5", "6", "7", "\x10", "\x1b"):
            terminal.press(keys)
    finally:
        terminal.close()
    check_clean(terminal.written)
    copied = [
        base64.b64decode(word) for word in re.findall(rb"\x1b\]52;c;([A-Za-z0-9+/=]+)", terminal.written)
    ]
    files = [path.read_bytes() for path in base.glob("clipboard*")]
    assert copied or files
    for text in (*copied, *files):
        check_clean(text)
