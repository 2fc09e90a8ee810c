"""How long the control room takes to its first full frame, in a real pseudo-terminal.

The clock starts at exec and stops when the key bar, the last line drawn, is on the screen. Printed for an
empty base directory, one with 200 ended runs, and one whose newest run is live, beside a bare `python -c
pass` on the same machine. Usage: python bench/first_frame.py [--runs 7] [--size 120x40] [--json]
"""

from __future__ import annotations

import argparse
import fcntl
import json
import math
import os
import pty
import select
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

LAST_DRAWN = b"more"
PATIENCE = 30.0
BUDGET = 0.4


def first_frame(base: Path, columns: int, rows: int) -> float:
    """Seconds from exec to the first full frame. Raises TimeoutError when none comes."""
    started = time.perf_counter()
    pid, terminal = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        environment = {
            **os.environ,
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "PYTHONPATH": str(ROOT),
        }
        os.execve(sys.executable, [sys.executable, "-m", "nanochat", "--base-dir", str(base)], environment)
    try:
        return _wait_for(LAST_DRAWN, terminal, started)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


def _wait_for(mark: bytes, terminal: int, started: float) -> float:
    seen = b""
    while time.perf_counter() - started < PATIENCE:
        if select.select([terminal], [], [], 0.5)[0]:
            try:
                seen += os.read(terminal, 65536)
            except OSError as error:
                raise RuntimeError(f"the app ended before its first frame: {seen[-300:]!r}") from error
            if mark in seen:
                return time.perf_counter() - started
    raise TimeoutError(f"no first frame within {PATIENCE:g} s")


def bare_python() -> float:
    """Seconds of `python -c pass`."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - started


def seed(base: Path, runs: int, live: bool) -> None:
    """Writes `runs` ended runs into the store of `base`, and one live run with 2,000 steps."""
    from nanochat.common.paths import Layout
    from remote.store.store import Store

    base.mkdir(parents=True)
    with Store(Layout(base).store) as store:
        for index in range(runs):
            _ingest(store, f"20260101-{index:06d}-base_train-{index:04x}", "succeeded", 20)
        if live:
            _ingest(store, "20260201-000000-base_train-ffff", "running", 2000)


def _ingest(store: object, run_id: str, status: str, steps: int) -> None:
    from remote.store.store import Store

    assert isinstance(store, Store)
    now = time.time()
    run = {"run_id": run_id, "name": "bench", "stage": "base_train", "created_at": now}
    store.ingest_state("local", run, {"run_id": run_id, "status": status, "started_at": now - 600})
    events: list[dict[str, object]] = [
        {"kind": "stage_start", "step": None, "data": {"attempt": 1, "from_step": 0, "total_steps": steps}}
    ]
    events += [
        {
            "kind": "metric",
            "step": step,
            "data": {"train/loss": 3 + math.exp(-step / 50), "progress": step / steps},
        }
        for step in range(steps)
    ]
    lines = [json.dumps({"seq": seq, "t": now, **event}) for seq, event in enumerate(events)]
    store.ingest("local", run_id, "events.jsonl", 0, ("\n".join(lines) + "\n").encode())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=7, help="starts per line; the median is printed [7]")
    parser.add_argument("--size", default="120x40", metavar="COLSxROWS")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of the table")
    given = parser.parse_args()
    columns, rows = map(int, given.size.split("x"))
    figures: dict[str, list[float]] = {"python -c pass": [bare_python() for _ in range(given.runs)]}
    with tempfile.TemporaryDirectory() as folder:
        for name, count, live in (
            ("empty base directory", 0, False),
            ("200 runs", 200, False),
            ("live run", 200, True),
        ):
            base = Path(folder) / name.replace(" ", "-")
            if count or live:
                seed(base, count, live)
            first_frame(base, columns, rows)  # byte-compiles what is new
            figures[name] = [first_frame(base, columns, rows) for _ in range(given.runs)]
    if given.json:
        print(json.dumps({"size": given.size, "seconds": figures}))
        return 0
    print(f"first full frame at {given.size}, seconds from exec, {given.runs} starts each (budget {BUDGET})")
    print(f"{'':<24}{'median':>8}{'fastest':>9}{'slowest':>9}")
    for name, seconds in figures.items():
        print(f"{name:<24}{statistics.median(seconds):>8.3f}{min(seconds):>9.3f}{max(seconds):>9.3f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
