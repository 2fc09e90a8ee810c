"""How soon the Evals screen shows items, in a real terminal: from the key to the painted table, and a search.

    python bench/evals_screen.py [--rounds 5] [--opened 10000] [--searched 100000]

Two evaluations with items of 2,300 bytes lie in a base directory of their own. The app runs in tmux with a
watch over its event loop: `held` is the most processor time that one turn of it took. A time ends when the
terminal has taken in the output. The bars are for a quiet machine: exit 1 when one is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.parts.evaluations import choice_record, core_result, write_result, write_run_items  # noqa: E402
from bench.parts.runs import make_base  # noqa: E402
from bench.parts.terminal import Terminal, available  # noqa: E402
from bench.parts.watched_screen import held, seen  # noqa: E402

PROMPT = 2_300
"""Bytes of a prompt, as CORE's ten examples have."""
OPEN_BAR, SEARCH_BAR, HELD_BAR = 150.0, 1_000.0, 50.0
"""Milliseconds."""


def fill(base: Path, opened: int, searched: int) -> None:
    """Evaluations of base/small with `opened` items and of base/large with `searched`, of one task each."""
    make_base(base, steps=20)
    for name, count in (("small", opened), ("large", searched)):
        filler = "Question: what is it that one knows? Answer: a thing that one may look up. " * (
            PROMPT // 75
        )
        records = [
            choice_record("copa", at, at % 3 != 0, prompt=f"{filler}\n\nQuestion: which is {at}?\nAnswer:")
            for at in range(count)
        ]
        run = write_run_items(
            base, f"20261130-07{len(name):04d}-base_eval-{name}", "core-items.jsonl", records
        )
        result = core_result(records, 100, run, time.time() - 60)
        path = base / "base_eval" / f"base_model_{count:06d}.json"
        write_result(path, type(result)(**{**vars(result), "checkpoint": f"base/{name}"}))


def measure(given: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Opens the small evaluation some times, then searches the large one."""
    base, report = folder / "base", folder / "report.jsonl"
    fill(base, given.opened, given.searched)
    with Terminal("120x40") as terminal:
        script = ROOT / "bench" / "parts" / "watched_app.py"
        terminal.start([sys.executable, str(script), str(base), str(report)], {"PYTHONPATH": str(ROOT)})
        seen(terminal, "4", "more")
        seen(terminal, "4", "base/small@100", "base/large@100")
        terminal.settle(1.0, 10.0)

        def rounds(count: int, keys: str, *wanted: str, back: str) -> list[float]:
            times = []
            for _ in range(count):
                times.append(seen(terminal, keys, *wanted))
                terminal.settle(0.3, 5.0)
                seen(terminal, "Escape", back)
                terminal.settle(0.3, 5.0)
            return times

        head = next(line for line in terminal.text().split("\n") if "base/small" in line)
        is_second = head.index("base/small") > head.index("base/large")
        if is_second:
            terminal.press("Right")
        since = time.time()
        opened = rounds(
            given.rounds, "Enter", f"{given.opened:,} items", "which is 3?", back="base/small@100"
        )
        held_opening = held(report, since)
        terminal.press("Left" if is_second else "Right")
        terminal.settle(0.3, 5.0)
        seen(terminal, "Enter", f"{given.searched:,} items", "which is 3?")
        terminal.settle(1.0, 10.0)
        since, last = time.time(), given.searched - 1
        searches = []
        for _ in range(given.rounds):
            terminal.press("/")
            terminal.settle(0.2, 2.0)
            terminal.press(f"=which is {last}?")
            terminal.settle(0.2, 2.0)
            searches.append(seen(terminal, "Enter", f"“which is {last}?” 1 of 1"))
            terminal.press("Escape")
            terminal.settle(0.3, 5.0)
            terminal.press("g")
            terminal.settle(0.3, 5.0)
        held_searching = held(report, since)
    return {
        "first": opened[0],
        "open": sorted(opened)[len(opened) // 2],
        "search": sorted(searches)[len(searches) // 2],
        "held_opening": held_opening,
        "held_searching": held_searching,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--opened", type=int, default=10_000)
    parser.add_argument("--searched", type=int, default=100_000)
    given = parser.parse_args()
    if not available():
        raise SystemExit("tmux is needed (apt install tmux, brew install tmux)")
    with tempfile.TemporaryDirectory(prefix="evals-screen-") as folder:
        found = measure(given, Path(folder))
    bars = {
        "open": OPEN_BAR,
        "search": SEARCH_BAR,
        "held_opening": HELD_BAR,
        "held_searching": HELD_BAR,
    }
    print(f"| | | bar |\n|---|---|---|\n| {given.opened:,} items, from enter to the painted table | "
          f"{found['open']:.0f} ms (the first {found['first']:.0f} ms) | {OPEN_BAR:.0f} ms |")  # fmt: skip
    print(f"| {given.searched:,} items searched, to the painted match | {found['search']:.0f} ms | "
          f"{SEARCH_BAR:.0f} ms |")  # fmt: skip
    most = max(found["held_opening"], found["held_searching"])
    print(f"| the event loop held by one turn, at most | {most:.0f} ms | {HELD_BAR:.0f} ms |")
    print(json.dumps({"load": os.getloadavg()[0], **found}))
    over = [name for name, bar in bars.items() if found[name] > bar]
    return 1 if over else 0


if __name__ == "__main__":
    raise SystemExit(main())
