"""The one way data comes in: the fleet reports what changed, a worker thread reads the store, at most
four times a second, and the screen in front is updated.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from tui.data.allocator import give_back_memory

if TYPE_CHECKING:
    from nanochat.common.paths import Layout
    from remote.fleet.fleet import Fleet
    from remote.hosts.book import Host
    from remote.runs import Change, Link, RunRow
    from remote.store.run_list import RunList
    from remote.store.store import Store
    from remote.transport.base import AskHostKey

REDRAW_SECONDS = 0.25
"""How often the feed looks for changes; a screen may want them less often."""
FIRST_ROWS = 200
"""Runs that are read before the first frame; reading all of thousands would hold it up."""

Deliver = Callable[["list[RunRow]", "frozenset[Change]"], None]


class Feed:
    """Opens the store, starts the fleet, and collects its changes into few deliveries.

    `deliver(rows, changes)` is called in the event loop with every run and what changed since the last
    call, `pace()` seconds apart at least. Nothing is delivered while `frozen`; what changed meanwhile is
    delivered afterwards.
    """

    def __init__(
        self, layout: Layout, fleet: Fleet | None, deliver: Deliver, pace: Callable[[], float] = lambda: 0.0
    ) -> None:
        give_back_memory()  # before there are threads
        self.layout = layout
        self._pace = pace
        self._delivered = 0.0
        self.fleet = fleet
        self.frozen = False
        self._deliver = deliver
        self._changes: set[Change] = set()
        self._reading = False
        self._own_store: Store | None = None
        self._runs: RunList | None = None
        self._unsubscribe: Callable[[], None] | None = None

    @property
    def store(self) -> Store:
        """The store, opened on first use."""
        if self.fleet is not None:
            return self.fleet.store
        if self._own_store is None:
            from remote.store.store import Store

            self.layout.base.mkdir(parents=True, exist_ok=True)
            self._own_store = Store(self.layout.store)
        return self._own_store

    @property
    def trouble(self) -> str:
        """Why the store cannot be written at present; empty while all is well, and before it is opened."""
        store = self.fleet.store if self.fleet is not None else self._own_store
        return "" if store is None or not store.trouble else f"{store.trouble}; what is shown may be old"

    async def first_rows(self) -> tuple[list[RunRow], bool]:
        """What the first screen shows: the newest runs and those that are live, and whether these are all."""
        return await asyncio.to_thread(lambda: self.store.newest_runs(FIRST_ROWS))

    async def rows(self) -> list[RunRow]:
        """Every run, newest first, read in a worker thread: only what changed since the last time.

        The list is a new one, a row that did not change the same object as before.
        """
        return await asyncio.to_thread(self._read)

    def _read(self) -> list[RunRow]:
        if self._runs is None:
            from remote.store.run_list import RunList

            self._runs = RunList(self.store)
        return self._runs.update()

    async def start(self, ask_host_key: AskHostKey, warn: Callable[[str], None]) -> None:
        """Starts the fleet, which asks and warns through these two.

        A worker thread loads its modules, so that the screen stays responsive.
        """
        if self.fleet is None:
            self.fleet = await asyncio.to_thread(_make_fleet, self.layout, self.store)
        self.fleet.ask_host_key = ask_host_key
        self.fleet.warn = warn
        self._unsubscribe = self.fleet.subscribe(self._note)
        await self.fleet.start()

    def _note(self, change: Change) -> None:
        self._changes.add(change)

    async def close(self) -> None:
        """Stops following the hosts. Runs continue."""
        if self._unsubscribe is not None:
            self._unsubscribe()
        if self.fleet is not None:
            await self.fleet.aclose()
        if self._own_store is not None:
            self._own_store.close()

    def links(self, hosts: Iterable[Host]) -> dict[str, Link]:
        """The link of each of `hosts`."""
        fleet = self.fleet
        return {} if fleet is None else {host.name: fleet.link(host.name) for host in hosts}

    async def flush(self) -> None:
        """Delivers what changed, unless nothing did, it is too early, a read goes on, or it is frozen."""
        if self.frozen or self._reading or not self._changes:
            return
        if time.monotonic() - self._delivered < self._pace() - REDRAW_SECONDS / 2:
            return
        self._delivered = time.monotonic()
        changes, self._changes = frozenset(self._changes), set()
        self._reading = True
        try:
            rows = await self.rows()
        finally:
            self._reading = False
        self._deliver(rows, changes)


def _make_fleet(layout: Layout, store: Store) -> Fleet:
    from remote.fleet.fleet import Fleet

    return Fleet(layout, store)
