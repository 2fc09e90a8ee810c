"""The clipboard's ways, notices, figures, the terminal's title and the command line of the control room."""

import os
from pathlib import Path

import pytest

from nanochat.cli import main as nanochat
from nanochat.common.paths import Layout
from remote.cli.printer import figures
from remote.key_metric import key_figure
from remote.runs import RunRow
from tui.actions.clipboard import OSC52_LIMIT, copy, system_command
from tui.data.notices import NotificationTracker
from tui.data.run_summary import elapsed, extent, progress, steps, title
from tui.data.settings import Settings
from tui.data.window_title import window_title


def found(*names: str):  # type: ignore[no-untyped-def]
    return lambda name: f"/bin/{name}" if name in names else None


def test_the_clipboard_of_this_session_is_used_where_there_is_one() -> None:
    assert system_command({"WAYLAND_DISPLAY": "w"}, found("wl-copy"))[1] == ["wl-copy"]
    assert system_command({"DISPLAY": ":0"}, found("xsel"))[1][0] == "xsel"
    assert system_command({"TMUX": "x"}, found("tmux"))[1][:2] == ["tmux", "load-buffer"]
    assert system_command({"WAYLAND_DISPLAY": "w", "SSH_CONNECTION": "a"}, found("wl-copy"))[1] == []
    assert system_command({}, found("xclip", "wl-copy", "tmux"))[1] == []


def test_copying_falls_back_to_the_terminal_and_then_to_a_file(tmp_path: Path) -> None:
    sent: list[str] = []
    assert "OSC 52" in copy("hello", sent.append, tmp_path, {"TERM": "xterm-256color"})
    assert sent == ["hello"]
    for env, text in (({"TERM": "linux"}, "short"), ({"TERM": "xterm"}, "x" * (OSC52_LIMIT + 1))):
        place = copy(text, sent.append, tmp_path, env)
        assert Path(place).read_text() == text + "\n"
    assert sent == ["hello"]


def test_a_clipboard_program_that_fails_is_not_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "xclip"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    sent: list[str] = []
    assert "OSC 52" in copy("hello", sent.append, tmp_path, {"DISPLAY": ":0", "TERM": "xterm"})


def test_ends_and_alerts_are_noticed_once_and_not_at_the_start() -> None:
    def run(status: str, alerts: int = 0) -> RunRow:
        times = {"started_at": 0.0, "ended_at": 192.0}
        return RunRow(
            "local/a",
            "local",
            "a",
            name="demo",
            status=status,
            alerts=alerts,
            latest={"val/bpb": 0.8},
            **times,
        )

    tracker = NotificationTracker()
    assert tracker.update([run("failed", 3)]) == []
    tracker = NotificationTracker()
    tracker.update([run("running")])
    assert [notice.severity for notice in tracker.update([run("running", 1)])] == ["warning"]
    (ended,) = tracker.update([run("succeeded", 1)])
    assert ended.severity == "information"
    assert "after 3m12s" in ended.text
    assert "bpb 0.8000" in ended.text
    assert tracker.update([run("succeeded", 1)]) == []


def test_figures_of_a_run() -> None:
    run = RunRow("a/b", "a", "b", name="base_train", stage="base_train", plan_name="demo", status="running")
    assert run.label == "demo"
    assert progress(run) is None
    run = RunRow(
        "a/b", "a", "b", name="x", status="running", step=50, total_steps=200, started_at=10.0, ended_at=None
    )
    assert progress(run) == 0.25
    assert elapsed(run, 70.0) == 60.0
    assert title(run) == "25% x"
    assert (
        str(key_figure(RunRow("a/b", "a", "b", latest={"train/loss": 3.0, "val/bpb": 0.82137})))
        == "bpb 0.8214"
    )
    assert window_title([run], "") == "25% x · nanochat"
    assert window_title([], "") == "nanochat"


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ({"train/loss": 1.5, "rl/reward": 0.9, "rl/held_out_reward": 0.84}, "reward 0.8400"),
        ({"chat/SpellingBee": 0.925, "chat/SpellingBee_stderr": 0.02}, "SpellingBee 92.5 %"),
        ({"chat/SpellingBee": 0.925, "chat/Arithmetic": 0.915}, "2 tasks 92.0 %"),
        ({"chat/SpellingBee": 0.925, "chat/ChatCORE": 0.2913}, "ChatCORE 0.2913"),
        ({"news/bytes_per_token": 2.5, "val/bytes_per_token": 3.498}, "B/token 3.498"),
        ({"seconds": 3.0}, ""),
    ],
)
def test_a_run_is_judged_by_the_most_telling_of_its_figures(values: dict[str, float], shown: str) -> None:
    for run in (RunRow("a/b", "a", "b", results=values), RunRow("a/b", "a", "b", latest=values)):
        assert str(key_figure(run)) == shown
        assert figures(run).startswith(shown)


def test_the_step_of_a_judged_checkpoint_is_not_how_far_its_judgement_is() -> None:
    run = RunRow("a/b", "a", "b", stage="chat_eval", status="running", step=30, total_steps=400, unit="item")
    assert (steps(run), extent(run), progress(run)) == ("30", "400 items", None)
    run = RunRow("a/b", "a", "b", status="running", step=30, total_steps=400)
    assert (steps(run), extent(run)) == ("30/400", "step 30/400")


def test_a_window_title_cannot_end_its_own_sequence() -> None:
    run = RunRow("a/b", "a", "b", name="x\x07\x1b]0;y", status="running")
    assert "\x07" not in window_title([run], "")
    assert "\x1b" not in window_title([run], "")


def test_settings_survive_and_a_damaged_file_counts_as_empty(layout: Layout) -> None:
    Settings(layout).set("theme", "light")
    assert Settings(layout).get("theme") == "light"
    (layout.base / "control-room.json").write_text("{half")
    assert Settings(layout).get("theme", "dark") == "dark"


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
