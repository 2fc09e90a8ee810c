"""The shell that the app opens through ssh: host keys of awkward paths, any login shell at the other end."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from account import SHELLS, account
from sshd import Sshd

from nanochat.common.paths import Layout
from remote.hosts.book import Host
from tui.actions.run import shell_command

pytestmark = pytest.mark.slow


class Screen:
    """What `shell_command` asks of the app."""

    def __init__(self, layout: Layout, host: Host) -> None:
        self.layout = layout
        self.host = lambda name: host


def opened(layout: Layout, host: Host) -> str:
    """What a shell on `host` answers to `pwd` and to the variable of the base directory, with its prompts."""
    argv, _ = shell_command(Screen(layout, host), "box", "runs")  # type: ignore[arg-type]
    checked = [argv[0], "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", *argv[1:]]
    typed = 'pwd\necho "<$NANOCHAT_BASE_DIR>"\nexit\n'
    return subprocess.run(
        checked, input=typed, capture_output=True, text=True, timeout=30, check=False
    ).stdout


@pytest.mark.parametrize("folder", ["plain", "a b", 'quote " back\\slash 50%h'])
def test_the_host_key_check_reads_known_hosts_under_any_path(sshd: Sshd, tmp_path: Path, folder: str) -> None:
    layout = Layout(tmp_path / folder)
    layout.base.mkdir()
    layout.known_hosts.write_text(sshd.known_hosts_line())
    base = tmp_path / "far away"
    (base / "runs").mkdir(parents=True)
    printed = opened(layout, sshd.host(base=base))
    assert str(base / "runs") in printed and f"<{base}>" in printed


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_opens_in_the_runs_folder_under_every_login_shell(
    known_sshd: Sshd, layout: Layout, shell: str
) -> None:
    with account(shell, known_sshd) as person:
        base = person.home / "a 'b' \\ c"
        person.login_file("", f"{base.name}/runs/keep")
        printed = opened(layout, person.host(base_dir=str(base)))
        assert str(base / "runs") in printed and f"<{base}>" in printed
