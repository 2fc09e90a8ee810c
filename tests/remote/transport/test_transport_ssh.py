"""Commands on a host over a real sshd: keys, host keys, quoting, lost links, one-line errors."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sshd import Relay, Sshd, free_port, make_key

from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from remote.hosts.book import Host
from remote.transport.base import AuthenticationFailed, ChangedHostKey, HostUnreachable, UnknownHostKey
from remote.transport.ssh import SSHTransport

AWKWARD = ["it's", 'say "hi"', "$HOME", "a  b", "`id`", "*", "new\nline", "ünï", "-n", ""]


async def fails(host: Host, layout: Layout) -> UserError:
    transport = SSHTransport(host, layout)
    with pytest.raises(UserError) as caught:
        await transport.connect()
    await transport.close()
    assert "\n" not in str(caught.value) and caught.value.exit_code == 3
    return caught.value


async def connected(host: Host, layout: Layout) -> SSHTransport:
    transport = SSHTransport(host, layout)
    await transport.connect()
    return transport


async def test_every_word_arrives_as_it_was_written(known_sshd: Sshd, layout: Layout) -> None:
    transport = await connected(known_sshd.host(), layout)
    code = "import sys, json; print(json.dumps(sys.argv[1:])); sys.exit(7)"
    done = await transport.run([sys.executable, "-c", code, *AWKWARD])
    await transport.close()
    assert json.loads(done.stdout) == AWKWARD
    assert done.exit_code == 7


async def test_a_large_input_and_output_pass_unchanged(known_sshd: Sshd, layout: Layout) -> None:
    transport = await connected(known_sshd.host(), layout)
    data = os.urandom(3_000_000)
    done = await transport.run(["cat"], input=data)
    await transport.close()
    assert done.stdout == data and done.exit_code == 0


async def test_an_unknown_host_key_is_shown_with_its_fingerprint_and_trusted_once_accepted(
    sshd: Sshd, layout: Layout
) -> None:
    error = await fails(sshd.host(), layout)
    assert isinstance(error, UnknownHostKey)
    assert error.fingerprint == sshd.fingerprint()
    assert sshd.fingerprint() in str(error) and "--accept-key" in str(error)
    assert not layout.known_hosts.exists()
    error.accept()
    transport = await connected(sshd.host(), layout)
    assert (await transport.run(["echo", "in"])).stdout == b"in\n"
    await transport.close()
    # What we wrote is what ssh-keygen itself finds.
    found = subprocess.run(
        ["ssh-keygen", "-F", f"[127.0.0.1]:{sshd.port}", "-f", str(layout.known_hosts)], capture_output=True
    )
    assert found.returncode == 0


async def test_a_changed_host_key_is_refused_and_names_the_line(known_sshd: Sshd, layout: Layout) -> None:
    layout.known_hosts.write_text("# mine\nnot a key line\n" + known_sshd.known_hosts_line())
    known_sshd.kill()
    known_sshd.rekey()
    known_sshd.start()
    before = layout.known_hosts.read_bytes()
    error = await fails(known_sshd.host(), layout)
    assert isinstance(error, ChangedHostKey)
    assert f"{layout.known_hosts} line 3" in str(error)
    assert layout.known_hosts.read_bytes() == before


async def test_a_key_changed_to_another_kind_is_refused_too(known_sshd: Sshd, layout: Layout) -> None:
    known_sshd.kill()
    make_key(known_sshd.host_key, "ecdsa")
    known_sshd.start()
    assert isinstance(await fails(known_sshd.host(), layout), ChangedHostKey)


async def test_the_persons_own_known_hosts_counts_hashed_names_too(
    sshd: Sshd, layout: Layout, home: Path
) -> None:
    file = home / ".ssh" / "known_hosts"
    file.write_text(sshd.known_hosts_line())
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(file)], check=True, capture_output=True)
    assert "127.0.0.1" not in file.read_text()
    transport = await connected(sshd.host(), layout)
    await transport.close()


async def test_a_revoked_host_key_is_refused(known_sshd: Sshd, layout: Layout) -> None:
    line = known_sshd.known_hosts_line()
    layout.known_hosts.write_text(f"{line}@revoked {line}")
    error = await fails(known_sshd.host(), layout)
    assert isinstance(error, HostUnreachable) and "revoked" in str(error)


@pytest.mark.parametrize("name", ["127.0.0.1", "elsewhere"])
async def test_an_authority_on_record_vouches_for_a_host_by_its_name(
    sshd: Sshd, layout: Layout, name: str
) -> None:
    sshd.kill()
    authority = make_key(sshd.folder / "authority")
    sshd.certify(authority, name)
    layout.known_hosts.write_text(f"@cert-authority 127.0.0.* {Path(f'{authority}.pub').read_text()}")
    sshd.start()
    if name == "elsewhere":
        assert isinstance(await fails(sshd.host(), layout), HostUnreachable)
        return
    transport = await connected(sshd.host(), layout)
    assert (await transport.run(["echo", "in"])).stdout == b"in\n"
    await transport.close()


async def test_a_key_written_for_the_plain_name_is_trusted_on_a_port_until_another_shows_up(
    sshd: Sshd, layout: Layout
) -> None:
    line = sshd.known_hosts_line().replace(f"[127.0.0.1]:{sshd.port}", "127.0.0.1")
    layout.known_hosts.write_text(line)
    transport = await connected(sshd.host(), layout)
    await transport.close()
    sshd.kill()
    sshd.rekey()
    sshd.start()
    assert isinstance(await fails(sshd.host(), layout), UnknownHostKey)


async def test_a_host_with_several_keys_is_asked_for_the_one_we_know(sshd: Sshd, layout: Layout) -> None:
    sshd.kill()
    older = make_key(sshd.folder / "rsa", "rsa")
    sshd.more_host_keys.append(older)
    kind, key = Path(f"{older}.pub").read_text().split()[:2]
    layout.known_hosts.write_text(f"[127.0.0.1]:{sshd.port} {kind} {key}\n")
    sshd.start()
    transport = await connected(sshd.host(), layout)
    assert (await transport.run(["echo", "in"])).stdout == b"in\n"
    await transport.close()


async def test_a_key_the_host_does_not_accept_is_one_line(known_sshd: Sshd, layout: Layout) -> None:
    wrong = make_key(known_sshd.folder / "wrong")
    error = await fails(known_sshd.host(key=str(wrong)), layout)
    assert isinstance(error, AuthenticationFailed)
    assert str(wrong) in str(error) and "authorized_keys" in str(error)


async def test_no_key_at_all_is_one_line_and_asks_for_no_password(known_sshd: Sshd, layout: Layout) -> None:
    error = await fails(known_sshd.host(key=""), layout)
    assert isinstance(error, AuthenticationFailed) and "--key" in str(error)


async def test_a_key_with_a_passphrase_names_ssh_add(known_sshd: Sshd, layout: Layout) -> None:
    locked = make_key(known_sshd.folder / "locked", passphrase="secret")
    transport = SSHTransport(known_sshd.host(key=str(locked)), layout)
    with pytest.raises(UserError, match="ssh-add"):
        await transport.connect()


async def test_a_file_that_is_no_key_is_one_line(known_sshd: Sshd, layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "junk").write_text("no key\n")
    transport = SSHTransport(known_sshd.host(key=str(tmp_path / "junk")), layout)
    with pytest.raises(UserError, match="cannot use the key"):
        await transport.connect()


@pytest.mark.parametrize("named", [False, True], ids=["any key", "a named key with a passphrase"])
async def test_a_key_in_ssh_agent_opens_the_door(
    known_sshd: Sshd, layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    socket_path = tmp_path / "agent.sock"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket_path)], stdout=subprocess.DEVNULL)
    try:
        while not socket_path.exists():
            await asyncio.sleep(0.02)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket_path))
        subprocess.run(["ssh-add", "-q", str(known_sshd.client_key)], check=True, capture_output=True)
        key = str(known_sshd.client_key) if named else ""
        if named:
            subprocess.run(
                ["ssh-keygen", "-q", "-p", "-N", "secret", "-f", key], check=True, capture_output=True
            )
        transport = await connected(known_sshd.host(key=key), layout)
        assert (await transport.run(["echo", "in"])).stdout == b"in\n"
        await transport.close()
    finally:
        agent.terminate()
        agent.wait()


async def test_an_alias_of_ssh_config_is_a_host(known_sshd: Sshd, layout: Layout, home: Path) -> None:
    (home / ".ssh" / "config").write_text(
        f"Host node\n  HostName 127.0.0.1\n  Port {known_sshd.port}\n"
        f'  IdentityFile "{known_sshd.client_key}"\n  User {known_sshd.host().user}\n'
    )
    transport = await connected(Host(name="box", address="node"), layout)
    assert (await transport.run(["echo", "in"])).stdout == b"in\n"
    await transport.close()


async def test_an_ipv6_address_is_a_host(layout: Layout, home: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6 loopback")
    server = Sshd(tmp_path / "six", address="::1")
    server.start()
    try:
        layout.known_hosts.write_text(server.known_hosts_line())
        transport = await connected(server.host(), layout)
        assert (await transport.run(["echo", "in"])).stdout == b"in\n"
        await transport.close()
    finally:
        server.kill()


@pytest.mark.parametrize("address", ["127.0.0.1", "no-such-host.invalid"])
async def test_an_unreachable_host_is_one_line(layout: Layout, home: Path, address: str) -> None:
    error = await fails(Host(name="box", address=address, port=free_port()), layout)
    assert isinstance(error, HostUnreachable) and "'box'" in str(error)


async def test_a_port_that_speaks_something_else_is_one_line(layout: Layout, home: Path) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert isinstance(await fails(Host(name="box", address="127.0.0.1", port=port), layout), HostUnreachable)
    server.close()


async def test_a_silent_host_is_given_up_after_the_time_limit(
    layout: Layout, known_sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("remote.transport.ssh.CONNECT_TIMEOUT", 0.5)
    async with Relay(known_sshd.port) as relay:
        relay.stall()
        started = time.monotonic()
        error = await fails(known_sshd.host(port=relay.port), layout)
    assert isinstance(error, HostUnreachable) and time.monotonic() - started < 3


async def test_a_stalled_link_is_noticed_by_the_keepalive(
    layout: Layout, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("remote.transport.ssh.KEEPALIVE_INTERVAL", 0.2)
    async with Relay(sshd.port) as relay:
        (await fails(sshd.host(port=relay.port), layout)).accept()  # type: ignore[attr-defined]
        transport = await connected(sshd.host(port=relay.port), layout)
        stream = await transport.stream(["sh", "-c", "while sleep 0.1; do echo tick; done"])
        seen = 0
        with pytest.raises(HostUnreachable):
            async for _ in stream.lines():
                seen += 1
                if seen == 2:
                    relay.stall()
        await stream.close()
        await transport.close()
    assert seen >= 2


async def test_a_killed_sshd_ends_a_stream_and_a_command(known_sshd: Sshd, layout: Layout) -> None:
    transport = await connected(known_sshd.host(), layout)
    stream = await transport.stream(["sh", "-c", "echo one; sleep 60"])
    lines = stream.lines()
    assert await anext(lines) == b"one"
    command = asyncio.create_task(transport.run(["sleep", "60"]))
    await asyncio.sleep(0.2)
    known_sshd.kill()
    with pytest.raises(HostUnreachable):
        await command
    with pytest.raises((HostUnreachable, StopAsyncIteration)):
        await anext(lines)
    await stream.close()
    await transport.close()
