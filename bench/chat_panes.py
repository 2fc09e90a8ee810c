"""How smoothly answers stream into the Chat screen: four panes, each with a long history, at 60 tokens/s.

    python bench/chat_panes.py [--rate 60] [--history 10000] [--seconds 20] [--size 200x60] [--panes 4]
    python bench/chat_panes.py --peer-python ~/elia/bin/python     a Python with `pip install elia-chat`

A scripted server sends the tokens and notes when each left; the app runs in a pseudo-terminal, and what it
paints is read as a terminal reads it. Printed: the time from a token on the wire to its text on the screen,
the longest that one turn of the app's event loop took (processor time, which what else the machine does
cannot change), and the app's memory. The peer, Elia, has one pane on the same server.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "bench"))

from parts.painted_marks import Painted  # noqa: E402
from parts.report import Row, report  # noqa: E402
from parts.token_server import mark, serve  # noqa: E402

PATIENCE = 300.0
SETTLE = 3.0
STILL_BYTES = 2_000
"""What an app may paint in a second while nothing happens."""
P99_BAR, HELD_BAR, MEMORY_BAR = 0.1, 0.05, 200e6


@contextlib.contextmanager
def token_server(folder: Path) -> Iterator[tuple[str, Path]]:
    """The server's address and log."""
    port, log = folder / "port", folder / "sent.jsonl"
    port.unlink(missing_ok=True)
    process = multiprocessing.get_context("spawn").Process(
        target=serve, args=(str(port), str(log)), daemon=True
    )
    process.start()
    try:
        until(lambda: port.exists() and port.read_text(encoding="utf-8"))
        yield f"http://127.0.0.1:{port.read_text(encoding='utf-8')}", log
    finally:
        process.kill()
        process.join()


