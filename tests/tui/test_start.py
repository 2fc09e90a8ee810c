"""Starting the control room: a bad command line or base directory gets one line."""

import pytest

from nanochat.cli import main as nanochat
from nanochat.common.paths import Layout


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
