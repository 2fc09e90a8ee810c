"""How soon a vocabulary of 200,000 tokens is there, and searched, in a real terminal.

    python bench/vocabulary_screen.py [--tokens 200000] [--rounds 5]

A rank file of so many tokens lies in a base directory of its own. The app runs in tmux with a watch over
its event loop: `held` is the most processor time that one turn of it took. A time ends when the terminal has
taken in the output. The bars are for a quiet machine: exit 1 when one is broken.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import statistics
import string
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.parts.report import report  # noqa: E402
from bench.parts.runs import make_base  # noqa: E402
from bench.parts.terminal import Terminal, available  # noqa: E402
from bench.parts.watched_screen import PATIENCE, held, seen  # noqa: E402

OPEN_BAR, SEARCH_BAR, HELD_BAR = 150.0, 100.0, 50.0
"""Milliseconds: from the key to the painted table, from the last letter to the painted rows, of one turn."""
SEARCHES: dict[str, tuple[str, Callable[[bytes], bool]]] = {
    "text": ("qq", lambda token: b"qq" in token.lower()),
    "length": ("len:4", lambda token: len(token) == 4),
    "kind": ("is:byte", lambda token: len(token) == 1),
    "pattern": ("re:^q+$", lambda token: set(token) == {ord("q")}),
}
"""What is typed, and which tokens it leaves."""


def words(count: int) -> list[bytes]:
    """All bytes, then every word of 2, 3 … letters, as many as are wanted."""
    made = (
        "".join(letters).encode()
        for length in itertools.count(2)
        for letters in itertools.product(string.ascii_lowercase, repeat=length)
    )
    return [*(bytes([byte]) for byte in range(256)), *itertools.islice(made, count - 256)]


def write_ranks(path: Path, tokens: list[bytes]) -> None:
    """A rank file as tiktoken has them."""
    lines = (f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(tokens))
    path.write_text("".join(lines), encoding="utf-8")


def searched(terminal: Terminal, text: str, shown: str, total: str) -> float:
    """Milliseconds from the last letter of a search to its rows; then all rows are there again."""
    terminal.press("/")
    terminal.settle(0.2, 2.0)
    for letter in text[:-1]:
        terminal.press(f"={letter}")
        terminal.settle(0.1, 5.0)
    terminal.settle(0.5, 5.0)
    found = seen(terminal, f"={text[-1]}", shown)
    terminal.settle(0.3, 5.0)
    terminal.press("Enter")
    terminal.settle(0.2, 2.0)
    terminal.press("Escape")
    terminal.wait(lambda screen, _: "shown" not in screen and total in screen, time.monotonic(), PATIENCE)
    terminal.settle(0.3, 5.0)
    return found


def measure(given: argparse.Namespace, folder: Path) -> dict[str, list[float]]:
    """Opens the vocabulary some times, then searches it."""
    base, watched = folder / "base", folder / "report.jsonl"
    make_base(base, steps=20)
    ranks = base / "large.tiktoken"
    tokens = words(given.tokens)
    write_ranks(ranks, tokens)
    pane = {"spec": str(ranks), "pattern": "cl100k"}
    kept = {"tokenizer": {"panes": [pane], "text": "qq"}}
    (base / "control-room.json").write_text(json.dumps(kept), encoding="utf-8")
    total = f"{given.tokens:,} tokens"
    times: dict[str, list[float]] = {name: [] for name in ("open", *SEARCHES)}
    with Terminal("120x40") as terminal:
        script = ROOT / "bench" / "parts" / "watched_app.py"
        terminal.start([sys.executable, str(script), str(base), str(watched)], {"PYTHONPATH": str(ROOT)})
        seen(terminal, "3", "large")
        terminal.settle(2.0, 20.0)
        terminal.press("Escape")
        terminal.settle(0.5, 5.0)
        seen(terminal, "b", total)  # its code is loaded
        terminal.settle(1.0, 10.0)
        since = time.time()
        for _ in range(given.rounds):
            seen(terminal, "Escape", "Tokenizer")
            terminal.settle(0.5, 10.0)
            times["open"].append(seen(terminal, "b", total, "bytes a token"))
            terminal.settle(1.0, 10.0)
        times["held_opening"] = [held(watched, since)]
        since = time.time()
        for _ in range(given.rounds):
            for name, (text, leaves) in SEARCHES.items():
                shown = f" {sum(map(leaves, tokens)):,} shown"
                times[name].append(searched(terminal, text, shown, total))
        times["held_searching"] = [held(watched, since)]
    return times


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tokens", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if not available():
        raise SystemExit("tmux is needed (apt install tmux, brew install tmux)")
    with tempfile.TemporaryDirectory(prefix="vocabulary-screen-") as folder:
        times = measure(given, Path(folder))
    middle = {name: statistics.median(found) for name, found in times.items()}
    bars = {"open": OPEN_BAR, **dict.fromkeys(SEARCHES, SEARCH_BAR)}
    bars |= {"held_opening": HELD_BAR, "held_searching": HELD_BAR}
    del bars["pattern"]  # bounded by time; its matching is Python's
    what = {
        "open": "from the key to the painted table",
        **{name: f"search by {name}, from its last letter to the rows" for name in SEARCHES},
        "held_opening": "most processor time of a turn of the loop, opening",
        "held_searching": "the same, searching",
    }
    table = [
        (what[name], f"{middle[name]:.0f} ms", f"{bars[name]:.0f} ms" if name in bars else "")
        for name in what
    ]
    print("\n".join(report(f"{given.tokens:,} tokens", table)))
    return int(any(middle[name] > bar for name, bar in bars.items()))


if __name__ == "__main__":
    raise SystemExit(main())
