"""How fast logs of other programs become runs: upstream's console log, an offline run of W&B, a growing log.

    python bench/import.py [--steps 100000] [--rounds 3] [--no-wandb] [--wandb FILE]

Each import is the whole command `nanochat import` in a new base directory, from its start until every point
is in the store, which is read here to check it. Memory is that of the command and its agent, the larger of
the two. Of the console log the agent alone, which makes the run directory, is measured as well. The growing
log is followed as the control room follows it, and a line counts as there once its point can be read from the
store. The last line is one JSON document.
"""

import argparse
import asyncio
import json
import os
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
from remote.store.store import Store  # noqa: E402

LINES = 20
PAUSE = 0.4


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3, help="the best one counts")
    parser.add_argument("--no-wandb", action="store_true", help="where the package wandb is not installed")
    parser.add_argument("--wandb", type=Path, help="a .wandb file of that many steps instead of a new one")
    return parser.parse_args()


def imported(log: Path, base: Path, steps: int) -> tuple[float, float]:
    """Seconds and MiB that `nanochat import` takes. Every point of the loss must be in the store then."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "nanochat", "import", "--base-dir", str(base), "--json", str(log)]
    done = subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    [found] = json.loads(done.stdout)["logs"]
    store = Store(Layout(base).store)
    try:
        series = store.series(found["runs"][0]["key"], "train/loss")
        assert len(series) == steps and list(series.step) == list(range(steps)), len(series)
    finally:
        store.close()
    return seconds, peak


def made(log: Path, base: Path) -> float:
    """Seconds that the host's agent takes to make the run directory."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "remote.agent", "import", "--base", str(base)]
    request = json.dumps({"paths": [str(log)]}).encode()
    done = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, input=request)
    assert not json.loads(done.stdout)["problems"], done.stdout
    return time.perf_counter() - started


def best(log: Path, folder: Path, steps: int, rounds: int) -> tuple[float, float]:
    """The least seconds of some rounds, and the most memory."""
    found = [imported(log, folder / f"{log.name}-{number}", steps) for number in range(rounds)]
    return min(seconds for seconds, _ in found), max(peak for _, peak in found)


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
        waits = []
        for step in range(10, 10 + LINES):
            await asyncio.sleep(PAUSE)
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
        seconds, peak = best(log, folder, steps, arguments.rounds)
        alone = min(made(log, folder / f"alone-{number}") for number in range(arguments.rounds))
        result |= {"console_seconds": seconds, "console_mib": peak, "console_directory_seconds": alone}
        rows.append((f"console log of {steps:,} steps, its run directory", f"{alone:.2f} s", "2 s"))
        rows.append(("  to the whole curve", f"{seconds:.2f} s, {peak:.0f} MiB", ""))
        if not arguments.no_wandb:
            file = arguments.wandb or write_wandb(folder, steps)
            seconds, peak = best(file, folder, steps, arguments.rounds)
            result |= {"wandb_seconds": seconds, "wandb_mib": peak, "wandb_bytes": file.stat().st_size}
            what = f"offline W&B run of {steps:,} steps with 8 figures"
            rows.append((what, f"{seconds:.2f} s, {peak:.0f} MiB", "6 s, 150 MiB"))
    print("\n".join(report(f"import (load before {load:.1f})", rows)))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
