"""What a bench sees of the app that `watched_app.py` runs in a terminal: words painted, turns of the loop."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from bench.parts.terminal import Terminal

PATIENCE = 60.0


def seen(terminal: Terminal, press: str | Callable[[], None], *wanted: str) -> float:
    """Milliseconds from a press, or keys, until all of these words are on the screen. Raises SystemExit."""
    started = time.monotonic()
    if isinstance(press, str):
        terminal.press(press)
    else:
        press()
    found = terminal.wait(lambda text, _: all(word in text for word in wanted), started, PATIENCE)
    if found is None:
        raise SystemExit(f"{terminal.text()}\n{', '.join(wanted)} did not come")
    return 1000 * found


def held(report: Path, since: float) -> float:
    """The most processor time of a turn of the loop, in milliseconds, since a moment (Unix time, s)."""
    lines = [json.loads(line) for line in report.read_text(encoding="utf-8").split("\n")[:-1]]
    return 1000 * max((line["held"] for line in lines if line["t"] >= since), default=0.0)
