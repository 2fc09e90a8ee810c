"""Servers of checkpoints on hosts: opened for a chat, kept while the app lives, reached over the connection.

    service = await fleet.services.open("h100", None, print)
    async with ChatClient(service.url, service.key) as client: ...

A service is a `chat_web` that the host's agent started, one per host and device; it answers for every
checkpoint of the host's base directory by name. It is no run. docs/services.md says what it promises.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from nanochat.common.errors import Exit, UserError
from nanochat.common.text import sanitize
from remote.fleet.agent_client import AgentClient, AgentError
from remote.fleet.answers import entries
from remote.fleet.leases import LEASE_SECONDS, Leases
from remote.fleet.service_answers import (
    READY,
    STARTING,
    DeviceChoice,
    DeviceOffer,
    HostCheckpoint,
    Service,
    ServiceState,
    Told,
    checkpoint_of,
    offer_of,
    told_of,
    unreadable,
)
from remote.fleet.session import HostSession

__all__ = ["DeviceChoice", "DeviceOffer", "HostCheckpoint", "Service", "ServiceState", "Services"]

UNLOAD_SECONDS = 600.0
"""After which a model that nobody asks gives its memory back."""
_PATIENCE = 15.0  # seconds of one look at a server that starts
_LEAVE = 5.0


class Services:
    """The services of a fleet's hosts, reached through `session`, which gives the session of a host's name.

    `lease_seconds` is how long a service lives on that no app keeps any more, `unload_seconds` how long a
    model that nobody asks stays in memory. Everything that a person can cause is a `UserError`.
    """

    def __init__(
        self,
        session: Callable[[str], Awaitable[HostSession]],
        lease_seconds: float = LEASE_SECONDS,
        unload_seconds: float = UNLOAD_SECONDS,
    ) -> None:
        self._session = session
        self.lease_seconds = lease_seconds
        self.unload_seconds = unload_seconds
        self._opening: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._leases: dict[str, Leases] = {}
        self._running: dict[tuple[str, str], Service] = {}
        self._reached: dict[tuple[str, str], float] = {}
        """Since when each of them is there (monotonic time, s)."""
        self._ports: dict[tuple[str, str], int] = {}
        self._known: dict[str, list[ServiceState]] = {}
        self._ended: dict[str, str] = {}

    # ---- opening -------------------------------------------------------------------------------------

    async def offers(self, host: str) -> list[DeviceOffer]:
        """The devices of a host, GPUs first; the CPU is always there."""
        answer = await self._ask(host, "devices")
        return [offer_of(host, entry) for entry in entries(answer, "devices")]

    async def open(self, host: str, device: str | None, waiting: Callable[[str], None]) -> Service:
        """Joins the service of that host and device, or starts it; returns once it answers.

        `waiting` hears in a line what is waited for, such as "starting the server on h100 (cuda:0)". Without
        a device it takes one that serves already, else the GPU with most memory free that nobody uses, else
        the CPU. Raises `DeviceChoice` when a training is at work on the host and there is a choice; a device
        that is named is taken whoever uses it. Raises `UserError` when the host cannot serve, in the words
        of its server where that did not start.
        """
        async with self._opening[host]:  # of several panes the first starts it
            session = await self._session(host)
            if session.link.status != "up":
                waiting(f"connecting to {host}")
            agent = await self._agent(host)
            waiting(f"looking for a server on {host}" + (f" ({device})" if device else ""))
            request = {
                "device": device,
                "python": agent.stage_python,
                "holder": self._leases_of(host).holder,
                "lease_seconds": self.lease_seconds,
                "unload_after": self.unload_seconds,
            }
            answer = await self._ask(host, "serve", request=request, within=150.0)
            if isinstance(choice := answer.get("choice"), dict):
                offers = [offer_of(host, entry) for entry in entries(choice, "devices")]
                raise DeviceChoice(host, sanitize(str(choice.get("run")), 120), offers)
            told = self._one(host, answer.get("service"))
            leases = self._leases_of(host)
            leases.keep(told.state.id)
            try:
                return await self._reach(session, await self._until_ready(host, told, waiting))
            except BaseException:
                if (host, told.state.id) not in self._running:
                    leases.drop(told.state.id)
                    # Nobody waits for its server any more: it is not to go on for a whole lease.
                    await asyncio.shield(self._give_back(session, leases.holder, [told.state.id]))
                raise

    async def _until_ready(self, host: str, told: Told, waiting: Callable[[str], None]) -> Told:
        service_id, device = told.state.id, told.state.device
        while told.state.status == STARTING:
            waiting(f"starting the server on {host} ({device})")
            words = ["--wait", service_id, f"--seconds={_PATIENCE:g}"]
            answer = await self._ask(host, "services", *words, within=4 * _PATIENCE)
            told = self._one(host, next(iter(entries(answer, "services")), None))
        if told.state.status != READY or told.port is None or not told.key:
            why = told.state.problem or "it ended at once"
            raise UserError(f"host '{host}': the server did not start: {why}", exit_code=Exit.FAILED)
        return told

    async def _reach(self, session: HostSession, told: Told) -> Service:
        assert told.port is not None
        state = told.state
        port = await session.forward(told.port)
        url = f"http://127.0.0.1:{port}"
        service = Service(state.id, state.host, state.device, url, told.key, state.pinned, state.started_at)
        self._running[state.host, state.id] = service
        self._reached[state.host, state.id] = time.monotonic()
        self._ports[state.host, state.id] = told.port
        return service

    # ---- what there is -------------------------------------------------------------------------------

    def running(self) -> list[Service]:
        """The services that this app keeps, as last heard of."""
        return list(self._running.values())

    async def states(self, host: str) -> list[ServiceState]:
        """Every service on a host, oldest first, whoever opened it."""
        asked = time.monotonic()
        await self._hear(host, await self._ask(host, "services"), asked)
        return self.known(host)

    def known(self, host: str) -> list[ServiceState]:
        """The same as last heard of, without asking."""
        return list(self._known.get(host, ()))

    def why_ended(self, service: Service) -> str:
        """Why a service is not among `running` any more, in a line; "" for one that is."""
        if (service.host, service.id) in self._running:
            return ""
        return self._ended.get(service.id) or f"the server on {service.host} has ended"

    async def checkpoints(self, host: str) -> list[HostCheckpoint]:
        """The checkpoint folders on a host, in the order of the pipeline."""
        answer = await self._ask(host, "checkpoints")
        found = [checkpoint_of(entry) for entry in entries(answer, "checkpoints")]
        return [checkpoint for checkpoint in found if checkpoint is not None]

    # ---- pins and ends -------------------------------------------------------------------------------

    async def pin(self, service: Service | ServiceState, pinned: bool) -> None:
        """Lets a service live on after this app, or no longer."""
        await self._change(service.host, service.id, "pin" if pinned else "unpin")
        key = (service.host, service.id)
        if key in self._running:
            self._running[key] = replace(self._running[key], pinned=pinned)

    async def close(self, service: Service | ServiceState) -> None:
        """Ends a service at once for everybody, also a pinned one."""
        await self._change(service.host, service.id, "end")
        await self._forget(service, "it was ended")

    async def aclose(self) -> None:
        """Gives the leases back: services that no other app keeps end at once, unless pinned."""
        leaving = (self.leave(host) for host in list(self._leases))
        await asyncio.gather(*leaving, return_exceptions=True)

    async def leave(self, host: str) -> None:
        """Gives back the leases on one host."""
        leases = self._leases.pop(host, None)
        if leases is None:
            return
        ids = await leases.close()
        self._running = {key: service for key, service in self._running.items() if key[0] != host}
        self._reached = {key: at for key, at in self._reached.items() if key[0] != host}
        self._ports = {key: port for key, port in self._ports.items() if key[0] != host}
        self._known.pop(host, None)
        with contextlib.suppress(UserError):
            await self._give_back(await self._session(host), leases.holder, ids)

    # ---- inside --------------------------------------------------------------------------------------

    async def _agent(self, host: str) -> AgentClient:
        session = await self._session(host)
        session.retry()
        return await session.ready()

    async def _ask(self, host: str, command: str, *words: str, **options: Any) -> dict[str, Any]:
        agent = await self._agent(host)
        try:
            return await agent.call(command, *words, **options)
        except AgentError as error:
            if error.code == "usage" and "invalid choice" in error.message:
                raise UserError(
                    f"the agent of host '{host}' is of another version and knows no services",
                    "update nanochat on this machine",
                    Exit.FAILED,
                ) from error
            raise

    async def _give_back(self, session: HostSession, holder: str, ids: Sequence[str]) -> None:
        """Ends leases on a host; where the link is down they lapse by themselves."""
        if not ids or session.link.status != "up":
            return
        with contextlib.suppress(UserError, TimeoutError):
            async with asyncio.timeout(_LEAVE):
                agent = await session.ready()
                for service_id in ids:
                    words = ["--id", service_id, "--do", "leave", "--holder", holder]
                    await agent.call("service", *words, within=_LEAVE)

    async def _change(self, host: str, service_id: str, do: str) -> None:
        await self._ask(host, "service", "--id", service_id, "--do", do)

    def _one(self, host: str, entry: object) -> Told:
        if not isinstance(entry, dict):
            raise unreadable(host, "no service")
        return told_of(host, entry)

    def _leases_of(self, host: str) -> Leases:
        if host not in self._leases:
            self._leases[host] = Leases(host, self._session, self.lease_seconds, partial(self._hear, host))
        return self._leases[host]

    async def _hear(self, host: str, answer: dict[str, Any], asked: float) -> None:
        """Takes what a host tells of its services; those of ours that are not among them have ended.

        One that was reached since that was `asked` (monotonic time, s) may have come too late to be told.
        """
        states: list[ServiceState] = []
        for entry in entries(answer, "services"):
            with contextlib.suppress(UserError):  # one that cannot be read costs the others nothing
                states.append(told_of(host, entry).state)
        self._known[host] = states
        found = {state.id: state for state in states}
        for key, service in list(self._running.items()):
            if key[0] != host:
                continue
            state = found.get(service.id)
            if state is not None and state.status in (STARTING, READY):
                self._running[key] = replace(service, pinned=state.pinned)
            elif state is not None or self._reached.get(key, 0.0) < asked:
                await self._forget(service, "" if state is None else state.problem)

    async def _forget(self, service: Service | ServiceState, why: str) -> None:
        """A service that has ended: its lease and its port go."""
        key = (service.host, service.id)
        self._leases_of(service.host).drop(service.id)
        self._running.pop(key, None)
        self._reached.pop(key, None)
        self._ended[service.id] = why
        port = self._ports.pop(key, None)
        others = [other for (host, _), other in self._ports.items() if host == service.host]
        if port is not None and port not in others:
            await (await self._session(service.host)).end_forward(port)
