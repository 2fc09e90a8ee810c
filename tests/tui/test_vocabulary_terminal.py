"""Vocabulary, Compare tokenizers and Compression in a real terminal: what their keys do is painted."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from bench.paint_latency import FIRST, press
from bench.parts.paint_steps import Step
from bench.parts.terminal import Terminal, available
from nanochat.common.paths import Layout
from tests.tui.screens.vocabulary_bench import opened, write_shards

ROOT = Path(__file__).resolve().parents[2]
LATE = 12.0

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not available(), reason="needs tmux")]

KEYS = [
    ("to Tokenizer", "3", "bytes a token|bytes"),
    ("esc leaves the field", "Escape", "vocabulary"),
    ("vocabulary", "b", "400 tokens"),
    ("find", "/", r"find"),
    ("typing", "=in", r"\d+ shown"),
    ("a wrong term", "= len:x", "no number or range"),
    ("the rows stay", "Enter", r"\d+ shown"),
    ("esc drops the search", "Escape", "!shown"),
    ("only special ones", "w", "special tokens"),
    ("all", "Escape", "!special tokens"),
    ("count", "u", "counted in base_data"),
    ("hidden lengths", "v", "!bytes a token"),
    ("lengths", "v", "bytes a token"),
    ("a token", "Enter", "next ids"),
    ("back", "Escape", "counted in base_data"),
    ("to the tokenizers", "Escape", "!counted in base_data"),
    ("compare", "c", r"in both: \d+"),
    ("the next table", "Tab", "only in B · "),
    ("those that moved", "Tab", "moved by"),
    ("swap", "s", "A .*340 tokens"),
    ("compression", "h", "compression · bytes a token"),
    ("all are measured", "f", "% fewer tokens"),
    ("a file asked for", "a", "file or folder of yours"),
    ("not there", "=/nowhere/at/all\r", "✗ .*nowhere"),
    ("back to compare", "Escape", r"in both: \d+"),
]


def test_what_the_keys_of_these_screens_do_is_painted(tmp_path: Path) -> None:
    base = tmp_path / "base"
    write_shards(base / "base_data")
    specs = [opened(Layout(base), text, size).spec for text, size in (("news", 400), ("code", 340))]
    settings = {"tokenizer": {"panes": [{"spec": spec} for spec in specs], "text": "Here it is."}}
    (base / "control-room.json").write_text(json.dumps(settings), encoding="utf-8")
    missed = []
    with Terminal("120x40") as terminal:
        command = [sys.executable, "-m", "nanochat", "--base-dir", str(base)]
        terminal.start(command, {"PYTHONPATH": str(ROOT)})
        found = terminal.wait(lambda text, _: bool(FIRST.search(text)), time.monotonic(), 30.0)
        assert found is not None, terminal.text()
        terminal.settle(0.5, 10.0)
        for name, keys, want in KEYS:
            since, see = press(terminal, Step(name, keys, want))
            if terminal.wait(see, since, LATE) is None:
                missed.append(f"{name}\n{terminal.text()}")
            assert not terminal.ended(), f"the app ended at {name}\n{terminal.text()}"
            terminal.settle(0.05, 0.5)
        assert not missed, "\n".join(missed)
        assert "unexpected error" not in terminal.text()
