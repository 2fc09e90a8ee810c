"""Checkpoints of all hosts: asked for, copied from one host to another, deleted."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nanochat.common import fields
from nanochat.common.errors import Exit, UserError
from nanochat.common.text import size_bytes
from remote.checkpoints.saved import Listing, SavedCheckpoint, listing_of
from remote.fleet.agent_client import AgentClient, AgentError

CopyProgress = Callable[[int, int], None]
"""Called in the event loop with bytes copied and bytes in all."""

CHUNK = 4 << 20
"""Bytes in one answer: so much is spelled and read in a few milliseconds of the event loop."""
_WHOLE_FILE = 3600.0
"""Seconds that the digest of all files of a checkpoint may take."""
SPARE = 64 << 20
"""Bytes that a copy leaves free on a disk."""


@dataclass(frozen=True)
class Copied:
    """A copy that was made: where it lies, and how many bytes came over this time."""

    path: str
    bytes: int


class FleetCheckpoints:
    """`Fleet.checkpoints`. `agent` gives the connected agent of a host's name.

    What a host told last is kept in memory: of one out of reach it stays known, with its age.
    """

    def __init__(self, agent: Callable[[str], Awaitable[AgentClient]]) -> None:
        self._agent = agent
        self._listings: dict[str, Listing] = {}

    def known(self) -> list[Listing]:
        """What every host told last."""
        return list(self._listings.values())

    async def refresh(self, host: str) -> Listing:
        """Asks a host for its checkpoints. Raises what a lost link raises."""
        agent = await self._agent(host)
        answer = await agent.call("checkpoints", "--each", within=120)
        self._listings[host] = await asyncio.to_thread(listing_of, host, answer, time.time())
        return self._listings[host]

    async def delete(self, one: SavedCheckpoint) -> None:
        """Deletes a checkpoint for good. Raises `UserError` that names who uses it."""
        agent = await self._agent(one.host)
        try:
            await agent.call("checkpoint", request=_request(one, "delete"), within=600)
        except AgentError as error:
            hint = "wait for it or end it, then delete" if error.code == "in_use" else ""
            raise UserError(error.message, hint, Exit.FAILED) from error
        await self.refresh(one.host)

    async def copy(self, one: SavedCheckpoint, to: str, progress: CopyProgress | None = None) -> Copied:
        """Copies a checkpoint to another host (`local`: this machine), where it gets its place once every
        file has its size and sha256. One that was cut goes on from where it was.

        Raises `UserError` where a checkpoint is in its place already, there is no room, or the link is lost.
        """
        if to == one.host:
            raise UserError(f"{one.name} is on host '{to}' already", "name another host")
        if one.problem:
            raise UserError(f"{one.name} cannot be copied: {one.problem}", "copy another step", Exit.FAILED)
        source, target = await self._agent(one.host), await self._agent(to)
        files = [name for name, size in one.files.items() if size >= 0]
        there = await target.call("checkpoint", request=_request(one, "staged", files=files))
        if there.get("taken") is True:
            raise UserError(f"host '{to}' has a {one.name} already", "delete it there first", Exit.FAILED)
        sizes = there.get("sizes")
        begun = (
            {name: fields.whole(sizes.get(name), 0) or 0 for name in files} if isinstance(sizes, dict) else {}
        )
        begun = {name: size if size <= one.files[name] else 0 for name, size in begun.items()}
        missing = one.bytes - sum(begun.values())
        free = fields.whole(there.get("free"), 0)
        if free is not None and free < missing + SPARE:
            raise UserError(
                f"host '{to}' has {size_bytes(free)} free, {one.name} needs {size_bytes(missing)}",
                "free some space there",
                Exit.FAILED,
            )
        copy = _Copy(one, source, target, one.bytes - missing, progress or _silent)
        try:
            for name in sorted(files, key=lambda name: -one.files[name]):
                await copy.file(name, begun.get(name, 0))
            path = await copy.commit(files)
        except AgentError as error:
            raise UserError(f"cannot copy {one.name}: {error.message}", _hint(error), Exit.FAILED) from error
        await self.refresh(to)
        return Copied(path, missing)

    async def give_up(self, one: SavedCheckpoint, to: str) -> None:
        """Removes what is there of a copy that was begun."""
        agent = await self._agent(to)
        await agent.call("checkpoint", request=_request(one, "drop"))


class _Copy:
    """A copy under way."""

    def __init__(
        self,
        one: SavedCheckpoint,
        source: AgentClient,
        target: AgentClient,
        done: int,
        progress: CopyProgress,
    ) -> None:
        self._one, self._source, self._target = one, source, target
        self._done, self._progress = done, progress

    async def file(self, name: str, offset: int) -> None:
        """Brings a file from `offset` on. The next part is read while one is written."""
        size = self._one.files[name]
        self._progress(self._done, self._one.bytes)
        ahead = asyncio.ensure_future(self._read(name, offset, size))
        try:
            while offset < size or (size == 0 and offset == 0):
                raw = await ahead
                if not raw and size:
                    raise UserError(
                        f"{name} of {self._one.name} has become shorter on host '{self._one.host}'",
                        "copy it again",
                        Exit.FAILED,
                    )
                ahead = asyncio.ensure_future(self._read(name, offset + len(raw), size))
                offset = await self._write(name, offset, raw)
                self._done += len(raw)
                self._progress(self._done, self._one.bytes)
                if not size:
                    break
        finally:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)

    async def _read(self, name: str, offset: int, size: int) -> bytes:
        if offset >= size:
            return b""
        request = _request(self._one, "read", file=name, offset=offset, size=CHUNK)
        answer = await self._source.call("checkpoint", request=request, within=300)
        return await asyncio.to_thread(base64.b64decode, str(answer.get("b64")))

    async def _write(self, name: str, offset: int, raw: bytes) -> int:
        """Writes a part and returns where the next one begins. Raises `UserError` where it did not arrive."""
        spelled = (await asyncio.to_thread(base64.b64encode, raw)).decode("ascii")
        request = _request(self._one, "write", file=name, offset=offset, b64=spelled)
        shown = f"write {size_bytes(len(raw))} of {self._one.name} {name} at {offset}"
        answer = await self._target.call("checkpoint", request=request, within=300, shown=shown)
        if answer.get("size") != offset + len(raw):
            raise UserError(
                f"another copy of {self._one.name} is being made on the same host",
                "wait for that one",
                Exit.FAILED,
            )
        return offset + len(raw)

    async def commit(self, files: Sequence[str]) -> str:
        """Has the target check every file against the source's, and give the copy its place."""
        request = _request(self._one, "digest", files=list(files))
        answer = (await self._source.call("checkpoint", request=request, within=_WHOLE_FILE)).get("sha256")
        digests = answer if isinstance(answer, dict) else {}
        told = {name: [self._one.files[name], str(digests.get(name))] for name in files}
        request = _request(self._one, "commit", files=told)
        answer = await self._target.call("checkpoint", request=request, within=_WHOLE_FILE)
        return fields.text(answer.get("path"), 1_000) or ""


def _request(one: SavedCheckpoint, do: str, **more: object) -> Mapping[str, Any]:
    return {"do": do, "source": one.name.source, "tag": one.name.tag, "entry": one.entry, **more}


def _hint(error: AgentError) -> str:
    if error.code == "damaged":
        return "copy it again: only that file is brought anew"
    if error.code == "disk_full":
        return "free some space there; a copy goes on from where it was"
    return "copy it again: it goes on from where it was"


def _silent(done: int, total: int) -> None:
    del done, total
