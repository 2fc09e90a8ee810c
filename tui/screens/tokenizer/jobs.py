"""The commands that the Tokenizer screens have running: they go on when a screen is left."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from nanochat.common.errors import UserError
from tui.data.tokenizer.command_job import CommandJob

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tui.room import Room

_JOBS: WeakKeyDictionary[Room, dict[str, CommandJob]] = WeakKeyDictionary()


def job_of(room: Room, kind: str) -> CommandJob | None:
    """The newest command of this kind, running or not."""
    return _JOBS.get(room, {}).get(kind)


def start(room: Room, kind: str, words: Sequence[str], keep: Callable[[bytes], Path]) -> CommandJob:
    """Starts a command in the background; `keep` writes what it printed to a file, in a thread.

    Raises `UserError` while one of this kind is running.
    """
    known = job_of(room, kind)
    if known is not None and known.state == "running":
        raise UserError("one is running already", "wait for it, or cancel it")
    job = CommandJob(words)
    _JOBS.setdefault(room, {})[kind] = job
    room.do(_run(room, job, keep))
    return job


async def _run(room: Room, job: CommandJob, keep: Callable[[bytes], Path]) -> None:
    printed = await job.run()
    if printed is None:
        room.say("cancelled")
        return
    job.kept = await asyncio.to_thread(keep, printed)
    job.changed()
    for line in job.remarks[:3]:
        room.say(line)
    room.say(f"kept as {room.layout.told(job.kept)}")
