"""A throwaway user of this machine with a login shell of choice, reached through a real sshd."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from sshd import Sshd

from remote.hosts.book import Host

SHELLS = ("bash", "zsh", "dash", "fish", "csh", "tcsh")
#: the file that each shell reads also when it runs one command for sshd; dash reads none
LOGIN_FILES = {
    "bash": ".bashrc",
    "zsh": ".zshenv",
    "fish": ".config/fish/config.fish",
    "csh": ".cshrc",
    "tcsh": ".tcshrc",
}
#: a Python that a user without rights can run; the tests' own may lie in root's home
PYTHON = "/usr/bin/python3"


class Account:
    """A user `nanochat-…` whose home is `home`; `login_file` writes what its shell reads at each command."""

    def __init__(self, shell: str, sshd: Sshd) -> None:
        path = _needs(shell)
        self.shell = shell
        self.name = f"nanochat-{secrets.token_hex(4)}"
        self.folder = Path(tempfile.mkdtemp(prefix="nanochat-account-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.home = self.folder / "home"
        self.sshd = sshd
        words = ["useradd", "-p", "*", "-M", "-d", str(self.home), "-s", path, self.name]
        subprocess.run(words, check=True, capture_output=True)
        self.home.mkdir(mode=0o700)
        shutil.chown(self.home, self.name)
        shutil.copy(sshd.authorized_keys, self.folder / "authorized_keys")
        sshd.kill()
        sshd.authorized_keys = self.folder / "authorized_keys"
        sshd.start()

    def host(self, **changes: object) -> Host:
        """The entry of the host book that logs in as this user."""
        return self.sshd.host(user=self.name, base=f"{self.home}/base", **changes)

    def login_file(self, text: str, name: str = "") -> None:
        """Writes the shell's login file (or another file of the home)."""
        path = self.home / (name or LOGIN_FILES[self.shell])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        who = pwd.getpwnam(self.name)
        for made in (path, *path.parents):
            if self.home in (made, *made.parents):
                os.chown(made, who.pw_uid, who.pw_gid)

    def remove(self) -> None:
        """Ends what it still runs and takes it away again."""
        uid = pwd.getpwnam(self.name).pw_uid
        for process in psutil.process_iter(["uids"]):
            if process.info["uids"] and process.info["uids"].real == uid:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        for _ in range(50):
            gone = subprocess.run(["userdel", self.name], capture_output=True, check=False).returncode == 0
            if gone:
                break
            time.sleep(0.1)
        shutil.rmtree(self.folder, ignore_errors=True)
        assert gone, f"the user {self.name} is still there"


def _needs(shell: str) -> str:
    """The shell's path; the test is skipped where it or a right is missing."""
    if os.geteuid() != 0 or not shutil.which("useradd"):
        pytest.skip("a throwaway user needs root and useradd")
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"needs {shell} as a login shell (Debian: apt-get install {shell})")
    if not os.access(PYTHON, os.X_OK):
        pytest.skip(f"needs {PYTHON}, which every user can run")
    return path


@contextlib.contextmanager
def account(shell: str, sshd: Sshd) -> Iterator[Account]:
    """A throwaway user for the block."""
    made = Account(shell, sshd)
    try:
        yield made
    finally:
        made.remove()
