"""What the user writes about runs: pins, tags, notes the archive, all kept in this machine's store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from nanochat.common.errors import one_line
from nanochat.common.text import amount, sanitize
from remote.store.tags import tag_words

if TYPE_CHECKING:
    from remote.runs import RunRow
    from tui.room import Room


async def pin(room: Room, runs: Sequence[RunRow]) -> None:
    """Pins runs to the top of the table, or unpins them when all are."""
    on = not all(run.pinned for run in runs)
    await _each(room, runs, lambda run: room.store.pin(run.key, on))


async def archive(room: Room, runs: Sequence[RunRow]) -> None:
    """Leaves ended runs out of the list, or takes them back when all are archived."""
    on = not all(run.archived for run in runs)
    chosen = [run for run in runs if not (on and run.live)]
    if chosen:
        await _each(room, chosen, lambda run: room.store.archive(run.key, on))
    if len(chosen) < len(runs):
        room.say(
            f"{named([run for run in runs if run.live])} is still live: only ended runs are archived",
            "warning",
        )
    elif on:
        room.say(f"{named(chosen)} archived; the filter is:archived shows it, x there takes it back")
    else:
        room.say(f"{named(chosen)} is in the list again")


async def set_tags(room: Room, runs: Sequence[RunRow], before: str, text: str) -> None:
    """Gives runs the tags that `text` has and `before` had not, and takes away those that are gone from it.

    Raises `UserError` for a word that is no tag.
    """
    old, new = set(tag_words(before)), set(tag_words(text))

    def change(run: RunRow) -> None:
        for tag in new - old:
            room.store.tag(run.key, tag)
        for tag in old - new:
            room.store.tag(run.key, tag, on=False)

    await _each(room, runs, change)


async def set_note(room: Room, runs: Sequence[RunRow], text: str) -> None:
    """Sets the note of runs; empty text takes it away."""
    await _each(room, runs, lambda run: room.store.note(run.key, one_line(text)))


def common_tags(runs: Sequence[RunRow]) -> str:
    """The tags that all of `runs` have, as they are written in a line."""
    if not runs:
        return ""
    return " ".join(tag for tag in runs[0].tags if all(tag in run.tags for run in runs))


def common_note(runs: Sequence[RunRow]) -> str:
    """The note that all of `runs` have."""
    notes = {run.note for run in runs}
    return notes.pop() if len(notes) == 1 else ""


def named(runs: Sequence[RunRow]) -> str:
    """The run by its name, or how many there are."""
    return sanitize(runs[0].label, 60) if len(runs) == 1 else amount(len(runs), "run")


async def _each(room: Room, runs: Sequence[RunRow], change: Callable[[RunRow], None]) -> None:
    def work() -> None:
        for run in runs:
            change(run)

    await asyncio.to_thread(work)
    await room.reread()
