"""The leases of one app on one host: renewed over one command of the agent's for as long as the app lives."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

from nanochat.common.errors import UserError
from remote.fleet.session import HostSession

LEASE_SECONDS = 45.0
"""How long a service lives on that no app keeps: with the seconds that its end takes, less than a minute."""
_RENEWALS = 4.0  # within a lease
_AGAIN = 1.0


class Leases:
    """Keeps services of `host` alive. `heard` gets each answer, which is every service there is, and when it
    was asked for (monotonic time, s).

    Over a cut link the leases run down; over the next connection they are renewed, as far as the services are
    still there.
    """

    def __init__(
        self,
        host: str,
        session: Callable[[str], Awaitable[HostSession]],
        seconds: float,
        heard: Callable[[dict[str, Any], float], Awaitable[None]],
    ) -> None:
        self.host = host
        self.holder = secrets.token_hex(8)
        self._session = session
        self._interval = seconds / _RENEWALS
        self._heard = heard
        self._ids: set[str] = set()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def keep(self, service_id: str) -> None:
        """Begins to renew the lease of a service."""
        self._ids.add(service_id)
        self._changed.set()
        if self._task is None:
            self._task = asyncio.create_task(self._renew(), name=f"leases {self.host}")

    def drop(self, service_id: str) -> None:
        """Renews it no longer."""
        self._ids.discard(service_id)

    async def close(self) -> list[str]:
        """Ends the renewals; the services whose leases still run."""
        ids, self._ids = sorted(self._ids), set()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        return ids

    async def _renew(self) -> None:
        while True:
            if (
                not self._ids
            ):  # one that was given up at once must not have us ask for nothing, again and again
                self._changed.clear()
                await self._changed.wait()
                continue
            with contextlib.suppress(UserError):  # the link is down: its session tries again
                agent = await (await self._session(self.host)).ready()
                async with agent.dialog("lease") as ask:
                    while self._ids:
                        self._changed.clear()
                        asked = time.monotonic()
                        answer = await ask({"holder": self.holder, "services": sorted(self._ids)})
                        await self._heard(answer, asked)
                        await self._pause(self._interval)
            if self._ids:
                await asyncio.sleep(_AGAIN)

    async def _pause(self, seconds: float) -> None:
        """Until the next renewal is due or a service has come."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()
