"""Makes the pictures of the documentation from the running app: `make pictures`.

The demo is run in a base directory of its own (about 5 minutes on two idle cores). While it trains, the app
is opened on it, as a user opens it, and its screens are taken at three sizes in three themes; the others
follow when it has ended.
Usage: python docs/make_pictures.py [--base DIR] [--parts A,B] [--chat-base DIR] [--compare-base DIR]
       [--evals-base DIR] [--out docs/images]

--base DIR       a new or empty folder for the demo; one that holds runs already is used as it is, and then
                 the pictures of a live run and the moving one are left as they are
--parts A,B      of the demo's pictures only these: runs, tokenizer, training, dialogs, or none
--chat-base DIR  a base directory where the plan `pipeline` has run, whose models the Chat screen and the chat
                 page are taken with; without it their pictures are left as they are
--evals-base DIR  one with CORE of two checkpoints, CORE on the way of a training, and chat tasks: Evals and
                 Checkpoints
--compare-base DIR  a base directory with six trainings, three seeds of each of two sizes: runs side by side

`python docs/picture_bases.py` makes the last two from the one of --chat-base.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.parts.terminal_svg import Picture, moving, row, still  # noqa: E402
from docs.chat_pictures import take_chat  # noqa: E402
from docs.checkpoints_pictures import take_checkpoints  # noqa: E402
from docs.compare_pictures import take_compare  # noqa: E402
from docs.evals_pictures import take_evals  # noqa: E402
from docs.page_pictures import take_page  # noqa: E402
from docs.tokenizer_pictures import take_tokenizer  # noqa: E402
from docs.training_pictures import take_training  # noqa: E402
from nanochat.common.paths import Layout  # noqa: E402
from tui.app import ControlRoom  # noqa: E402
from tui.style.themes import THEMES  # noqa: E402

if TYPE_CHECKING:
    from textual.pilot import Pilot

SIZES = ((80, 24), (120, 40), (200, 60))
MOVING_SIZE = (120, 36)
MOVING_THEME = "dark"
SETTLE = 0.4
PATIENCE = 1200.0
"""Seconds that the demo may take before it is given up."""

Work = Callable[[ControlRoom, "Pilot[str]", Path], Awaitable[None]]


# ---- taking a picture --------------------------------------------------------------------------------


def hidden_words() -> dict[str, str]:
    """What is this machine's alone, and what stands for it, of the same width."""
    found = {}
    for private, shown in (
        (str(Path(sys.prefix)), "~/nanochat/.venv"),
        (str(ROOT), "~/nanochat"),
        (platform.node(), "workstation"),
        (str(Path.home()), "/home/me"),
    ):
        if len(private) > 3:
            found[private] = shown[-len(private) :].rjust(len(private), "~" if shown[0] == "~" else "x")
        elif private and private != "/":
            found[private] = ("x", "pc", "box")[len(private) - 1]
    return found


def hide(text: str, words: dict[str, str]) -> str:
    """A text with the private words replaced where they stand alone: a short name is part of many words."""
    for private, shown in words.items():
        text = re.sub(rf"(?<!\w){re.escape(private)}(?!\w)", shown, text)
    return text


def picture(app: ControlRoom, words: dict[str, str]) -> Picture:
    """What is on screen now, dialogs over their screen included."""
    from textual._compositor import LayoutUpdate

    update = app.screen._compositor.render_update(full=True, screen_stack=app._background_screens)
    assert isinstance(update, LayoutUpdate)
    theme = app.current_theme
    ink, ground = str(theme.foreground), str(theme.background)
    rows = []
    for line in update.strips:
        found = row((segment for strip in line for segment in strip), ink, ground)
        rows.append(tuple(replace(run, text=hide(run.text, words)) for run in found))
    return tuple(rows)


