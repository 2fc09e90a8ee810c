"""What a key costs on the Tokenizer screen: a text of 10,000 characters in four panes, and 1 MB at once.

    python bench/tokenizer_screen.py [--characters 10000] [--keys 40] [--megabytes 1] [--size 200x60]

Four tokenizers: two vocabularies trained here from the text's own words, GPT-2's where tiktoken has it in
its cache (else characters), and bytes. First the app without a terminal: the processor time of what is
ours, the handlers of a key and the drawing of lines. Then in tmux: from the key to the painted
figures; and 1 MB opened and pasted with a watch over the event loop (`held`: the most processor time of one
turn). The bars are for a quiet machine: exit 1 when one is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.parts.report import Row, report  # noqa: E402
from bench.parts.runs import make_base  # noqa: E402
from bench.parts.terminal import Terminal, available  # noqa: E402
from bench.parts.watched_screen import PATIENCE, held, seen  # noqa: E402
from nanochat.common.errors import UserError  # noqa: E402
from nanochat.common.paths import Layout  # noqa: E402
from nanochat.tokenizer.explore.sources import open_source  # noqa: E402
from nanochat.tokenizer.tokenizer import Tokenizer  # noqa: E402
from tui.app import ControlRoom  # noqa: E402
from tui.data.tokenizer.samples import SAMPLES  # noqa: E402

KEY_BAR, PAINT_BAR, HELD_BAR = 16.0, 100.0, 50.0
"""Milliseconds: of handler and drawing for all panes, from the key to the paint, of one turn of the loop."""
VOCABULARIES = (1_000, 4_096)


def words(count: int) -> str:
    """So many characters of the samples' words, mixed, with line ends."""
    draw = random.Random(7)
    known = " ".join(SAMPLES.values()).split()
    made, size = [], 0
    while size < count:
        word = draw.choice(known)
        made.append(word + ("\n" if draw.random() < 0.08 else " "))
        size += len(made[-1])
    return "".join(made)[:count]


def tokenizers(base: Path) -> list[str]:
    """What opens each of the four, those trained here written under the base directory."""
    found = []
    text = words(200_000)
    for size in VOCABULARIES:
        folder = base / f"vocabulary-{size}"
        Tokenizer.train_from_iterator([text], size).save(folder)
        found.append(str(folder))
    try:
        open_source("gpt2", Layout(base), offline=True)
        found.append("gpt2")
    except UserError:
        found.append("characters")
    return [*found, "bytes"]


def settings(base: Path, specs: list[str], text: str) -> None:
    kept = {"tokenizer": {"panes": [{"spec": spec} for spec in specs], "text": text}}
    (base / "control-room.json").write_text(json.dumps(kept), encoding="utf-8")


# ---- without a terminal ------------------------------------------------------------------------------


