"""Hosts that let few commands share a connection: sshd's MaxSessions."""

from __future__ import annotations

import asyncio

import pytest
from sshd import Sshd

from nanochat.common.paths import Layout
from remote.fleet.fleet import Fleet
from remote.hosts.book import HostBook
from remote.transport.base import HostUnreachable
from remote.transport.ssh import SSHTransport

pytestmark = pytest.mark.slow


def limit(sshd: Sshd, sessions: int) -> None:
    sshd.kill()
    sshd.more_config = f"MaxSessions {sessions}\n"
    sshd.start()


@pytest.mark.parametrize("sessions", [1, 2])
async def test_more_commands_than_a_connection_takes_go_over_others(
    known_sshd: Sshd, layout: Layout, sessions: int
) -> None:
    limit(known_sshd, sessions)
    transport = SSHTransport(known_sshd.host(), layout)
    await transport.connect()
    streams = [await transport.stream(["cat"]) for _ in range(3)]
    for stream in streams:
        await stream.write(b"in\n")
    assert [await anext(stream.lines()) for stream in streams] == [b"in"] * 3
    done = await asyncio.gather(*(transport.run(["echo", str(i)]) for i in range(4)))
    assert [answer.stdout for answer in done] == [b"0\n", b"1\n", b"2\n", b"3\n"]
    for _ in range(5):  # one after the other: each finds the place that the last one left
        assert (await transport.run(["echo", "again"])).stdout == b"again\n"
    for stream in streams:
        await stream.close()
    await transport.close()
    log = (known_sshd.folder / "sshd.log").read_text()
    assert log.count("Accepted publickey") <= 8


async def test_a_command_that_was_given_up_does_not_block_the_next(known_sshd: Sshd, layout: Layout) -> None:
    limit(known_sshd, 1)
    transport = SSHTransport(known_sshd.host(), layout)
    await transport.connect()
    with pytest.raises(HostUnreachable, match="gave no answer"):
        await transport.run(["sleep", "30"], within=0.5)
    assert (await transport.run(["echo", "in"])).stdout == b"in\n"
    await transport.close()


async def test_a_host_that_lets_no_command_run_says_so(known_sshd: Sshd, layout: Layout) -> None:
    limit(known_sshd, 0)
    transport = SSHTransport(known_sshd.host(), layout)
    await transport.connect()
    with pytest.raises(HostUnreachable, match="lets no command run"):
        await transport.run(["true"])
    await transport.close()


async def test_a_host_is_followed_and_asked_at_once_with_one_session_a_connection(
    known_sshd: Sshd, layout: Layout
) -> None:
    limit(known_sshd, 1)
    HostBook(layout).add(known_sshd.host())
    fleet = Fleet(layout)
    try:
        await fleet.connect("box")
        probe, *_ = await asyncio.gather(fleet.probe("box"), fleet.refresh("box"), fleet.refresh("box"))
        assert probe.cores > 0
        assert fleet.link("box").status == "up"
    finally:
        await fleet.aclose()
