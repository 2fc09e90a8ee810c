"""The shell that the app opens through ssh: host keys of awkward paths, any login shell at the other end."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from account import SHELLS, account
from sshd import Sshd

from nanochat.common.paths import Layout
from remote.hosts.book import Host
from tui.actions.run import shell_on

pytestmark = pytest.mark.slow


class Screen:
    """What `shell_on` asks of the app."""

    def __init__(self, layout: Layout, host: Host) -> None:
        self.layout = layout
        self.said: list[str] = []
        self.host = lambda name: host

    @contextlib.contextmanager
    def suspend(self) -> Iterator[None]:
        yield

    def say(self, text: str, severity: str = "information") -> None:
        self.said.append(text)


def opened(monkeypatch: pytest.MonkeyPatch, layout: Layout, host: Host) -> tuple[str, list[str]]:
    """What a shell on `host` answers to `pwd`, and what the app said."""
    run = subprocess.run
    printed: list[str] = []

    def typed(argv: list[str], **_: Any) -> SimpleNamespace:
        checked = [argv[0], "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", *argv[1:]]
        done = run(checked, input="pwd\nexit\n", capture_output=True, text=True, timeout=30, check=False)
        printed.append(done.stdout)
        return SimpleNamespace(returncode=done.returncode)

    room = Screen(layout, host)
    with monkeypatch.context() as patched:  # of the whole module: not while the account is taken away
        patched.setattr("tui.actions.run.subprocess.run", typed)
        shell_on(room, "box", "runs")  # type: ignore[arg-type]
    return printed[0], room.said


@pytest.mark.parametrize("folder", ["plain", "a b", 'quote " back\\slash 50%h'])
def test_the_host_key_check_reads_known_hosts_under_any_path(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    layout = Layout(tmp_path / folder)
    layout.base.mkdir()
    layout.known_hosts.write_text(sshd.known_hosts_line())
    base = tmp_path / "far away"
    (base / "runs").mkdir(parents=True)
    printed, said = opened(monkeypatch, layout, sshd.host(base=base))
    assert str(base / "runs") in printed and said == []


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_opens_in_the_runs_folder_under_every_login_shell(
    known_sshd: Sshd, layout: Layout, monkeypatch: pytest.MonkeyPatch, shell: str
) -> None:
    with account(shell, known_sshd) as person:
        base = person.home / "a 'b' \\ c"
        person.login_file("", f"{base.name}/runs/keep")
        printed, _ = opened(monkeypatch, layout, person.host(base_dir=str(base)))
        assert str(base / "runs") in printed
