"""A text reaches the clipboard by the first way that works."""

import os
from pathlib import Path

import pytest

from tui.actions.clipboard import OSC52_LIMIT, copy, system_command


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
