"""Services and leases that come and go while their host is being asked."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from nanochat.common.errors import UserError
from remote.fleet.leases import Leases
from remote.fleet.service_answers import told_of
from remote.fleet.services import Services
from remote.fleet.session import HostSession

ENTRY = {"id": "cpu-1", "device": "cpu", "status": "ready", "port": 4000, "key": "k", "started_at": 1.0}


class Session:
    """A host that lets ports through."""

    async def forward(self, port: int) -> int:
        return port

    async def end_forward(self, port: int) -> None:
        """Nothing leads there any more."""


async def test_a_list_that_was_asked_for_before_a_service_was_reached_does_not_end_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session: Any = Session()

    async def give(host: str) -> HostSession:
        return session  # type: ignore[no-any-return]

    services = Services(give)
    listed, answered = asyncio.Event(), asyncio.Event()
    told: dict[str, Any] = {"services": []}

    async def ask(host: str, command: str) -> dict[str, Any]:
        listed.set()
        await answered.wait()
        return told

    monkeypatch.setattr(services, "_ask", ask)
    looking = asyncio.create_task(services.states("box"))
    await listed.wait()
    service = await services._reach(session, told_of("box", ENTRY))  # it was started meanwhile
    answered.set()
    assert await looking == [] and services.running() == [service] and not services.why_ended(service)
    assert await services.states("box") == []  # but now it would be told
    assert services.running() == [] and services.why_ended(service)
    with pytest.raises(UserError):
        told_of("box", {})


class Agent:
    """Counts the dialogs that were begun."""

    begun = 0

    async def ready(self) -> Any:
        await asyncio.sleep(0)
        return self

    @asynccontextmanager
    async def dialog(self, command: str) -> AsyncIterator[Any]:
        Agent.begun += 1

        async def ask(request: Any) -> dict[str, Any]:
            return {"services": []}

        yield ask


async def test_a_lease_that_is_given_up_at_once_leaves_the_host_in_peace() -> None:
    agent: Any = Agent()

    async def give(host: str) -> HostSession:
        return agent  # type: ignore[no-any-return]

    async def heard(answer: dict[str, Any], asked: float) -> None:
        """Nothing to do."""

    leases = Leases("box", give, 40.0, heard)
    leases.keep("cpu-1")
    leases.drop("cpu-1")  # its server did not start
    for _ in range(100):
        await asyncio.sleep(0)
    assert Agent.begun == 0
    leases.keep("cpu-2")
    for _ in range(100):
        await asyncio.sleep(0)
    assert Agent.begun == 1
    assert await leases.close() == ["cpu-2"]
