"""How fast logs of other programs become runs: upstream's console log, an offline run of W&B, a growing log.

    python bench/import.py [--steps 100000] [--rounds 3] [--no-wandb] [--wandb FILE]

The first figure is the whole command, after which the run directory is there. A whole curve is measured from
the start of the control room's own way, connecting included, until every point can be read from the store.
Memory is that of the reading process or the host's agent, the larger of the two. The growing log is followed
as the control room follows it, and a line counts as there once its point can be read from the store. The last
line is one JSON document.
"""

import argparse
import asyncio
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from parts.foreign_logs import console_line, write_console, write_wandb  # noqa: E402
from parts.report import Row, report  # noqa: E402

from nanochat.common.paths import Layout  # noqa: E402
from remote.fleet.fleet import Fleet  # noqa: E402

LINES = 20
PAUSES = (0.3, 0.7)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3, help="the best one counts")
    parser.add_argument("--no-wandb", action="store_true", help="where the package wandb is not installed")
    parser.add_argument("--wandb", type=Path, help="a .wandb file of that many steps instead of a new one")
    parser.add_argument("--curve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--base", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def command(log: Path, base: Path) -> float:
    """Seconds of the whole command `nanochat import`, after which the run directory is there."""
    started = time.perf_counter()
    words = [sys.executable, "-m", "nanochat", "import", "--base-dir", str(base), "--json", str(log)]
    done = subprocess.run(words, check=True, cwd=ROOT, capture_output=True)
    assert not json.loads(done.stdout)["problems"], done.stdout
    return time.perf_counter() - started


async def curve(log: Path, base: Path, steps: int) -> dict[str, float]:
    """Imports as the control room does, until every point of the loss can be read from the store."""
    started = time.perf_counter()
    fleet = Fleet(Layout(base))
    try:
        await fleet.connect("local")
        found = await fleet.imports.take("local", [str(log)])
        key = found.logs[0].runs[0].key
        await fleet.catch_up("local", [key], within=600)
        series = fleet.store.series(key, "train/loss")
        seconds = time.perf_counter() - started
        assert list(series.step) == list(range(steps)), len(series)
    finally:
        await fleet.aclose()
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return {"seconds": seconds, "mib": max(resource.getrusage(kind).ru_maxrss for kind in kinds) / 1024}


def to_the_curve(log: Path, folder: Path, steps: int, rounds: int) -> tuple[float, float]:
    """The least seconds of some rounds, each in a process of its own, and the most memory."""
    found = []
    for number in range(rounds):
        words = [sys.executable, __file__, "--steps", str(steps), "--curve", str(log)]
        base = folder / f"{log.name}-{number}"
        done = subprocess.run([*words, "--base", str(base)], check=True, capture_output=True)
        found.append(json.loads(done.stdout))
    return min(one["seconds"] for one in found), max(one["mib"] for one in found)


async def growing(folder: Path) -> list[float]:
    """Seconds from each line that is appended to a log until its point is in the store."""
    log = folder / "growing.log"
    write_console(log, 10, ended=False)
    fleet = Fleet(Layout(folder / "growing"))
    try:
        await fleet.connect("local")
        found = await fleet.imports.take("local", [str(log)], follow=True)
        key = found.logs[0].runs[0].key
        await fleet.catch_up("local", [key])
        changed = asyncio.Event()
        fleet.subscribe(lambda change: changed.set())
        waits, choose = [], random.Random(1)
        for step in range(10, 10 + LINES):
            await asyncio.sleep(choose.uniform(*PAUSES))
            with log.open("a", encoding="utf-8") as file:
                file.write(console_line(step, 1000))
            started = time.perf_counter()
            while list(fleet.store.series(key, "train/loss").step)[-1] != step:
                changed.clear()
                await asyncio.wait_for(changed.wait(), 10)
            waits.append(time.perf_counter() - started)
        return waits
    finally:
        await fleet.aclose()


def main() -> None:
    arguments = parse()
    steps, load = arguments.steps, os.getloadavg()[0]
    if arguments.curve:
        print(json.dumps(asyncio.run(curve(arguments.curve, arguments.base, steps))))
        return
    result: dict[str, Any] = {"load": load, "steps": steps}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        waits = asyncio.run(growing(folder))
        result["growing_seconds"] = waits
        middle, most = statistics.median(waits), max(waits)
        rows.append(("a line of a growing log, to its point", f"{middle:.2f} s, at most {most:.2f} s", "1 s"))
        log = folder / "console.log"
        write_console(log, steps)
        alone = min(command(log, folder / f"alone-{number}") for number in range(arguments.rounds))
        rows.append((f"nanochat import: console log of {steps:,} steps", f"{alone:.2f} s", "2 s"))
        seconds, peak = to_the_curve(log, folder, steps, arguments.rounds)
        rows.append(("  to the whole curve", f"{seconds:.2f} s, {peak:.0f} MiB", ""))
        result |= {"console_seconds": alone, "console_curve_seconds": seconds, "console_mib": peak}
        if not arguments.no_wandb:
            file = arguments.wandb or write_wandb(folder, steps)
            seconds, peak = to_the_curve(file, folder, steps, arguments.rounds)
            result |= {"wandb_seconds": seconds, "wandb_mib": peak, "wandb_bytes": file.stat().st_size}
            what = f"offline W&B run of {steps:,} steps with 8 figures, to the whole curve"
            rows.append((what, f"{seconds:.2f} s, {peak:.0f} MiB", "6 s, 150 MiB"))
    print("\n".join(report(f"import (load before {load:.1f})", rows)))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
