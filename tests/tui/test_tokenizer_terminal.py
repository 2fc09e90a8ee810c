"""The Tokenizer screen in a real terminal: what its keys do is painted, whatever the text is."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.paint_latency import FIRST, press
from bench.parts.paint_steps import CHANGED, Step
from bench.parts.runs import make_base
from bench.parts.terminal import Terminal, available
from nanochat.common.paths import Layout
from tests.tui.screens.vocabulary_bench import opened

ROOT = Path(__file__).resolve().parents[2]
LATE = 6.0
OUTSIDE = r"m +tokenizer"
"""The key bar outside the field."""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not available(), reason="needs tmux")]

KEYS = [
    ("to Tokenizer", "3", r"A +news/tokenizer"),
    ("typing", "= the fish", r"text · 12 characters"),
    ("split, and compared", "", r"%"),
    ("esc leaves the field", "Escape", OUTSIDE),
    ("first token", "g", r"token 1 of"),
    ("next token", "Right", r"token 2 of"),
    ("next difference", "n", CHANGED),
    ("difference before", "N", CHANGED),
    ("ids", "v", r"\d+ \d+ \d+"),
    ("table", "v", r"# +token +id +bytes"),
    ("tokens", "v", r"!# +token +id"),
    ("separators", "|", r"\|.*\|"),
    ("no separators", "|", CHANGED),
    ("full screen", "z", r"!B  code/tokenizer"),
    ("full screen back", "z", r"B  code/tokenizer"),
    ("next pane", "Tab", CHANGED),
    ("the token whole", "Enter", r"next ids"),
    ("back", "Escape", OUTSIDE),
    ("replay", "r", r"merge 0 of"),
    ("one merge", "Right", r"merge 1 of .*→"),
    ("a size", "]", r"a vocabulary of 300 ids makes"),
    ("all merges", "G", r"merge (\d+) of \1\b"),
    ("back", "Escape", OUTSIDE),
    ("picker opens", "m", "tokenizer of the pane"),
    ("characters", "=characters", r"one token a code point"),
    ("chosen", "Enter", r"B +characters"),
    ("add opens", "+", "tokenizer of the pane"),
    ("bytes", "=bytes", "one token a byte"),
    ("a third pane", "Enter", r"C +bytes"),
    ("closed", "-", r"!C +bytes"),
    ("samples", "s", "sample texts"),
    ("emoji", "=emoji\r", r"⟨200d⟩"),
    ("open asks", "o", "open a text file"),
    ("a file with all that harms", "=FILE\r", r"␛\]0;owned␇␛\[2J⟨202e⟩"),
    ("write", "i", r"panes and keys"),
    ("esc", "Escape", OUTSIDE),
    ("help", "?", "esc closes"),
    ("help closes", "Escape", "!esc closes"),
    ("to Runs", "F1", r"runs · \d+"),
    ("to Tokenizer", "F3", OUTSIDE),
]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    base = tmp_path / "base"
    make_base(base, steps=20)
    layout = Layout(base)
    panes = [{"spec": opened(layout, text, size).spec} for text, size in (("news", 300), ("code", 400))]
    settings = {"tokenizer": {"panes": panes, "text": "one"}}
    (base / "control-room.json").write_text(json.dumps(settings), encoding="utf-8")
    (base / "bad.txt").write_bytes("\x1b]0;owned\x07\x1b[2J\u202eabc\r\nו\tx\n".encode())
    return base


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    with Terminal("120x40") as made:
        yield made


def start(terminal: Terminal, base: Path, *options: str, **environment: str) -> None:
    command = [sys.executable, "-m", "nanochat", *options, "--base-dir", str(base)]
    terminal.start(command, {"PYTHONPATH": str(ROOT), **environment})
    found = terminal.wait(lambda text, _: bool(FIRST.search(text)), time.monotonic(), 30.0)
    assert found is not None, terminal.text()
    terminal.settle(0.5, 10.0)


def test_what_every_key_of_the_tokenizer_does_is_painted(terminal: Terminal, base: Path) -> None:
    start(terminal, base)
    missed = []
    for name, keys, want in KEYS:
        if keys:
            since, see = press(terminal, Step(name, keys.replace("FILE", str(base / "bad.txt")), want))
        else:
            since, see = time.monotonic(), lambda text, _, want=want: bool(re.search(want, text))
        if terminal.wait(see, since, LATE) is None:
            missed.append(f"{name}\n{terminal.text()}")
        assert not terminal.ended(), f"the app ended at {name}\n{terminal.text()}"
        terminal.settle(0.05, 0.5)
    assert not missed, "\n".join(missed)
    (base / "paste.txt").write_text("first line\nsecond line\n", encoding="utf-8")
    terminal.tmux("load-buffer", str(base / "paste.txt"))
    terminal.tmux("paste-buffer", "-p")
    found = terminal.wait(lambda text, _: "second line↵" in text, time.monotonic(), LATE)
    assert found is not None, f"pasted beside the field\n{terminal.text()}"
    assert "unexpected error" not in terminal.text()
    assert "owned" not in terminal.tmux("display-message", "-p", "#{pane_title}")[0]


def test_tokens_are_told_apart_without_colour_and_in_ascii(terminal: Terminal, base: Path) -> None:
    start(terminal, base, "--ascii", NO_COLOR="1")
    terminal.press("3")
    underlined = re.compile(r"\x1b\[(?:[1-9];)*4(?:;[1-9])*m")

    def sees(text: str, coloured: str) -> bool:
        return "!on|e|" in text and bool(underlined.search(coloured))

    assert terminal.wait(sees, time.monotonic(), LATE) is not None, terminal.coloured()
