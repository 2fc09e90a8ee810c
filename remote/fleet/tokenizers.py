"""Tokenizers of all hosts: listed by their agents, copied here when somebody looks at one."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanochat.common import fields
from nanochat.common.errors import Exit, UserError
from nanochat.common.paths import Layout, atomic_write_all, make_dir
from remote.fleet.agent_client import AgentClient, AgentError

MOST_BYTES = 64 << 20
"""Of a tokenizer's file that is copied."""
_CHUNK = 1 << 23
_NAME = re.compile(r"tokenizer\.(?:json|pkl)|tokenizer-[0-9a-f]{16}\.tiktoken")
_MOST = 500


@dataclass(frozen=True)
class HostTokenizer:
    """A tokenizer on a host: `folder` is under its base directory, `files` name → bytes."""

    host: str
    folder: str
    files: Mapping[str, int]
    vocab_size: int
    """0 where its file does not say it."""
    identity: str
    """Another for another tokenizer."""


class FleetTokenizers:
    """`Fleet.tokenizers`. `agent` gives the connected agent of a host's name."""

    def __init__(self, layout: Layout, agent: Callable[[str], Awaitable[AgentClient]]) -> None:
        self._layout, self._agent = layout, agent

    async def listed(self, host: str) -> list[HostTokenizer]:
        """The tokenizers of a host, the one of its base directory first. Raises what a lost link raises."""
        agent = await self._agent(host)
        answer = await agent.call("tokenizers", request={"do": "list"}, within=60)
        return await asyncio.to_thread(listing_of, host, answer)

    async def copy(self, one: HostTokenizer) -> Path:
        """The folder of a copy here, made where there is none yet.

        Raises `UserError` when it is not there any more, changed meanwhile, or cannot be written.
        """
        folder = self._layout.copied_tokenizers / _plain(one.host) / one.identity[:16]
        if await asyncio.to_thread(_is_copy, folder, one.files):
            return folder
        agent = await self._agent(one.host)
        content = {name: await self._read(agent, one, name, size) for name, size in one.files.items()}

        def write() -> None:
            make_dir(folder)
            atomic_write_all({folder / name: raw for name, raw in reversed(content.items())})

        await asyncio.to_thread(write)
        return folder

    async def _read(self, agent: AgentClient, one: HostTokenizer, name: str, size: int) -> bytes:
        raw = b""
        while len(raw) < size:
            request = {"do": "read", "folder": one.folder, "file": name, "offset": len(raw)}
            try:
                answer = await agent.call("tokenizers", request=request, within=120)
            except AgentError as error:
                raise UserError(
                    f"{one.folder} of host '{one.host}': {error.message}", "", Exit.FAILED
                ) from error
            part = await asyncio.to_thread(_unpacked, answer)
            if not part or answer.get("size") != size:
                break
            raw += part
        if len(raw) != size or not await asyncio.to_thread(_is_right, name, raw, one.identity):
            raise UserError(
                f"{one.folder}/{name} on host '{one.host}' has changed meanwhile",
                "list them again",
                Exit.FAILED,
            )
        return raw


def listing_of(host: str, answer: Mapping[str, Any]) -> list[HostTokenizer]:
    """An agent's list, read field by field; what is no tokenizer is left out."""
    entries = answer.get("tokenizers")
    told = entries[:_MOST] if isinstance(entries, list) else []
    found = [_entry(host, entry) for entry in told if isinstance(entry, dict)]
    return [one for one in found if one is not None]


def _entry(host: str, entry: Mapping[str, Any]) -> HostTokenizer | None:
    folder, identity = fields.text(entry.get("folder"), 1000), fields.text(entry.get("identity"), 64)
    told = entry.get("files")
    files = {
        name: size
        for name, size in (told.items() if isinstance(told, dict) else ())
        if _NAME.fullmatch(name) and fields.whole(size, 0, MOST_BYTES) is not None
    }
    if not folder or not identity or not re.fullmatch(r"[0-9a-f]{64}", identity) or not 1 <= len(files) <= 2:
        return None
    return HostTokenizer(host, folder, files, fields.whole(entry.get("vocab_size"), 0) or 0, identity)


def _unpacked(answer: Mapping[str, Any]) -> bytes:
    try:
        packed = base64.b64decode(str(answer.get("zlib")), validate=True)
        return zlib.decompressobj().decompress(packed, _CHUNK)
    except (ValueError, zlib.error):
        return b""


def _is_right(name: str, raw: bytes, identity: str) -> bool:
    """Whether a file is that of the tokenizer that was listed."""
    digest = hashlib.sha256(raw).hexdigest()
    if name.endswith(".tiktoken"):
        return digest[:16] == name.partition("-")[2].partition(".")[0]
    return digest == identity or identity.encode() in raw


def _is_copy(folder: Path, files: Mapping[str, int]) -> bool:
    try:
        return all((folder / name).stat().st_size == size for name, size in files.items())
    except OSError:
        return False


def _plain(host: str) -> str:
    """A host's name as a folder's."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", host).lstrip(".") or "_"
