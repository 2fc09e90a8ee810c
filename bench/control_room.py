"""What the control room costs: a list of many runs with one live, and one run of a million steps.

The app runs in a pseudo-terminal over run directories made for it (the same each time), with its agent, as
for a person. Printed: the share of one processor that the app takes with the list in front; for the long run
the seconds until all of it is in the store, until its whole curves are drawn once it is, the memory, and the
longest that one turn of the event loop took. W&B LEET opens a tenth of it in 11.5 s with 147 MB.

Usage: python bench/control_room.py [--steps 1000000] [--metrics 8] [--runs 1000] [--seconds 20]
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import pty
import signal
import struct
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "bench"))

from parts.live_run import LiveRun  # noqa: E402
from parts.report import Row, report  # noqa: E402
from parts.run_logs import write_run  # noqa: E402

PATIENCE = 600.0
LIST_BAR, INGEST_BAR, OPEN_BAR, MEMORY_BAR, HELD_BAR = 2.0, 15.0, 1.5, 200e6, 0.05
LEET = "W&B LEET, a tenth of it"


@dataclass
class App:
    """The app in its terminal, and what it reports of itself."""

    pid: int
    terminal: int
    report: Path
    began: float
    lines: list[dict[str, Any]] = field(default_factory=list)

    def press(self, key: str) -> float:
        """Types a key; when."""
        os.write(self.terminal, key.encode())
        return time.time()

    def read(self) -> None:
        """Takes in what has been reported meanwhile."""
        if self.report.exists():
            whole = self.report.read_text(encoding="utf-8").split("\n")[:-1]
            self.lines = [json.loads(line) for line in whole]

    def until(self, holds: Callable[[dict[str, Any]], bool], since: float = 0.0) -> float:
        """Waits for a report after `since` for which `holds` holds; its time. Raises TimeoutError."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            self.read()
            found = next((line["t"] for line in self.lines if line["t"] >= since and holds(line)), None)
            if found is not None:
                return float(found)
            time.sleep(0.05)
        raise TimeoutError(f"the app did not get there within {PATIENCE:g} s")

    def most(self, name: str, since: float = 0.0) -> float:
        return max(float(line[name]) for line in self.lines if line["t"] >= since)


@contextlib.contextmanager
def running(base: Path, folder: Path, size: tuple[int, int]) -> Iterator[App]:
    """The app over `base`; killed at the end."""
    report = folder / "report.jsonl"
    report.unlink(missing_ok=True)
    script = ROOT / "bench" / "parts" / "watched_app.py"
    began = time.time()
    pid, terminal = pty.fork()
    if pid == 0:
        columns, rows = size
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}
        os.execve(sys.executable, [sys.executable, str(script), str(base), str(report)], environment)
    painted = threading.Thread(target=_drain, args=(terminal,), daemon=True)
    painted.start()
    try:
        yield App(pid, terminal, report, began)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        painted.join()
        os.close(terminal)


def _drain(terminal: int) -> None:
    """Throws away what is painted, as quickly as a terminal takes it, until the app has ended."""
    with contextlib.suppress(OSError):
        while os.read(terminal, 1 << 16):
            pass


def many_runs(folder: Path, runs: int, seconds: float, size: tuple[int, int]) -> list[Row]:
    """The processor's share of the app with a list of `runs` ended runs and a live one in front."""
    base = folder / "many"
    for number in range(runs):
        write_run(base, number, steps=20)
    stop = threading.Event()
    live = LiveRun(base)
    writer = threading.Thread(target=live.write, args=(stop,), daemon=True)
    writer.start()
    try:
        with running(base, folder, size) as app:
            app.until(lambda line: line["runs"] == runs + 1 and line["unread"] < 10_000)
            app.press("1")
            app.until(lambda line: line["screen"] == "runs", time.time())
            time.sleep(5)
            since = time.time()
            time.sleep(seconds)
            app.read()
            held, memory = app.most("held", since), app.lines[-1]["rss"]
            os.kill(app.pid, signal.SIGUSR1)
            time.sleep(1)
            process = psutil.Process(app.pid)
            start, since = _processor(process), time.time()
            time.sleep(seconds)
            share = 100 * (_processor(process) - start) / (time.time() - since)
    finally:
        stop.set()
        writer.join()
    return [
        (f"list of {runs:,} runs, one live: processor", f"{share:.1f} % of a core", f"{LIST_BAR:g} %"),
        ("  longest turn of the loop", f"{1e3 * held:.0f} ms", f"{1e3 * HELD_BAR:.0f} ms"),
        ("  memory", f"{memory / 1e6:.0f} MB", ""),
    ]


def _processor(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def one_long_run(folder: Path, steps: int, metrics: int, size: tuple[int, int]) -> list[Row]:
    """A run that nobody has read yet, opened at once; then the same with all of it in the store."""
    base = folder / "long"
    log = write_run(base, 1, steps, metrics) / "events.jsonl"
    written = log.stat().st_size
    with running(base, folder, size) as app:
        app.until(lambda line: line["unread"] > 0 or line["whole"] > 0)
        begun = app.press("2")
        read = app.until(lambda line: line["screen"] == "run" and line["unread"] == 0 and line["whole"] > 0)
        app.until(lambda line: line["whole"] == steps, begun)
        ingest = [app.most("rss"), app.most("held", begun), app.most("late", begun)]
    seconds = read - app.began
    with running(base, folder, size) as app:
        app.until(lambda line: line["runs"] == 1 and line["t"] > app.began + 2)
        opened = app.press("2")
        drawn = app.until(lambda line: line["whole"] == steps, opened)
        time.sleep(2)
        app.read()
        stored = [app.most("rss", opened), app.most("held", opened), app.most("late", opened)]
        after = app.lines[-1]["rss"]
    bars = (f"{INGEST_BAR:g} s", f"{OPEN_BAR:g} s", f"{MEMORY_BAR / 1e6:.0f} MB", f"{1e3 * HELD_BAR:.0f} ms")
    return [
        (
            f"{steps:,} steps × {metrics} metrics ({written / 1e6:.0f} MB), start to all read",
            f"{seconds:.1f} s",
            bars[0],
        ),
        ("  memory at most meanwhile, the run in front", f"{ingest[0] / 1e6:.0f} MB", bars[2]),
        ("  longest turn of the loop", f"{1e3 * ingest[1]:.0f} ms", bars[3]),
        ("  latest timer (with whatever else the machine did)", f"{1e3 * ingest[2]:.0f} ms", ""),
        ("in the store: whole curves after", f"{drawn - opened:.1f} s", bars[1]),
        ("  memory at most, and after", f"{stored[0] / 1e6:.0f}, {after / 1e6:.0f} MB", bars[2]),
        ("  longest turn of the loop", f"{1e3 * stored[1]:.0f} ms", bars[3]),
        ("  latest timer", f"{1e3 * stored[2]:.0f} ms", ""),
        (LEET, "11.5 s, 147 MB", ""),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=1_000_000, help="of the long run, 0: leave it out")
    parser.add_argument("--metrics", type=int, default=8)
    parser.add_argument("--runs", type=int, default=1_000, help="in the list, 0: leave it out")
    parser.add_argument("--seconds", type=float, default=20.0, help="for which the list is watched")
    parser.add_argument("--size", default="120x40", metavar="COLSxROWS")
    given = parser.parse_args()
    columns, rows = map(int, given.size.split("x"))
    table: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.runs:
            table += many_runs(folder, given.runs, given.seconds, (columns, rows))
        if given.steps:
            table += one_long_run(folder, given.steps, given.metrics, (columns, rows))
    print("\n".join(report(f"the control room at {given.size}", table)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
