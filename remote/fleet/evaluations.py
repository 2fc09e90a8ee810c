"""The evaluations of hosts: what their agents list, and the items, fetched when somebody looks at them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from nanochat.common.errors import Exit, UserError
from nanochat.common.paths import Layout
from remote.fleet.agent_client import AgentClient, AgentError
from remote.fleet.items_cache import Chunk, Found, ItemsCache, chunk_of
from remote.hosts.book import HostBook
from remote.runs import Change
from remote.store.evaluation_files import listing_of
from remote.store.evaluations import Evaluation, ItemsAt
from remote.store.store import Store
from remote.transport.base import HostUnreachable

ItemsProgress = Callable[[int, int], None]
"""Called in the event loop with bytes fetched and bytes in all."""

CHUNK = 1 << 20
"""Bytes of items in one answer; they travel compressed, at about a fifth."""
_MOST_ANSWERS = 200  # of one listing
_TRIES = 5


class FleetEvaluations:
    """`Fleet.evaluations`. `agent` gives the connected agent of a host's name, `notify` tells of a change."""

    def __init__(
        self,
        layout: Layout,
        hosts: HostBook,
        store: Store,
        agent: Callable[[str], Awaitable[AgentClient]],
        notify: Callable[[Change], None],
    ) -> None:
        self._hosts = hosts
        self._store = store
        self._agent = agent
        self._notify = notify
        self.cache = ItemsCache(layout.items_cache)
        self._fetching: dict[tuple[str, str], asyncio.Lock] = {}

    async def refresh(self, name: str) -> None:
        """Asks a host for its files of results and takes them into the store.

        Tells of a change of kind `evaluations` where something is new. Raises what a lost link raises.
        """
        agent = await self._agent(name)
        before = await asyncio.to_thread(self._store.evaluations_version)
        for _ in range(_MOST_ANSWERS):
            known = await asyncio.to_thread(self._store.listed_files, name)
            answer = await agent.call("evaluations", request={"known": known}, within=120)
            listing = await asyncio.to_thread(listing_of, answer)
            await asyncio.to_thread(self._store.take_listing, name, listing, time.time())
            if not listing.more:
                break
        if await asyncio.to_thread(self._store.evaluations_version) != before:
            self._notify(Change("evaluations", name))

    async def items(self, evaluation: Evaluation, progress: ItemsProgress | None = None) -> Path:
        """The file with the items: on this machine where it lies, else a copy in the cache.

        What has been fetched before is only asked for what is new; of a host out of reach the copy there is
        stands, and `fetched_at` says how old it is. Raises `UserError` when there are no items, they are not
        there any more, or the host is out of reach and nothing of them is here.
        """
        at = evaluation.items
        if at is None:
            raise UserError(f"{evaluation.name}: no items are kept of this evaluation", "evaluate it again")
        host = await asyncio.to_thread(self._hosts.get, at.host)
        if host.kind == "local":
            path = Path(host.base_dir) / at.path
            if not await asyncio.to_thread(path.is_file):
                raise UserError(f"{path} is not there any more", _AGAIN)
            return path
        lock = self._fetching.setdefault((at.host, at.path), asyncio.Lock())
        async with lock:
            try:
                return await self._fetch(at, progress or _silent)
            except HostUnreachable:
                copy = await asyncio.to_thread(self.cache.find, at.host, at.path)
                if copy is None:
                    raise
                return copy.path

    async def fetched_at(self, evaluation: Evaluation) -> float | None:
        """When the copy here was last seen to be what the host has; None where there is no copy."""
        at = evaluation.items
        copy = None if at is None else await asyncio.to_thread(self.cache.find, at.host, at.path)
        return None if copy is None else copy.checked

    async def _fetch(self, at: ItemsAt, progress: ItemsProgress) -> Path:
        """Reads the file until it is one that did not change meanwhile, or that only grew."""
        agent = await self._agent(at.host)
        for left in reversed(range(_TRIES)):
            here = await asyncio.to_thread(self.cache.find, at.host, at.path)
            first = await self._read(agent, at, here.bytes if here is not None else 0)
            if not first.identity:
                raise UserError(f"{at.path} is not there any more on host '{at.host}'", _AGAIN, Exit.FAILED)
            if here is not None and here.identity == first.identity:
                await asyncio.to_thread(self.cache.check, here)
                return here.path
            self.cache.check_room(at.path, first.size)
            grown = here if here is not None and here.bytes <= first.size else None
            path = await self._copy(agent, at, grown, first, progress)
            if path is not None:
                return path
            await asyncio.sleep(0.2 * (_TRIES - left))
        raise UserError(
            f"{at.path} on host '{at.host}' is another at each reading",
            "wait until its evaluation has ended",
            Exit.FAILED,
        )

    async def _copy(
        self, agent: AgentClient, at: ItemsAt, here: Found | None, first: Chunk, progress: ItemsProgress
    ) -> Path | None:
        """The copy, made whole; None where the file became another meanwhile."""
        copy = await asyncio.to_thread(self.cache.begin, at.host, at.path, here)
        try:
            if copy.size:
                first = await self._read(agent, at, copy.size, before=True)
                if first.before != await asyncio.to_thread(copy.digest):
                    await asyncio.to_thread(copy.restart)  # another evaluation's, or one that began anew
            if first.offset != copy.size:
                first = await self._read(agent, at, copy.size)
            last = first
            while True:
                await asyncio.to_thread(copy.add, last)
                progress(copy.size, last.size)
                if copy.size >= last.size or not last.raw:
                    break
                last = await self._read(agent, at, copy.size)
            if last.identity != first.identity:  # it changed: was it only added to?
                check = await self._read(agent, at, copy.size, before=True)
                if check.before != await asyncio.to_thread(copy.digest):
                    return None
            return await asyncio.to_thread(copy.keep, first, last)
        finally:
            await asyncio.to_thread(copy.close)

    async def _read(self, agent: AgentClient, at: ItemsAt, offset: int, before: bool = False) -> Chunk:
        words = ["--file", at.path, f"--offset={offset}", "--max", str(CHUNK), *["--before"] * before]
        try:
            answer = await agent.call("items", *words)
        except AgentError as error:
            raise UserError(error.message, _AGAIN, Exit.FAILED) from error
        return await asyncio.to_thread(chunk_of, at.host, answer)


_AGAIN = "evaluate it again to have its items"


def _silent(done: int, total: int) -> None:
    del done, total
