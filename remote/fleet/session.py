"""The connection to one host, kept up for as long as the session lasts."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from nanochat.common.errors import Exit, UserError
from nanochat.common.paths import Layout
from remote.fleet.agent_client import AgentClient, AgentError
from remote.fleet.follower import Resync
from remote.fleet.taker import Taker
from remote.hosts.book import Host
from remote.runs import Change, CommandRecord, Link
from remote.store.database import StoreUnwritable
from remote.store.store import Store
from remote.transport.base import (
    AskHostKey,
    AuthenticationFailed,
    ByteReader,
    ByteWriter,
    ChangedHostKey,
    HostUnreachable,
    Transport,
    UnknownHostKey,
)
from remote.transport.forward import Forward

FIRST_RETRY = 1.0
LAST_RETRY = 30.0
SILENCE = 15.0  # the agent pings every 2 s
STEADY = 5.0  # a link that lasted this long starts its retries from the shortest again
PULSE = 10.0
INTERVAL = 0.25
UNWRITABLE_RETRY = 2.0  # a store that takes nothing is on this machine: it is tried often
_CONTACT_NOTED = 2.0
_RECORDS = 1000
_MAX_RESYNCS = 8

_PERMANENT = (UnknownHostKey, ChangedHostKey, AuthenticationFailed)


class HostSession:
    """Connects, follows, reconnects with backoff; `link` says how it stands.

    A refusal that retrying cannot mend (host key, login) waits for `retry()`.
    """

    def __init__(
        self,
        host: Host,
        layout: Layout,
        store: Store,
        notify: Callable[[Change], None],
        ask: AskHostKey,
    ) -> None:
        self.host = host
        self.commands: deque[CommandRecord] = deque(maxlen=_RECORDS)
        self.link = Link("connecting", time.time(), store.last_contact(host.name))
        self._layout = layout
        self._store = store
        self._notify = notify
        self._ask = ask
        self._agent: AgentClient | None = None
        self._failure: UserError | None = None
        self._settled = asyncio.Event()
        self._wake = asyncio.Event()
        self._anew = False
        self._forwards: dict[int, Forward] = {}
        self._task = asyncio.create_task(self._keep(), name=f"host {host.name}")

    async def ready(self) -> AgentClient:
        """The connected agent; raises why there is none once the attempt under way has failed."""
        while True:
            await self._settled.wait()
            if self._agent is not None:
                return self._agent
            if self._failure is not None:
                raise self._failure

    def retry(self) -> None:
        """Tries again now instead of at the end of the wait."""
        if self.link.status == "down":
            self._settled.clear()
            self._wake.set()

    def look_again(self) -> None:
        """Begins the stream anew with its next frame (every 2 s at the latest).

        The agent looks at ended runs only now and then; this makes it see one that lives again.
        """
        self._anew = True

    async def forward(self, port: int) -> int:
        """A port of this machine that leads to that one of the host's own address.

        It stays the same while the session lasts: over a cut link nothing answers there, and over the next
        connection it leads on. The trial that is made raises `UserError` where the host lets nobody through.
        """
        if self.host.kind == "local":
            return port
        if port not in self._forwards:
            _, trial = await self._dial(port)
            trial.close()
            forward = Forward(lambda: self._dial(port))
            await forward.start()
            if port in self._forwards:  # two asked at once
                await forward.close()
            else:
                self._forwards[port] = forward
        return self._forwards[port].port

    async def end_forward(self, port: int) -> None:
        """Stops leading to that port of the host."""
        forward = self._forwards.pop(port, None)
        if forward is not None:
            await forward.close()

    async def _dial(self, port: int) -> tuple[ByteReader, ByteWriter]:
        if self._agent is None:
            raise HostUnreachable(self.host.name, "the connection was lost")
        return await self._agent.transport.dial(port)

    async def close(self) -> None:
        """Ends the connection; nothing of the session is left running."""
        for port in list(self._forwards):
            await self.end_forward(port)
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _keep(self) -> None:
        delay = FIRST_RETRY
        while True:
            self._settled.clear()
            self._set(status="connecting", retry_in=None, error="")
            # In a thread: the first SSH host loads asyncssh, which takes over a tenth of a second.
            transport = await asyncio.to_thread(_transport, self.host, self._layout)
            agent = AgentClient(self.host, transport, self._layout, self.commands.append)
            began = time.monotonic()
            try:
                await self._open(agent)
                self._up(agent)
                began = time.monotonic()
                await self._follow(agent)
                failure = UserError(f"the agent on host '{self.host.name}' ended", exit_code=Exit.UNREACHABLE)
            except UserError as error:
                failure = error
            except Exception as error:
                # A defect must show on the screen and leave the other hosts alone, not end in silence.
                failure = UserError(
                    f"following host '{self.host.name}' failed: {type(error).__name__}: {error}",
                    exit_code=Exit.FAILED,
                )
            finally:
                self._agent = None
                self._settled.clear()
                with contextlib.suppress(Exception):  # nothing of it is used any more
                    await agent.close()
            delay = FIRST_RETRY if time.monotonic() - began > STEADY else delay
            if isinstance(failure, StoreUnwritable):
                delay = UNWRITABLE_RETRY
            await self._wait(failure, delay)
            delay = min(LAST_RETRY, delay * 2)

    async def _open(self, agent: AgentClient) -> None:
        accepted: set[str] = set()
        while True:
            try:
                return await agent.connect()
            except UnknownHostKey as unknown:
                # A host that is reached over others shows their keys first, one at each try.
                if unknown.where in accepted or not await self._ask(unknown):
                    raise
                accepted.add(unknown.where)
                await asyncio.to_thread(unknown.accept)
                await agent.close()

    def _up(self, agent: AgentClient) -> None:
        self._agent, self._failure = agent, None
        self._set(status="up", last_contact=time.time(), latency_ms=agent.latency_ms)
        self._settled.set()

    async def _wait(self, failure: UserError, delay: float) -> None:
        self._failure = failure
        permanent = isinstance(failure, _PERMANENT)
        self._wake.clear()
        self._set(status="down", retry_in=None if permanent else delay, error=str(failure))
        self._settled.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if permanent else delay):
                await self._wake.wait()

    def _set(self, **changes: object) -> None:
        since = time.time() if changes.get("status") != self.link.status else self.link.since
        self.link = replace(self.link, since=since, **changes)  # type: ignore[arg-type]
        self._notify(Change("link", self.host.name))

    async def _follow(self, agent: AgentClient) -> None:
        pulse = asyncio.create_task(self._pulse(agent), name=f"pulse {self.host.name}")
        try:
            resyncs = 0
            while resyncs < _MAX_RESYNCS:
                try:
                    await self._stream(agent)
                except Resync:
                    resyncs += 1
                    continue
                if not self._anew:
                    return
                self._anew, resyncs = False, 0
            raise AgentError(self.host.name, "its log does not settle: it keeps changing under us", "resync")
        finally:
            pulse.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await pulse

    async def _stream(self, agent: AgentClient) -> None:
        name = self.host.name
        offsets = await asyncio.to_thread(self._store.offsets, name)
        noted, ahead = 0.0, None
        async with agent.follow(offsets, INTERVAL) as frames, self._taker() as taker:
            while True:
                try:
                    async with asyncio.timeout(SILENCE):
                        content = await anext(frames, None)
                except TimeoutError:
                    raise HostUnreachable(name, f"silent for {SILENCE:g} s") from None
                if content is None:
                    return
                now = time.time()
                self.link = replace(self.link, last_contact=now)
                ping = await taker.take(content)
                if ping is not None:
                    ahead = ping - now
                    self.link = replace(self.link, clock_ahead=ahead)
                if now - noted > _CONTACT_NOTED:
                    noted = now
                    await asyncio.to_thread(self._store.contact, name, now, ahead)
                if self._anew:
                    return

    @contextlib.asynccontextmanager
    async def _taker(self) -> AsyncIterator[Taker]:
        taker = Taker(self._store, self.host.name, self._taken)
        try:
            yield taker
        finally:
            await taker.close()

    def _taken(self, changes: list[Change]) -> None:
        for change in changes:
            self._notify(change)

    async def _pulse(self, agent: AgentClient) -> None:
        while True:
            await asyncio.sleep(PULSE)
            try:
                latency = await agent.measure()
            except UserError:
                return  # the stream notices a lost link by itself
            self._set(latency_ms=latency)


def _transport(host: Host, layout: Layout) -> Transport:
    if host.kind == "local":
        from remote.transport.local import LocalTransport

        return LocalTransport(host.name)
    from remote.transport.ssh import SSHTransport

    return SSHTransport(host, layout)
