"""OpenSSH's configuration as OpenSSH reads it, and files of the laptop that cannot be used."""

from __future__ import annotations

import getpass
import os
import subprocess
from pathlib import Path

import pytest
from sshd import Sshd, make_key

from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from remote.hosts.book import Host
from remote.transport.base import AuthenticationFailed, UnknownHostKey
from remote.transport.ssh import SSHTransport
from remote.transport.ssh_config import read_settings

pytestmark = pytest.mark.slow

ME = getpass.getuser()


async def echo(host: Host, layout: Layout) -> bytes:
    transport = SSHTransport(host, layout)
    try:
        await transport.connect()
        return (await transport.run(["sh", "-c", "echo in $BOX"])).stdout
    finally:
        await transport.close()


def write_config(home: Path, text: str) -> Path:
    path = home / ".ssh" / "config"
    path.write_text(text)
    return path


def block(sshd: Sshd, name: str = "node", key: bool = True) -> str:
    identity = f'  IdentityFile "{sshd.client_key}"\n' if key else ""
    return f"Host {name}\n  HostName 127.0.0.1\n  Port {sshd.port}\n  User {ME}\n{identity}"


async def test_an_apostrophe_in_a_comment_of_the_config_is_no_error(
    known_sshd: Sshd, layout: Layout, home: Path
) -> None:
    write_config(home, f"Host other  # bob's box\n  HostName example.org\n{block(known_sshd)}")
    assert await echo(Host(name="box", address="node"), layout) == b"in\n"
    assert await echo(known_sshd.host(), layout) == b"in\n"  # given whole in our book


async def test_a_missing_identity_file_is_passed_over(known_sshd: Sshd, layout: Layout, home: Path) -> None:
    junk = home / ".ssh" / "junk"
    junk.write_text("no key\n")
    locked = make_key(home / ".ssh" / "locked", passphrase="secret")
    lines = "".join(f"  IdentityFile {path}\n" for path in ("~/.ssh/id_gone", junk, locked, home / ".ssh"))
    write_config(home, f"Host *\n{lines}{block(known_sshd)}")
    assert await echo(Host(name="box", address="node"), layout) == b"in\n"
    write_config(home, f"Host *\n  IdentityFile ~/.ssh/id_gone\n{block(known_sshd, key=False)}")
    with pytest.raises(AuthenticationFailed, match=r"id_gone: no such file"):
        await echo(Host(name="box", address="node"), layout)


async def test_a_config_that_openssh_refuses_is_told_in_openssh_s_words(layout: Layout, home: Path) -> None:
    path = write_config(home, "Host node\n  Frobnicate yes\n")
    with pytest.raises(UserError, match=rf"{path}: line 2: Bad configuration option") as caught:
        await echo(Host(name="box", address="node"), layout)
    assert "\n" not in str(caught.value) and "unreachable" not in str(caught.value)


async def test_without_openssh_a_missing_identity_file_is_told_as_the_laptops(
    known_sshd: Sshd, layout: Layout, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(home))
    assert await read_settings("node") is None
    write_config(home, block(known_sshd))
    assert await echo(Host(name="box", address="node"), layout) == b"in\n"
    write_config(home, f"Host *\n  IdentityFile ~/.ssh/id_gone\n{block(known_sshd)}")
    with pytest.raises(UserError, match=r"cannot use .*id_gone") as caught:
        await echo(Host(name="box", address="node"), layout)
    assert "unreachable" not in str(caught.value)


async def test_what_else_the_config_says_of_a_host_holds(
    known_sshd: Sshd, layout: Layout, home: Path, tmp_path: Path
) -> None:
    known_sshd.kill()
    known_sshd.more_config = "AcceptEnv BOX\n"
    known_sshd.start()
    (home / ".ssh" / "more").write_text(f'Match exec "test -d {home}"\n  SetEnv BOX=red\n')
    write_config(
        home,
        f"Include {home}/.ssh/more\n{block(known_sshd)}  IdentitiesOnly yes\n  Compression yes\n"
        f"  HostKeyAlias known\n  KexAlgorithms curve25519-sha256\n"
        f"  ProxyCommand bash -c 'exec 3<>/dev/tcp/%h/%p; echo hm >&2; cat <&3 & cat >&3'\n",
    )
    layout.known_hosts.write_text(
        known_sshd.known_hosts_line().replace(f"[127.0.0.1]:{known_sshd.port}", "known")
    )
    assert await echo(Host(name="box", address="node"), layout) == b"in red\n"


async def test_a_host_behind_another_shows_both_keys_one_after_the_other(
    known_sshd: Sshd, layout: Layout, home: Path, tmp_path: Path
) -> None:
    gate = Sshd(tmp_path / "gate")
    gate.start()
    try:
        write_config(home, f"{block(known_sshd)}  ProxyJump gate\n{block(gate, 'gate')}")
        host = Host(name="box", address="node")
        with pytest.raises(UnknownHostKey) as unknown:
            await echo(host, layout)
        assert unknown.value.fingerprint == gate.fingerprint()
        unknown.value.accept()
        assert await echo(host, layout) == b"in\n"
        gate.authorized_keys.write_text("")
        with pytest.raises(AuthenticationFailed, match="on gate, over which"):
            await echo(host, layout)
    finally:
        gate.kill()


async def test_identities_only_offers_what_the_agent_holds_of_them(
    known_sshd: Sshd, layout: Layout, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sock = tmp_path / "agent.sock"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(sock)], stdout=subprocess.DEVNULL)
    try:
        while not sock.exists():
            os.sched_yield()
        monkeypatch.setenv("SSH_AUTH_SOCK", str(sock))
        subprocess.run(["ssh-add", "-q", str(known_sshd.client_key)], check=True, capture_output=True)
        only = f"{block(known_sshd, key=False)}  IdentitiesOnly yes\n"
        write_config(home, f'{only}  IdentityFile "{known_sshd.client_key}.pub"\n')
        assert await echo(Host(name="box", address="node"), layout) == b"in\n"
        other = make_key(home / ".ssh" / "other")
        write_config(home, f"{only}  IdentityFile {other}.pub\n")
        with pytest.raises(AuthenticationFailed):
            await echo(Host(name="box", address="node"), layout)
    finally:
        agent.terminate()
        agent.wait()


async def test_tokens_of_the_config_are_put_in(home: Path) -> None:
    write_config(
        home, "Host node\n  HostName %h.example.org\n  User bob\n  IdentityFile %d/.ssh/%r@%h_%n%%\n"
    )
    settings = await read_settings("node")
    assert settings is not None
    assert settings.host == "node.example.org"
    assert settings.identity_files == (home / ".ssh" / "bob@node.example.org_node%",)


def test_a_file_in_a_home_that_is_not_there_is_passed_over() -> None:
    from remote.transport import ssh_config

    assert ssh_config._path("~nobody-of-this-name/id", {}) == Path("~nobody-of-this-name/id")
    assert ssh_config._known_hosts("~nobody-of-this-name/known_hosts") == ()
