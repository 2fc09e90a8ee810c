"""The Chat screen in a real terminal: what every key of it does is painted. The server is scripted."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.paint_latency import FIRST, press
from bench.parts.paint_step import CHANGED, Step
from bench.parts.runs import make_base
from bench.parts.terminal import Terminal, available
from tests.tui.screens.chat_bench import StubServer, answer

ROOT = Path(__file__).resolve().parents[2]
LATE = 4.0
PARIS, BRANCH = r"France is Paris\.", r"‹ \d/\d ›"

LEFT = r"m +model +\+ +add"
"""The key bar outside the field. An escape that was not read yet would make alt+r of the next r."""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not available(), reason="needs tmux")]

KEYS = [
    ("to Chat", "5", "question to all panes"),
    ("typing", "=Where is it?", "Where is it"),
    ("enter asks", "Enter", PARIS),
    ("one pane", "C-t", "question to A only"),
    ("all panes", "C-t", "question to all panes"),
    ("esc leaves the field", "Escape", LEFT),
    ("again", "r", BRANCH),
    ("branch back", "[", "‹ 1/2 ›"),
    ("branch on", "]", "‹ 2/2 ›"),
    ("tokens", "t", "token 1 of"),
    ("next token", "Right", "token 2 of"),
    ("token before", "Left", "token 1 of"),
    ("end", "G", r"token 7 of"),
    ("start", "g", "token 1 of"),
    ("Markdown", "t", "!token 1 of"),
    ("full screen", "z", r"!B  stub"),
    ("full screen back", "z", r"B  .*stub"),
    ("next pane", "Tab", CHANGED),
    ("previous pane", "BTab", CHANGED),
    ("settings open", "o", "settings of pane"),
    ("settings close", "Escape", "!settings of pane"),
    ("picker opens", "m", "talk to"),
    ("picker closes", "Escape", "!talk to"),
    ("add opens", "+", "talk to"),
    ("add closes", "Escape", "!talk to"),
    ("difference", "d", r"words in both"),
    ("difference closes", "Escape", "!words in both"),
    ("edit", "e", "the question edited"),
    ("edit left", "Escape", "!the question edited"),
    ("blind", "b", "hidden"),
    ("vote opens", "v", "which answer is better"),
    ("vote", "t", "voted · A was"),
    ("win rates", "V", "win rates · 1 vote"),
    ("win rates close", "Escape", "!win rates · 1 vote"),
    ("blind over", "b", "blind mode is over"),
    ("prompts ask", "R", "a file of prompts"),
    ("prompts run", "=prompts.txt\r", "prompts.txt · 2 prompts · done"),
    ("an answer opens", "Enter", "prompt 1"),
    ("an answer closes", "Escape", "!prompt 1"),
    ("prompts close", "Escape", "question to all"),
    ("save asks", "C-s", "save the conversation"),
    ("saved", "=talk\r", "saved cc_dialogue/talk.md and cc_dialogue/talk.json"),
    ("copied", "y", "copied|clipboard"),
    ("stop with nothing", "s", "no answer is coming"),
    ("lens of no token", "l", "no token is under the cursor"),
    ("follow no run", "f", "an address follows no run"),
    ("pin no server", "P", "only a server that the control room started"),
    ("help opens", "?", "esc closes"),
    ("help closes", "Escape", "!esc closes"),
    ("new asks", "N", "Begin a new conversation"),
    ("new conversation, in the field", "y", r"ctrl\+c +stop"),
    ("esc", "Escape", LEFT),
    ("load asks", "L", "go on with a saved conversation"),
    ("loaded", "=talk.json\r", PARIS),
    ("write", "i", r"ctrl\+c +stop"),
    ("esc", "Escape", LEFT),
    ("closed: all of it is in a file", "-", "question to A"),
    ("to Runs", "F1", r"runs · \d+"),
    ("to Chat", "F5", "question to"),
]


@pytest.fixture(scope="module")
def stub() -> Iterator[StubServer]:
    with StubServer() as server:
        server.answer = lambda _: answer()
        yield server


@pytest.fixture
def base(tmp_path: Path, stub: StubServer) -> Path:
    base = tmp_path / "base"
    make_base(base, steps=20)
    (base / "prompts.txt").write_text("One?\nTwo?\n", encoding="utf-8")
    panes = [{"target": f"{stub.url} stub/small"}] * 2
    settings = {"chat": {"panes": {"panes": panes}}}
    (base / "control-room.json").write_text(json.dumps(settings), encoding="utf-8")
    return base


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    with Terminal("120x40") as made:
        yield made


def start(terminal: Terminal, base: Path) -> None:
    command = [sys.executable, "-m", "nanochat", "--base-dir", str(base)]
    terminal.start(command, {"PYTHONPATH": str(ROOT)})
    found = terminal.wait(lambda text, _: bool(FIRST.search(text)), time.monotonic(), 30.0)
    assert found is not None, terminal.text()
    terminal.settle(0.5, 10.0)


def test_what_every_key_of_chat_does_is_painted(terminal: Terminal, base: Path) -> None:
    start(terminal, base)
    missed = []
    for name, keys, want in KEYS:
        since, see = press(terminal, Step(name, keys, want))
        if terminal.wait(see, since, LATE) is None:
            missed.append(f"{name}\n{terminal.text()}")
        assert not terminal.ended(), f"the app ended at {name}\n{terminal.text()}"
        terminal.settle(0.05, 0.5)
    assert not missed, "\n".join(missed)
    assert "unexpected error" not in terminal.text()


def test_a_hostile_answer_harms_no_terminal(terminal: Terminal, base: Path, stub: StubServer) -> None:
    hostile = "\x1b]0;owned\x07\x1b[2J\x1b[?1049l\x9b31m [red]x[/] | " + "w" * 50_000
    stub.answer = lambda _: answer(hostile, " the end.")
    start(terminal, base)
    terminal.press("5")
    found = terminal.wait(lambda text, _: "question to all" in text, time.monotonic(), 20.0)
    assert found is not None, terminal.text()
    terminal.settle(0.2, 5.0)
    terminal.press("=Go.\r")
    found = terminal.wait(lambda text, _: "the end." in text, time.monotonic(), 20.0)
    assert found is not None, terminal.text()
    terminal.press("Escape")
    terminal.settle(0.2, 5.0)
    terminal.press("g")
    found = terminal.wait(lambda text, _: "␛]0;owned␇␛[2J" in text, time.monotonic(), LATE)
    assert found is not None, terminal.text()
    assert "owned" not in terminal.tmux("display-message", "-p", "#{pane_title}")[0]
    terminal.press("?")
    found = terminal.wait(lambda text, _: "esc closes" in text, time.monotonic(), LATE)
    assert found is not None, terminal.text()