def until(holds: Callable[[], Any], patience: float = PATIENCE) -> None:
    """Waits for something. Raises TimeoutError."""
    deadline = time.monotonic() + patience
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"it did not come within {patience:g} s")
        time.sleep(0.05)


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The JSON lines of a file that is being written."""
    whole = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in whole]


def answered(log: Path, count: int) -> Callable[[], bool]:
    """Whether the server has ended `count` answers."""
    return lambda: sum("done" in line for line in lines_of(log)) >= count


def is_still(app: Painted) -> bool:
    """Whether hardly anything is painted for a moment: a clock, a cursor that blinks."""
    before = app.written
    time.sleep(SETTLE)
    return app.written - before < STILL_BYTES * SETTLE


def ask(app: Painted, question: str, enter: str = "\r") -> None:
    """Types a question, and `enter` once it is taken in."""
    app.press(question)
    time.sleep(0.5)
    app.press(enter)


def latencies(log: Path, app: Painted, panes: int, count: int) -> tuple[list[float], int]:
    """Seconds from wire to screen of every token, sorted, and how many were never seen."""
    sent = {line["mark"]: line["t"] for line in lines_of(log) if "mark" in line}
    wanted = [mark(f"m{pane}", number) for pane in range(panes) for number in range(count)]
    seen = sorted(app.marks[one] - sent[one] for one in wanted if one in app.marks and one in sent)
    return seen, len(wanted) - len(seen)


def share(values: list[float], part: float) -> float:
    return values[min(len(values) - 1, int(part * len(values)))]


def shown(values: list[float]) -> str:
    return " · ".join(f"{1e3 * share(values, part):.0f}" for part in (0.5, 0.99, 1.0)) + " ms"


def chat_screen(folder: Path, given: argparse.Namespace, size: tuple[int, int]) -> list[Row]:
    """The Chat screen over the scripted server."""
    base, report = folder / "base", folder / "report.jsonl"
    base.mkdir()
    count = int(given.seconds * given.rate)
    with token_server(folder) as (url, log):
        targets = [{"target": f"{url} m{number}"} for number in range(given.panes)]
        settings = {"chat": {"panes": {"panes": targets}, "all": True}}
        (base / "control-room.json").write_text(json.dumps(settings), encoding="utf-8")
        environment = {
            **os.environ,
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "PYTHONPATH": str(ROOT),
        }
        watched = str(ROOT / "bench" / "parts" / "watched_app.py")
        with Painted([sys.executable, watched, str(base), str(report)], environment, size) as app:
            until(lambda: lines_of(report))
            time.sleep(SETTLE)
            app.press("5")
            until(lambda: lines_of(report)[-1]["screen"] == "chat")
            time.sleep(SETTLE)
            began = time.time()
            if given.history:
                ask(app, f"history {given.history}")
                until(answered(log, given.panes))
                until(lambda: is_still(app))
            asked = time.time()
            ask(app, f"stream {count} {given.rate:g}")
            until(answered(log, given.panes * (2 if given.history else 1)))
            until(lambda: is_still(app))
            lines = lines_of(report)
        seen, missed = latencies(log, app, given.panes, count)
    loading = [line for line in lines if began <= line["t"] < asked]
    streaming = [line for line in lines if line["t"] >= asked]
    most = max(line["rss"] for line in lines)
    spent = streaming[-1]["cpu"] - streaming[0]["cpu"]
    return [
        (f"{given.panes} panes × {given.rate:g} tokens/s, {given.history:,} tokens of history each", "", ""),
        ("  wire to screen: median, 99 %, longest", shown(seen), f"99 %: {1e3 * P99_BAR:.0f} ms"),
        ("  tokens that were never on the screen", f"{missed:,} of {given.panes * count:,}", "0"),
        ("  longest turn of the loop", f"{1e3 * max(one['held'] for one in streaming):.0f} ms", _held()),
        ("  latest timer (with whatever else the machine did)", _late(streaming), ""),
        ("  processor", f"{100 * spent / (streaming[-1]['t'] - streaming[0]['t']):.0f} % of a core", ""),
        (
            "  longest turn while the history came",
            f"{1e3 * max(one['held'] for one in loading):.0f} ms",
            _held(),
        ),
        ("  memory at most", f"{most / 1e6:.0f} MB", f"{MEMORY_BAR / 1e6:.0f} MB"),
    ]


def _held() -> str:
    return f"{1e3 * HELD_BAR:.0f} ms"


def _late(lines: list[dict[str, Any]]) -> str:
    return f"{1e3 * max(line['late'] for line in lines):.0f} ms"


def elia(folder: Path, given: argparse.Namespace, size: tuple[int, int]) -> list[Row]:
    """Elia with one chat on the same server: the same history, the same rate."""
    home = folder / "home"
    config = home / ".config" / "elia" / "config.toml"
    config.parent.mkdir(parents=True)
    count = int(given.seconds * given.rate)
    with token_server(folder) as (url, log):
        config.write_text(
            f'default_model = "openai/m0"\n[[models]]\nname = "openai/m0"\napi_base = "{url}/v1"\n'
            'api_key = "none"\n',
            encoding="utf-8",
        )
        places = {"HOME": home, "XDG_CONFIG_HOME": home / ".config", "XDG_DATA_HOME": home / ".local/share"}
        environment = {
            **os.environ,
            **{name: str(place) for name, place in places.items()},
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "PYTHONPATH": "",
            "OPENAI_API_KEY": "none",
            "OPENAI_API_BASE": f"{url}/v1",
        }
        program = str(Path(given.peer_python).parent / "elia")
        first = f"history {given.peer_history}" if given.peer_history else f"stream {count} {given.rate:g}"
        with Painted([program, first], environment, size) as app:
            until(answered(log, 1))
            until(lambda: is_still(app))
            if given.peer_history:
                ask(app, f"stream {count} {given.rate:g}", enter="\n")
                until(answered(log, 2))
            until(lambda: is_still(app))
            memory = psutil.Process(app.pid).memory_info().rss
        seen, missed = latencies(log, app, 1, count)
    return [
        (f"Elia, 1 pane × {given.rate:g} tokens/s, {given.peer_history:,} tokens of history", "", ""),
        ("  wire to screen: median, 99 %, longest", shown(seen) if seen else "none seen", ""),
        ("  tokens that were never on the screen", f"{missed:,} of {count:,}", ""),
        ("  memory at the end", f"{memory / 1e6:.0f} MB", ""),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--panes", type=int, default=4, choices=(0, 1, 2, 3, 4), help="0: the peer alone")
    parser.add_argument("--rate", type=float, default=60.0, help="tokens a second of each pane")
    parser.add_argument("--history", type=int, default=10_000, help="tokens in each pane before")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--size", default="200x60", metavar="COLSxROWS")
    parser.add_argument("--peer-python", default="", metavar="PATH")
    parser.add_argument("--peer-history", type=int, default=1_000, help="tokens before, in the peer's pane")
    given = parser.parse_args()
    columns, rows = map(int, given.size.split("x"))
    table: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        if given.panes:
            table += chat_screen(Path(name), given, (columns, rows))
        if given.peer_python:
            table += elia(Path(name), given, (columns, rows))
    print("\n".join(report(f"answers that stream, at {given.size}", table)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
