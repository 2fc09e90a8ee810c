"""Starting the control room: a bad command line or base directory gets one line."""

import contextlib
import os
import pty
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from nanochat.cli import main as nanochat
from nanochat.common.paths import Layout
from remote.store.store import Store


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "needs a terminal"),
        (["--readonly", "--plann"], "unknown option '--plann'"),
        (["--theme", "drak"], "drak"),
        (["demo", "--readonly"], "--readonly cannot start a plan"),
        (["nothing.toml"], "nothing.toml"),
        (["demo", "--host", "nowhere"], "no host 'nowhere'"),
        (["--base-dir", "{damaged}"], "hosts.json is damaged"),
    ],
)
def test_bad_starts_get_one_line(
    words: list[str],
    said: str,
    layout: Layout,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    damaged = layout.base / "damaged"
    damaged.mkdir()
    (damaged / "hosts.json").write_text("{half")
    assert nanochat([word.format(damaged=damaged) for word in words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_an_unexpected_error_before_the_first_screen_is_one_line_and_kept(tmp_path: Path) -> None:
    """Here a store that lost a table, in a terminal of its own."""
    base = tmp_path / "base"
    with Store(Layout(base).store) as store:
        store.runs()
    with contextlib.closing(sqlite3.connect(Layout(base).store)) as db:
        db.execute("ALTER TABLE runs RENAME TO other")
        db.commit()
    leader, follower = pty.openpty()
    words = [sys.executable, "-m", "nanochat", "--base-dir", str(base)]
    app = subprocess.Popen(words, stdin=follower, stdout=follower, stderr=follower)
    os.close(follower)
    shown = b""
    with contextlib.suppress(OSError):
        while data := os.read(leader, 65536):
            shown += data
    os.close(leader)
    assert app.wait(30) == 1
    (kept,) = (base / "errors").iterdir()
    assert b"unexpected error, kept in" in shown and b"no such table: runs" in shown
    assert b"Traceback" not in shown and "Traceback" in kept.read_text(encoding="utf-8")
