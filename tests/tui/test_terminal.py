"""What a person sees: the app in a real terminal (tmux), where a screen is what is painted.

Textual's Pilot sees state. These tests press the keys of every screen and look at the terminal for what must
appear. `bench/paint_latency.py` presses the same keys and prints how soon.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.paint_latency import FIRST, expectation, press
from bench.parts.checkpoints import make_checkpoints
from bench.parts.evaluations import make_evaluations
from bench.parts.paint_step import Step
from bench.parts.paint_steps import MOVES, RUNS, STEPS
from bench.parts.runs import describe, make_base, start_live_run, write_state
from bench.parts.terminal import Terminal, available
from bench.parts.training_results import make_training_results
from nanochat.common.paths import Layout
from remote.store.store import Store

ROOT = Path(__file__).resolve().parents[2]
LATE = 4.0
"""Seconds after which a key counts as not painted. The app needs a fiftieth; the fault took eight."""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not available(), reason="needs tmux")]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base directory with ended runs."""
    make_base(tmp_path / "base", steps=200)
    make_evaluations(tmp_path / "base")
    make_training_results(tmp_path / "base")
    make_checkpoints(tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """A tmux of its own for each test: 3.3a may crash where one program takes the place of another."""
    with Terminal("120x40") as made:
        yield made


def command(base: Path) -> list[str]:
    return [sys.executable, "-m", "nanochat", "--base-dir", str(base)]


def sees(terminal: Terminal, pattern: str, patience: float = LATE) -> None:
    found = terminal.wait(expectation(pattern, "", ""), time.monotonic(), patience)
    assert found is not None, f"no {pattern} in\n{terminal.text()}"


def start(terminal: Terminal, base: Path) -> None:
    terminal.start(command(base), {"PYTHONPATH": str(ROOT)})
    found = terminal.wait(lambda text, _: bool(FIRST.search(text)), time.monotonic(), 30.0)
    assert found is not None, terminal.text()
    terminal.settle(1.0, 10.0)  # the runs are read


def not_painted(terminal: Terminal, steps: list[Step]) -> list[str]:
    """Presses every key in turn; the names of those that do not show what they did."""
    missed = []
    for step in steps:
        since, see = press(terminal, step)
        if terminal.wait(see, since, LATE) is None:
            missed.append(step.name)
        assert not terminal.ended(), f"the app ended at {step.name}\n{terminal.text()}"
        terminal.settle(0.1, 1.0)
    return missed


def test_what_every_key_does_is_painted_while_nothing_runs(terminal: Terminal, base: Path) -> None:
    start(terminal, base)
    assert not_painted(terminal, STEPS) == []


def test_every_screen_is_painted_at_once_with_a_live_run(terminal: Terminal, tmp_path: Path) -> None:
    make_base(tmp_path, steps=200)
    stage = start_live_run(tmp_path)
    try:
        start(terminal, tmp_path)
        terminal.press("1")
        sees(terminal, "1 running", 20.0)
        assert not_painted(terminal, MOVES) == []
    finally:
        stage.kill()
        stage.wait()


def test_screens_opened_and_left_in_a_hurry_do_not_end_the_app(terminal: Terminal, base: Path) -> None:
    terminal.start(command(base), {"PYTHONPATH": str(ROOT)})
    assert terminal.wait(lambda text, _: bool(FIRST.search(text)), time.monotonic(), 30.0) is not None
    for keys in ("7", "c", "t", "1", *["n", "Escape", "Escape", "n", "F2", "p", "F1", "?", "Escape"] * 4):
        terminal.press(keys)
    terminal.settle(0.5, 10.0)
    assert not terminal.ended()
    terminal.press("F1")
    sees(terminal, RUNS)
    assert "unexpected error" not in terminal.text()


def test_a_shell_sees_the_same_runs_and_the_app_goes_on_following(terminal: Terminal, base: Path) -> None:
    start(terminal, base)
    terminal.press("!")
    sees(terminal, "exit returns to the control room")
    terminal.press('=echo "[$NANOCHAT_BASE_DIR]"\r')
    sees(terminal, rf"\[{base}\]")
    folder = base / "runs" / "20990101-000000-tok_eval-abcd"
    folder.mkdir()
    describe(folder, "tok_eval", time.time() - 60)
    write_state(folder, time.time() - 50, status="succeeded", ended_at=time.time(), exit_code=0)
    with Store(Layout(base).store) as store:
        deadline = time.monotonic() + 20
        while not any(run.run_id == folder.name for run in store.runs()):
            assert time.monotonic() < deadline, "the app follows no host while a shell is open"
            time.sleep(0.2)
    terminal.press("=exit\r")
    sees(terminal, "a tok_eval")


def test_ctrl_z_goes_back_to_the_shell_and_fg_returns(terminal: Terminal, base: Path) -> None:
    terminal.start(["sh", "-i"], {"PYTHONPATH": str(ROOT)})
    sees(terminal, r"[$#] ")
    terminal.press(f"={' '.join(command(base))}\r")
    sees(terminal, "more +$", 30.0)
    terminal.settle(0.5, 5.0)
    terminal.press("C-z")
    sees(terminal, "(?i)stopped|suspended")
    terminal.press("=echo still $((40 + 2))\r")
    sees(terminal, "still 42")
    terminal.press("=fg\r")
    sees(terminal, "more +$", 10.0)
    terminal.press("7")
    sees(terminal, r"hosts · \d")


def test_ctrl_z_without_a_shell_says_so(terminal: Terminal, base: Path) -> None:
    start(terminal, base)
    terminal.press("C-z")
    sees(terminal, "no shell started the control room")
    row = [index for index, line in enumerate(terminal.text().split("\n")) if "no shell started" in line]
    assert row == [38], "on the line above the keys"
    assert FIRST.search(terminal.text())