async def take(
    app: ControlRoom,
    pilot: Pilot[str],
    out: Path,
    name: str,
    opening: tuple[str, ...] = (),
    themes: tuple[str, ...] = (),
) -> None:
    """Saves the screen in front in every size and theme, or these; the keys `opening` open it anew."""
    words = hidden_words()
    for columns, rows in SIZES:
        await pilot.resize_terminal(columns, rows)
        for theme in themes or THEMES:
            app.theme = theme
            await press(pilot, *opening)
            await steady(app, pilot)
            text = still(picture(app, words), columns, str(app.current_theme.background))
            (out / f"{name}-{theme}-{columns}x{rows}.svg").write_text(text, encoding="utf-8")
    print(f"{name}: {len(SIZES) * len(themes or THEMES)} pictures", flush=True)


async def steady(app: ControlRoom, pilot: Pilot[str]) -> None:
    """Waits until the screen stands still, for at most 6 s: a live one never does for long."""
    last: Picture = ()
    for _ in range(15):
        await pilot.pause(SETTLE)
        now = picture(app, {})
        if now == last:
            return
        last = now


# ---- what is taken -----------------------------------------------------------------------------------


async def press(pilot: Pilot[str], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
        await pilot.pause(SETTLE)


async def take_runs(app: ControlRoom, pilot: Pilot[str], out: Path) -> None:
    """Runs, Run and Hosts of a base directory whose demo has ended."""
    trained = next((run for run in app.rows if run.stage == "base_train"), None)
    await press(pilot, "1")
    await take(app, pilot, out, "runs")
    await take(app, pilot, out, "columns", ("escape", "1", "v"))
    await press(pilot, "escape")
    if trained is not None:
        app.open_run(trained.key)
    await press(pilot, "2")
    await take(app, pilot, out, "run-ended")
    await press(pilot, "L", "S", "enter")
    await take(app, pilot, out, "run-plot")
    await press(pilot, "escape", "L", "S")
    app.screen.query_one("#samples").focus()
    await press(pilot, "enter")
    await take(app, pilot, out, "samples")
    await press(pilot, "escape", "7")
    await pilot.pause(3.0)
    await take(app, pilot, out, "hosts")


async def take_dialogs(app: ControlRoom, pilot: Pilot[str], out: Path) -> None:
    """What opens over a screen: the forms, help, the palette and the jump labels."""
    await press(pilot, "1", "n")
    await take(app, pilot, out, "launch")
    await press(pilot, "escape", "p")
    await take(app, pilot, out, "plan")
    await press(pilot, "escape")
    await take(app, pilot, out, "help", ("escape", "1", "question_mark"))
    await take(app, pilot, out, "palette", ("escape", "ctrl+p", *"thm"))
    await press(pilot, "escape", "2")
    await take(app, pilot, out, "jump", ("escape", "2", "ctrl+o"))


async def take_live(app: ControlRoom, pilot: Pilot[str], out: Path) -> None:
    """The pretraining run while it is at work: first the moving picture, then the still ones."""
    frames: list[tuple[Picture, float]] = []
    words = hidden_words()
    app.theme = MOVING_THEME
    await pilot.resize_terminal(*MOVING_SIZE)

    async def film(seconds: float, *keys: str) -> None:
        for key in keys:
            await pilot.press(key)
        await pilot.pause(1.0)
        frames.append((picture(app, words), seconds))

    await film(1.6, "1")
    await film(1.2, "2")
    for _ in range(14):
        await pilot.pause(2.0)
        await film(0.5)
    await film(1.6, "tab")
    await film(1.2, "L")
    await film(1.4, "S")
    await film(1.2, "L", "S")
    await film(1.4, "7")
    await film(1.6, "1", "n")
    await film(0.8, "escape")
    text = moving(frames, MOVING_SIZE[0], str(app.current_theme.background))
    (out / "moving.svg").write_text(text, encoding="utf-8")
    print(f"moving: {len(frames)} frames, {len(text) // 1024} KB", flush=True)
    await press(pilot, "2")
    await take(app, pilot, out, "run-live")


async def first_use(app: ControlRoom, pilot: Pilot[str], out: Path) -> None:
    """The first page over an empty base directory."""
    await take(app, pilot, out, "welcome")


PARTS: dict[str, Work] = {
    "runs": take_runs,
    "tokenizer": partial(take_tokenizer, take=take),
    "training": partial(take_training, take=take),
    "dialogs": take_dialogs,
}
"""The pictures over the base directory of a demo that has ended, part by part."""


# ---- the demo ----------------------------------------------------------------------------------------


def opened(base: Path, work: Work, out: Path) -> None:
    """Opens the app on `base` and lets `work` use it. The settings it leaves are removed."""

    async def session() -> None:
        app = ControlRoom(Layout(base))
        async with app.run_test(size=SIZES[0]) as pilot:
            await pilot.pause(2.0)
            await work(app, pilot, out)

    asyncio.run(session())
    (base / "control-room.json").unlink(missing_ok=True)


def wait_for_training(base: Path, demo: subprocess.Popen[bytes]) -> None:
    """Waits until the demo's pretraining has made half its steps."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and demo.poll() is None:
        for events in base.glob("runs/*base_train*/events.jsonl"):
            if b'"step":75,' in events.read_bytes().replace(b" ", b""):
                return
        time.sleep(1.0)
    raise SystemExit("the demo did not come to its pretraining: see its output")


@contextmanager
def demo_base(given: str) -> Iterator[Path]:
    """The base directory: the one given, else a temporary one with a name that any machine has."""
    if given:
        yield Path(given).resolve()
        return
    base = Path(tempfile.gettempdir()) / "nanochat"
    if base.exists():
        raise SystemExit(f"{base} exists: name another with --base")
    base.mkdir()
    try:
        yield base
    finally:
        shutil.rmtree(base, ignore_errors=True)


def run_demo(base: Path, out: Path) -> None:
    """Runs the demo to its end, and takes the pictures of a live run on the way."""
    words = [sys.executable, "-m", "nanochat", "demo", "--no-tui", "--base-dir", str(base)]
    demo = subprocess.Popen(words, env=os.environ | {"PYTHONPATH": str(ROOT)})
    try:
        wait_for_training(base, demo)
        opened(base, take_live, out)
    finally:
        demo.wait()


def take_demo(given: str, parts: list[str], out: Path) -> None:
    """The pictures over the demo's base directory: the one given, else one of its own."""
    with demo_base(given) as base:
        if not any(base.glob("runs/*")):
            run_demo(base, out)
        for part in parts:
            opened(base, PARTS[part], out)


def main() -> None:
    """Takes all pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", default="", metavar="DIR")
    parser.add_argument("--parts", default=",".join(PARTS), metavar="A,B")
    parser.add_argument("--chat-base", default="", metavar="DIR")
    parser.add_argument("--compare-base", default="", metavar="DIR")
    parser.add_argument("--evals-base", default="", metavar="DIR")
    parser.add_argument("--out", default=str(ROOT / "docs" / "images"), metavar="DIR")
    given = parser.parse_args()
    out = Path(given.out)
    out.mkdir(parents=True, exist_ok=True)
    parts = [part for part in given.parts.split(",") if part != "none"]
    if unknown := set(parts) - set(PARTS):
        parser.error(f"--parts: {', '.join(sorted(unknown))}: there are {', '.join(PARTS)}")
    if parts == list(PARTS):
        with demo_base("") as base:
            opened(base, first_use, out)
    if parts:
        take_demo(given.base, parts, out)
    if given.chat_base:
        opened(Path(given.chat_base).resolve(), partial(take_chat, take=take), out)
        take_page(Path(given.chat_base).resolve(), out)
    if given.compare_base:
        opened(Path(given.compare_base).resolve(), partial(take_compare, take=take), out)
    if given.evals_base:
        opened(Path(given.evals_base).resolve(), partial(take_evals, take=take), out)
        opened(Path(given.evals_base).resolve(), partial(take_checkpoints, take=take), out)
    made = [*out.glob("*.svg"), *out.glob("*.png")]
    print(f"{len(made)} pictures, {sum(path.stat().st_size for path in made) / 1e6:.1f} MB in {out}")


if __name__ == "__main__":
    main()
