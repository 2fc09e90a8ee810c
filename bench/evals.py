"""How fast evaluations are read: an items file opened, searched, and two compared, beside pandas and scipy.

    python bench/evals.py [--share 1.0] [--rounds 3] [--no-peers]

The files are made: 91,037 items, as many as the published CORE bundle has, with prompts of 2,300 bytes.
Everything begins with the files on the disk; the best of the rounds counts, for the peers too. Figures are
compared: both must find the same items, and agree on every test. The last line is one JSON document.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from parts.eval_files import write_pair  # noqa: E402
from parts.report import Row, report  # noqa: E402

from nanochat.evals.items import Items, read_items  # noqa: E402
from nanochat.evals.paired import DRAWS, Comparison, compare  # noqa: E402

OPENED, SEARCHED = 10_000, 100_000
NEEDLES = ("river where", "question", "prompt", "3.1", "zebra", "Москва")
"""Rare and common words, what also stands in every line beside the texts, what is nowhere."""

T = TypeVar("T")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0, help="share of the published bundle's items")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-peers", action="store_true", help="without pandas and scipy")
    return parser.parse_args()


def best(rounds: int, call: Callable[[], T]) -> tuple[float, T]:
    """The least seconds of some calls, and what the last one gave."""
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        found = call()
        seconds.append(time.perf_counter() - started)
    return min(seconds), found


def first_lines(path: Path, count: int, target: Path) -> Path:
    """A file of exactly `count` items: those of `path`, repeated under other indices."""
    with path.open(encoding="utf-8") as source, target.open("w", encoding="utf-8") as file:
        lines = list(islice(source, count))
        for number in range(count):
            record = json.loads(lines[number % len(lines)])
            file.write(json.dumps(record | {"index": number}, ensure_ascii=True) + "\n")
    return target


def search(items: Items, text: str) -> tuple[int, float]:
    """Items found, and the seconds of the longest slice."""
    found, row, longest = 0, 0, 0.0
    while row < len(items):
        started = time.perf_counter()
        part = items.search(text, row)
        longest = max(longest, time.perf_counter() - started)
        found, row = found + len(part.rows), part.next
    return found, longest


def check(ours: Comparison, theirs: dict[str, Any], core: tuple[float, float]) -> None:
    """Fails where the two disagree by more than their draws do."""
    assert {task.task for task in ours.tasks} == set(theirs)
    for task in ours.tasks:
        other = theirs[task.task]
        assert (task.wins, task.losses) == (other.wins, other.losses), task
        assert abs(task.p - other.p) < 1e-9, task
        # Five standard errors of a quantile of 10,000 draws, and a step of the mean.
        apart = 0.05 * (task.high - task.low) + 1.01 / task.paired
        assert abs(task.low - other.low) <= apart and abs(task.high - other.high) <= apart, (task, other)
    [mean] = ours.means
    apart = 0.05 * (mean.high - mean.low)
    assert abs(mean.low - core[0]) <= apart and abs(mean.high - core[1]) <= apart, (mean, core)


def main() -> None:
    arguments = parse()
    load = os.getloadavg()[0]
    result: dict[str, Any] = {"load": load}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        a, b = write_pair(folder, arguments.share)
        small = first_lines(a, OPENED, folder / "small.jsonl")
        large = first_lines(a, SEARCHED, folder / "large.jsonl")
        seconds, items = best(arguments.rounds, lambda: read_items(small))
        assert len(items) == OPENED
        rows.append(
            (f"{OPENED:,} items read as columns", f"{1000 * seconds:.0f} ms", "150 ms, with the table")
        )
        result["open_seconds"] = seconds

        items = read_items(large)
        searches: dict[str, Any] = {}
        for needle in NEEDLES:
            seconds, (count, longest) = best(arguments.rounds, lambda: search(items, needle))  # noqa: B023
            searches[needle] = {"seconds": seconds, "found": count, "longest_slice": longest}
            figure = f"{seconds:.2f} s, {1000 * longest:.0f} ms a slice"
            rows.append((f"{SEARCHED:,} items searched for “{needle}” ({count:,})", figure, "1 s"))
        result["searches"] = searches

        seconds, ours = best(arguments.rounds, lambda: compare(read_items(a), read_items(b)))
        bar = "2 s, 5 × pandas and scipy"
        rows.append((f"two of {len(ours.pairs):,} items compared, {DRAWS:,} draws", f"{seconds:.2f} s", bar))
        result |= {"items": len(ours.pairs), "compare_seconds": seconds}
        if not arguments.no_peers:
            rows += peers(a, b, large, ours, result)
    print("\n".join(report(f"evaluations (load before {load:.1f})", rows)))
    print(json.dumps(result))


def peers(a: Path, b: Path, large: Path, ours: Comparison, result: dict[str, Any]) -> list[Row]:
    """The same with pandas and scipy, once: it takes long."""
    from parts import eval_peers

    seconds, (tasks, core) = best(1, lambda: eval_peers.compare(a, b, DRAWS))
    check(ours, tasks, core)
    ratio = seconds / result["compare_seconds"]
    rows: list[Row] = [("  pandas and scipy, equal figures", f"{seconds:.2f} s, {ratio:.1f} ×", "")]
    result |= {"peer_compare_seconds": seconds, "compare_ratio": ratio}
    opened, table = best(1, lambda: eval_peers.read(large))
    rows.append((f"  pandas reads {SEARCHED:,} items first", f"{opened:.2f} s", ""))
    for needle, found in result["searches"].items():
        seconds, count = best(1, lambda: eval_peers.search(table, needle))  # noqa: B023
        assert count == found["found"], (needle, count, found)
        found["peer_seconds"] = seconds
        rows.append((f"  pandas searches its table for “{needle}”", f"{seconds:.2f} s", ""))
    result["peer_read_seconds"] = opened
    return rows


if __name__ == "__main__":
    main()
