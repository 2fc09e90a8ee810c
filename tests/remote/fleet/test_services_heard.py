"""What a host told of its services before one was reached says nothing of that one."""

import asyncio
from typing import Any

import pytest

from nanochat.common.errors import UserError
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
