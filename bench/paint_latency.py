"""How soon after a key the screen shows what the key did, for the keys of every screen, in a real terminal.

    python bench/paint_latency.py [--live] [--rounds 3] [--size 120x40] [--only WORD] [--base-dir DIR]

The app runs in a tmux server of its own over a base directory of made-up runs, or over a copy of DIR without
its checkpoints. Without --live nothing is at work there: the hard case, as no update paints by accident what
a key has changed. With --live a run logs three steps a second.

A key's time ends when the terminal has taken in the output that shows what is expected; `settled` is when the
screen changed last. The last lines are over all keys, with the bars of an idle app on a quiet machine: exit 1
when one is broken, or when something never came. Needs tmux 3.2.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.parts.checkpoints import make_checkpoints  # noqa: E402
from bench.parts.evaluations import make_evaluations  # noqa: E402
from bench.parts.paint_step import CHANGED, Step  # noqa: E402
from bench.parts.paint_steps import RUN, RUNS, STEPS  # noqa: E402
from bench.parts.runs import make_base, start_live_run  # noqa: E402
from bench.parts.terminal import Sees, Terminal, available  # noqa: E402
from bench.parts.training_results import make_training_results  # noqa: E402

PATIENCE = 10.0
QUIET = 0.25
STARTS = 5
FIRST = re.compile(r"more\s*$")
BARS = {"p50": 60.0, "p99": 150.0, "max": 400.0}
"""Milliseconds over all keys of an idle app on a quiet machine."""
FIRST_BAR = 450.0
"""Milliseconds from exec to the first whole screen, in tmux."""


@dataclass
class Times:
    """Milliseconds of one step in every round: until it was seen (None: never) and until nothing changed."""

    seen: list[float | None] = field(default_factory=list)
    settled: list[float] = field(default_factory=list)

    @property
    def known(self) -> list[float]:
        return [time for time in self.seen if time is not None]

    @property
    def never(self) -> int:
        return len(self.seen) - len(self.known)


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest of `values` that `share` of them do not exceed; 0 without values."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else 0.0


def expectation(want: str, text: str, coloured: str) -> Sees:
    """The test for what a step wants, given the screen before it."""
    if want == CHANGED:
        return lambda _, now: now != coloured
    if want.startswith("!"):
        return lambda now, _: not re.search(want[1:], now)
    return lambda now, _: bool(re.search(want, now)) and now != text


def press(terminal: Terminal, step: Step) -> tuple[float, Sees]:
    """Does what the step says; returns when that was and the test for what it wants."""
    before = terminal.text(), terminal.coloured()
    started = time.monotonic()
    if step.keys.startswith("size:"):
        terminal.resize(step.keys[5:])
        before = terminal.text(), terminal.coloured()  # tmux itself has cut or filled up what was there
    elif step.keys.startswith("click:"):
        terminal.click(step.keys[6:])
    else:
        terminal.press(step.keys)
    return started, expectation(step.want, *before)


def measure(terminal: Terminal, step: Step) -> tuple[float | None, float]:
    """Milliseconds until the step is seen, None if it never is, and until the screen stands still."""
    if step.want != CHANGED and not step.want.startswith("!"):
        pattern = step.want  # an earlier message must have gone before the same one can come again
        terminal.wait(lambda now, _: not re.search(pattern, now), time.monotonic(), 2.0)
    started, sees = press(terminal, step)
    found = terminal.wait(sees, started, PATIENCE)
    settled = 1000 * (terminal.settle(QUIET, 1.5) - started)
    return (None, settled) if found is None else (1000 * found, max(1000 * found, settled))


def first_screen(terminal: Terminal, command: Sequence[str]) -> float:
    """Milliseconds from exec to the key bar, the last line to be drawn."""
    started = time.monotonic()
    terminal.start(command, {"PYTHONPATH": str(ROOT)})
    found = terminal.wait(lambda now, _: bool(FIRST.search(now)), started, 20.0)
    if found is None:
        raise SystemExit(f"{terminal.text()}\nthe app did not come up")
    return 1000 * found


def run_steps(terminal: Terminal, steps: Sequence[Step], live: bool, times: dict[str, Times]) -> None:
    """Presses every key in turn and adds to `times`."""
    for step in steps:
        if live and step.idle_only:
            continue
        if live and step.want == CHANGED:  # with a live run something always changes
            press(terminal, step)
            terminal.settle(0.1, 0.4)
            continue
        seen, settled = measure(terminal, step)
        known = times.setdefault(step.name, Times())
        known.seen.append(seen)
        known.settled.append(settled)
        if seen is None:
            print(f"never: {step.name}\n{terminal.text()}", file=sys.stderr, flush=True)
        if terminal.ended():
            raise SystemExit(f"{terminal.text().rstrip()}\nthe app ended at: {step.name}")


def one_round(terminal: Terminal, given: argparse.Namespace, base: Path, times: dict[str, Times]) -> None:
    """All keys over a base directory nobody has opened: what one round leaves behind changes the next."""
    command = [sys.executable, "-m", "nanochat", "--base-dir", str(base)]
    first_screen(terminal, command)
    stage: subprocess.Popen[bytes] | None = None
    try:
        if given.live:
            stage = start_live_run(base)
        time.sleep(4)  # the runs are read
        if re.search(RUN, terminal.text()):
            measure(terminal, Step("to Runs", "1", RUNS))
        run_steps(terminal, STEPS[: given.steps], given.live, times)
    finally:
        if stage is not None:
            stage.kill()
            stage.wait()


def prepare(given: argparse.Namespace, base: Path) -> Path:
    """Fills `base`, the directory to open: with made-up runs, or as a copy."""
    if given.base_dir:
        shutil.copytree(given.base_dir, base, ignore=shutil.ignore_patterns("*checkpoints*", "*.lock"))
    else:
        make_base(base)
    make_evaluations(base)
    make_training_results(base)
    make_checkpoints(base)
    return base


def print_table(times: dict[str, Times], only: str) -> None:
    print(f"{'':34} {'n':>3} {'p50':>7} {'p99':>7} {'max':>7} {'settled':>8}   ms")
    for name, known in times.items():
        if only in name:
            p50, p99 = quantile(known.known, 0.5), quantile(known.known, 0.99)
            note = f"  ✗ {known.never} × never" if known.never else ""
            print(
                f"{name:34} {len(known.seen):3} {p50:7.0f} {p99:7.0f} {max(known.known, default=0):7.0f} "
                f"{max(known.settled):8.0f}{note}"
            )


def summary(times: dict[str, Times], first: Sequence[float]) -> dict[str, float]:
    """The figures that the bars are for, in milliseconds, and how many steps never came."""
    every = [value for known in times.values() for value in known.known]
    return {
        "p50": quantile(every, 0.5),
        "p99": quantile(every, 0.99),
        "max": max(every, default=0.0),
        "first": quantile(first, 0.5),
        "never": float(sum(known.never for known in times.values())),
        "keys": float(len(every)),
    }


def broken(figures: dict[str, float]) -> list[str]:
    """The bars that do not hold."""
    over = [f"{name} {figures[name]:.0f} > {bar:.0f}" for name, bar in BARS.items() if figures[name] > bar]
    over += [f"first screen {figures['first']:.0f} > {FIRST_BAR:.0f}"] if figures["first"] > FIRST_BAR else []
    return over + ([f"{figures['never']:.0f} never came"] if figures["never"] else [])


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--live", action="store_true", help="with a run at work; the bars do not count")
    parser.add_argument("--rounds", type=int, default=3, help="how often every key is pressed [3]")
    parser.add_argument("--size", default="120x40", metavar="COLSxROWS", help="[120x40]")
    parser.add_argument("--only", default="", metavar="WORD", help="print only steps whose name holds it")
    parser.add_argument("--steps", type=int, default=len(STEPS), help="press only the first so many keys")
    parser.add_argument("--base-dir", default="", metavar="DIR", help="work on a copy of this one")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of the table")
    return parser.parse_args()


def main() -> int:
    given = options()
    if not available():
        raise SystemExit("tmux is needed (apt install tmux, brew install tmux)")
    times: dict[str, Times] = {}
    with tempfile.TemporaryDirectory(prefix="paint-latency-") as folder, Terminal(given.size) as terminal:
        for number in range(given.rounds):
            base = prepare(given, Path(folder) / str(number))
            one_round(terminal, given, base, times)
        command = [sys.executable, "-m", "nanochat", "--base-dir", str(base)]
        first = [first_screen(terminal, command) for _ in range(STARTS)]
    figures = summary(times, first)
    over = broken(figures)
    if given.json:
        steps = {name: known.seen for name, known in times.items()}
        print(json.dumps({"size": given.size, "live": given.live, **figures, "steps": steps}))
    else:
        print_table(times, given.only)
        state = f"{given.size}, {'with a live run' if given.live else 'idle'}, {figures['keys']:.0f} keys"
        shown = ", ".join(f"{name} {figures[name]:.0f}" for name in BARS)
        print(f"\n{state}: {shown} ms; first whole screen {figures['first']:.0f} ms")
        print("every bar holds" if not over else f"over the bar: {', '.join(over)}")
    return 1 if (figures["never"] if given.live else over) else 0


if __name__ == "__main__":
    raise SystemExit(main())