class Spent:
    """Processor seconds that the wrapped methods took, one inside another counted once."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._inside = False

    @contextlib.contextmanager
    def watch(self, owner: type, *names: str) -> Iterator[None]:
        kept = {name: getattr(owner, name) for name in names}
        for name, method in kept.items():
            setattr(owner, name, self._timed(method))
        try:
            yield
        finally:
            for name, method in kept.items():
                setattr(owner, name, method)

    def _timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **named: Any) -> Any:
            if self._inside:
                return method(*args, **named)
            self._inside, began = True, time.thread_time()
            try:
                return method(*args, **named)
            finally:
                self._inside = False
                self.seconds += time.thread_time() - began

        return timed


async def keys(base: Path, given: argparse.Namespace) -> dict[str, list[float]]:
    """Milliseconds of handlers and drawing of each key, at the end, the middle and the start of the text."""
    from tui.screens.tokenizer.screen import TokenizerScreen
    from tui.widgets.tokenizer.pane_view import FigureLines, PaneView
    from tui.widgets.tokenizer.split_view import SplitView
    from tui.widgets.tokenizer.token_detail import TokenDetail

    columns, rows = map(int, given.size.split("x"))
    app = ControlRoom(Layout(base))
    spent = Spent()
    found: dict[str, list[float]] = {}
    async with app.run_test(size=(columns, rows)) as pilot:
        await app.action_go("tokenizer")
        screen = app.screen
        assert isinstance(screen, TokenizerScreen)
        while not (screen.is_settled and len(screen.result.panes) == 4):
            await pilot.pause(0.05)
        with contextlib.ExitStack() as stack:
            handlers = ("on_text_area_changed", "on_text_area_selection_changed", "split_again")
            stack.enter_context(spent.watch(TokenizerScreen, *handlers))
            stack.enter_context(spent.watch(SplitView, "render_line", "show", "put_cursor"))
            stack.enter_context(spent.watch(PaneView, "update"))
            stack.enter_context(spent.watch(FigureLines, "render"))
            stack.enter_context(spent.watch(TokenDetail, "show"))
            lines = screen.field.document.line_count
            for place, line in (
                ("at the end", lines - 1),
                ("in the middle", lines // 2),
                ("at the start", 0),
            ):
                screen.field.move_cursor((line, 0))
                await settled(pilot, screen)
                found[place] = []
                for number in range(given.keys):
                    spent.seconds = 0.0
                    await pilot.press("abcdefgh "[number % 9])
                    await settled(pilot, screen)
                    found[place].append(1e3 * spent.seconds)
    return found


async def settled(pilot: Any, screen: Any) -> None:
    await pilot.pause()
    while not screen.is_settled:
        await pilot.pause(0.01)
    await pilot.pause()


# ---- in a terminal -----------------------------------------------------------------------------------


def in_terminal(base: Path, given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """From the key to the paint, and how long the loop is held by a large text."""
    log = folder / "report.jsonl"
    large = words(int(given.megabytes * 2**20))
    (folder / "large.txt").write_text(large, encoding="utf-8")
    shown = f"{len(large):,} characters"
    with Terminal(given.size) as terminal:
        script = ROOT / "bench" / "parts" / "watched_app.py"
        environment = {"PYTHONPATH": str(ROOT), **cache()}
        terminal.start([sys.executable, str(script), str(base), str(log)], environment)
        seen(terminal, lambda: None, "more")
        count = given.characters
        seen(terminal, lambda: terminal.press("F3"), f"{count:,} characters")
        terminal.settle(1.0, 20.0)
        times = []
        for _ in range(given.keys):
            count += 1
            times.append(seen(terminal, lambda: terminal.press("x"), f"{count:,} characters"))
            terminal.settle(0.1, 5.0)
        terminal.press("Escape")
        terminal.settle(0.5, 5.0)
        seen(terminal, lambda: terminal.press("o"), "open a text file")
        terminal.press(f"={folder / 'large.txt'}")
        terminal.settle(0.5, 5.0)
        began = time.time()
        terminal.press("Enter")
        opened = settled_at(terminal, began, shown)
        terminal.settle(2.0, PATIENCE)
        opening = held(log, began)
        terminal.press("i")
        terminal.settle(0.5, 5.0)
        began = time.time()
        paste(terminal, folder / "large.txt")
        pasted = settled_at(terminal, began, "pasted · ")
        terminal.settle(2.0, PATIENCE)
        pasting = held(log, began)
        terminal.press("G")
        terminal.settle(1.0, 10.0)
        moving = held(log, began)
    return {
        "paint": sorted(times),
        "opened": opened,
        "opening": opening,
        "pasted": pasted,
        "pasting": max(pasting, moving),
    }


def settled_at(terminal: Terminal, began: float, wanted: str) -> float:
    """Milliseconds since a moment (Unix time) until a large text is shown, and split in every pane."""
    started = time.monotonic()

    def is_split(text: str, _: str) -> bool:
        return wanted in text and "splitting" not in text

    if terminal.wait(lambda text, _: wanted in text, started, PATIENCE) is None:
        raise SystemExit(f"{terminal.text()}\n“{wanted}” did not come")
    if terminal.wait(is_split, started, PATIENCE) is None:
        raise SystemExit(f"{terminal.text()}\nit was not split")
    return 1000 * (time.time() - began)


def paste(terminal: Terminal, file: Path) -> None:
    """Pastes a file as a terminal does, between the marks of a paste."""
    terminal.tmux("load-buffer", str(file))
    terminal.tmux("paste-buffer", "-p")


def cache() -> dict[str, str]:
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", "")
    return {"TIKTOKEN_CACHE_DIR": folder} if folder else {}


def share(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--characters", type=int, default=10_000)
    parser.add_argument("--keys", type=int, default=40)
    parser.add_argument("--megabytes", type=float, default=1.0)
    parser.add_argument("--size", default="200x60", metavar="COLSxROWS")
    given = parser.parse_args()
    if not available():
        raise SystemExit("tmux is needed (apt install tmux, brew install tmux)")
    with tempfile.TemporaryDirectory(prefix="tokenizer-screen-") as name:
        folder = Path(name)
        base = folder / "base"
        make_base(base, steps=20)
        specs, text = tokenizers(base), words(given.characters)
        settings(base, specs, text)
        each = asyncio.run(keys(base, given))
        settings(base, specs, text)
        found = in_terminal(base, given, folder)
    rows: list[Row] = [
        (
            f"  {place}: handlers and drawing, median · worst",
            f"{share(times, 0.5):.1f} · {max(times):.1f} ms",
            f"{KEY_BAR:.0f} ms",
        )
        for place, times in each.items()
    ]
    paint = found["paint"]
    rows += [
        (
            "  from the key to the paint, median · 99 %",
            f"{share(paint, 0.5):.0f} · {share(paint, 0.99):.0f} ms",
            f"{PAINT_BAR:.0f} ms",
        ),
        (f"{given.megabytes:g} MB opened: loop held", f"{found['opening']:.0f} ms", f"{HELD_BAR:.0f} ms"),
        ("  until it is shown", f"{found['opened']:.0f} ms", ""),
        (f"{given.megabytes:g} MB pasted: loop held", f"{found['pasting']:.0f} ms", f"{HELD_BAR:.0f} ms"),
        ("  until it is shown", f"{found['pasted']:.0f} ms", ""),
    ]
    title = f"{given.characters:,} characters, 4 panes, {given.size}: {', '.join(map(short, specs))}"
    print("\n".join(report(title, rows)))
    worst = max(share(times, 0.5) for times in each.values())
    kept = worst <= KEY_BAR and share(paint, 0.5) <= PAINT_BAR
    return 0 if kept and max(found["opening"], found["pasting"]) <= HELD_BAR else 1


def short(spec: str) -> str:
    return Path(spec).name


if __name__ == "__main__":
    raise SystemExit(main())
