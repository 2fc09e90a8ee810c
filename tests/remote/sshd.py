"""A real OpenSSH sshd on loopback with throwaway keys, and a TCP relay that can stall or cut the link."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from nanochat.common.paths import Layout
from remote.hosts.book import Host


def _binary() -> str:
    path = shutil.which("sshd") or "/usr/sbin/sshd"
    if not Path(path).exists() or not shutil.which("ssh-keygen"):
        pytest.skip("needs OpenSSH's sshd and ssh-keygen (Debian: openssh-server)")
    return path


def free_port() -> int:
    """A TCP port nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> Path:
    """A new key pair at `path` and `path.pub`."""
    path.unlink(missing_ok=True)
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "throwaway", "-f", str(path)], check=True
    )
    return path


@dataclass
class Sshd:
    """One sshd: `start` and `kill` may be called again and again; `rekey` gives it a new host key."""

    folder: Path
    port: int = field(default_factory=free_port)
    address: str = "127.0.0.1"
    more_host_keys: list[Path] = field(default_factory=list)
    certificate: Path | None = None
    more_config: str = ""

    def __post_init__(self) -> None:
        self._binary = _binary()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.host_key = make_key(self.folder / "host_key")
        self.client_key = make_key(self.folder / "client key")  # a space: quoting has to hold
        self.authorized_keys = self.folder / "authorized_keys"
        self.authorized_keys.write_text((self.folder / "client key.pub").read_text())
        self._process: subprocess.Popen[bytes] | None = None

    def host(self, name: str = "box", base: Path | str | None = None, **changes: object) -> Host:
        """The entry of the host book that reaches it."""
        fields: dict[str, object] = {
            "user": getpass.getuser(),
            "address": self.address,
            "port": self.port,
            "key": str(self.client_key),
            "base_dir": str(base or self.folder / "remote base"),
        }
        return Host(name=name, **{**fields, **changes})  # type: ignore[arg-type]

    def rekey(self) -> None:
        """Another host key, as after a reinstall or with someone in between."""
        self.host_key = make_key(self.folder / "host_key")

    def certify(self, authority: Path, name: str) -> None:
        """A certificate by `authority` that its host key belongs to `name`, shown from the next start on."""
        words = ["-s", str(authority), "-I", "throwaway", "-h", "-n", name, f"{self.host_key}.pub"]
        subprocess.run(["ssh-keygen", "-q", *words], check=True)
        self.certificate = self.host_key.with_name(f"{self.host_key.name}-cert.pub")

    def fingerprint(self) -> str:
        """The host key's SHA256 fingerprint as ssh-keygen prints it."""
        shown = subprocess.run(
            ["ssh-keygen", "-l", "-f", f"{self.host_key}.pub"], check=True, capture_output=True, text=True
        )
        return shown.stdout.split()[1]

    def known_hosts_line(self) -> str:
        """The line that makes the present host key known."""
        public = Path(f"{self.host_key}.pub").read_text().split()
        return f"[{self.address}]:{self.port} {public[0]} {public[1]}\n"

    def start(self) -> None:
        """Starts it and waits until it answers."""
        config = self.folder / "sshd_config"
        config.write_text(
            f"Port {self.port}\nListenAddress {self.address}\n"
            + "".join(f'HostKey "{key}"\n' for key in (self.host_key, *self.more_host_keys))
            + (f'HostCertificate "{self.certificate}"\n' if self.certificate else "")
            + f'AuthorizedKeysFile "{self.authorized_keys}"\nPidFile "{self.folder}/pid"\n'
            "StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
            f"Subsystem sftp internal-sftp\nMaxStartups 100\n{self.more_config}\n"
            # Not this machine's own login files: what they do is unknown, and done for each command.
            f'Match User {getpass.getuser()}\n  SetEnv "HOME={self.folder}/home"\n'
        )
        (self.folder / "home").mkdir(exist_ok=True)
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(parents=True, exist_ok=True)
        with (self.folder / "sshd.log").open("ab") as log:
            self._process = subprocess.Popen([self._binary, "-D", "-e", "-f", str(config)], stderr=log)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection((self.address, self.port), timeout=1):
                return
            time.sleep(0.02)
        raise RuntimeError(f"sshd did not start: {(self.folder / 'sshd.log').read_text()[-500:]}")

    def kill(self) -> None:
        """kill -9 of the listener and of every session's sshd: connections drop, detached work goes on."""
        if self._process is None:
            return
        listener = psutil.Process(self._process.pid)
        listener.suspend()  # so that no session is forked while we look
        for victim in (*listener.children(recursive=True), listener):
            with contextlib.suppress(psutil.NoSuchProcess):
                if victim.name().startswith("sshd"):
                    victim.send_signal(signal.SIGKILL)
        self._process.wait(timeout=10)
        self._process = None


class Relay:
    """A TCP relay to a port on loopback: `stall` keeps the connections open and passes nothing on."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Relay:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def stall(self) -> None:
        self._flowing.clear()

    def flow(self) -> None:
        self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        for source, sink in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._pump(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                await self._flowing.wait()
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, so that the person's own SSH keys, config and agent play no part."""
    folder = tmp_path / "home"
    (folder / ".ssh").mkdir(parents=True, mode=0o700)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return folder


@pytest.fixture
def sshd(tmp_path: Path, home: Path) -> Iterator[Sshd]:
    """A running sshd whose host key nobody knows yet."""
    server = Sshd(tmp_path / "ssh d")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def known_sshd(sshd: Sshd, layout: Layout) -> Sshd:
    """A running sshd whose host key is on record in the control room's known_hosts."""
    layout.known_hosts.write_text(sshd.known_hosts_line())
    return sshd
