"""The fleet on a host as people have it: every login shell, and login files that print whenever they like."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest
from account import LOGIN_FILES, SHELLS, Account, account
from sshd import Sshd

from nanochat.common.paths import Layout
from remote.fleet.agent_client import AgentClient, frame_of
from remote.fleet.fleet import Fleet
from remote.hosts.book import HostBook
from remote.runs import CommandRecord, RunRequest
from remote.transport.ssh import SSHTransport

pytestmark = pytest.mark.slow

AWKWARD_BASE = "a b/it's \\ back\\\\slash $HOME !x"
INTERPRETER = '#!/bin/sh\nprintf "ran in %s" "$NANOCHAT_BASE_DIR"\n'


@pytest.fixture(params=SHELLS)
def person(request: pytest.FixtureRequest, known_sshd: Sshd) -> Iterator[Account]:
    """A throwaway user with each login shell in turn."""
    with account(request.param, known_sshd) as made:
        yield made


@contextlib.asynccontextmanager
async def opened(layout: Layout) -> AsyncIterator[Fleet]:
    fleet = Fleet(layout)
    try:
        yield fleet
    finally:
        await fleet.aclose()


async def test_a_stage_runs_and_is_followed_under_every_login_shell(person: Account, layout: Layout) -> None:
    if person.shell in LOGIN_FILES:
        person.login_file("echo 'quota ok'\n")
    person.login_file(INTERPRETER, "stage")
    (person.home / "stage").chmod(0o755)
    base = f"{person.home}/{AWKWARD_BASE}"
    HostBook(layout).add(person.host(base_dir=base, python=f"{person.home}/stage"))
    async with opened(layout) as fleet, asyncio.timeout(60):
        (key,) = await fleet.launch("box", [RunRequest("tok_train")])
        while (run := fleet.store.run(key)) is None or run.live:
            await asyncio.sleep(0.05)
        assert run.status == "succeeded"
        text, _, _ = await fleet.console(key)
        assert text.decode() == f"ran in {base}"


SOON = "(i=0; while [ $i -lt 12 ]; do %s; sleep 0.05; i=$((i+1)); done) &\n"


@pytest.mark.parametrize(
    "prints",
    [
        """echo '{"error": "not ours", "code": "x", "type": "state"}'""",
        "printf 'half a line '",
        'printf \'\\036\\036{"type": "ping", "t": 1}\\n\'',
    ],
    ids=["JSON", "no line end", "a fence without its word"],
)
async def test_a_job_that_a_login_file_left_behind_is_nobodys_answer(
    known_sshd: Sshd, layout: Layout, prints: str
) -> None:
    with account("bash", known_sshd) as person:
        person.login_file(SOON % prints)
        records: list[CommandRecord] = []
        agent = AgentClient(person.host(), SSHTransport(person.host(), layout), layout, records.append)
        try:
            await agent.connect()
            for _ in range(3):
                assert set(await agent.call("ls")) >= {"now", "runs"}
            async with agent.follow({}, 0.05) as frames, asyncio.timeout(20):
                first = frame_of(await anext(frames))
                assert first is not None and first["type"] == "ping" and first["t"] > 1e9
        finally:
            await agent.close()
        assert not any("--fence" in record.command for record in records)
