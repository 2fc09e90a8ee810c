"""Stopping, resuming and copying of several marked runs at once, with one question for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from nanochat.common.errors import UserError
from nanochat.common.text import amount, sanitize
from tui.actions import run as run_actions
from tui.actions.command_line import reproduce

if TYPE_CHECKING:
    from remote.runs import RunRow
    from tui.room import Room

NAMED = 6
"""Runs that a question names before it counts the rest."""


async def stop(room: Room, runs: Sequence[RunRow]) -> None:
    """Stops the live ones of `runs` after the user has confirmed it."""
    if len(runs) == 1:
        await run_actions.stop(room, runs[0])
        return
    live = [run for run in runs if run.live]
    if not live:
        room.say(f"none of the {len(runs)} runs is live", "warning")
    elif await room.confirm(
        f"Stop {amount(len(live), 'run')}?",
        f"{_listed(live)}. Each is asked to save and exit (SIGINT); after 20 s it is forced to. What does "
        "not save loses everything after its last checkpoint. Runs that need one of them will not start.",
        key="y",
        verb=f"stop all {len(live)}",
    ):
        done = await _all(room, live, [room.fleet.stop(run.key) for run in live])
        room.say(f"■ {amount(done, 'run')}: asked to stop")


async def resume(room: Room, runs: Sequence[RunRow]) -> None:
    """Starts a new attempt of the ended ones of `runs` after the user has confirmed it."""
    if len(runs) == 1:
        await run_actions.resume(room, runs[0])
        return
    ended = [run for run in runs if not run.live]
    if not ended:
        room.say(f"all {len(runs)} runs are live still", "warning")
    elif await room.confirm(
        f"Resume {amount(len(ended), 'run')}?",
        f"{_listed(ended)}. A new attempt of each starts in its run directory, all at once.",
        key="y",
        verb=f"resume all {len(ended)}",
    ):
        done = await _all(room, ended, [room.fleet.resume(run.key) for run in ended])
        room.say(f"● {amount(done, 'run')}: a new attempt starts")


async def copy_commands(room: Room, runs: Sequence[RunRow]) -> None:
    """Copies the commands that reproduce the runs, a line each."""
    lines = [reproduce(run, room.host(run.host)) for run in runs]
    await run_actions.copy_text(room, "\n".join(lines), "the command" if len(lines) == 1 else "the commands")


def _listed(runs: Sequence[RunRow]) -> str:
    names = [sanitize(f"{run.label} on {run.host}", 60) for run in runs[:NAMED]]
    return ", ".join(names) + (f" and {len(runs) - NAMED} more" if len(runs) > NAMED else "")


async def _all(room: Room, runs: Sequence[RunRow], work: Sequence[Coroutine[Any, Any, None]]) -> int:
    """Does all of it, tells each that failed, and returns how many did not."""
    answers = await asyncio.gather(*work, return_exceptions=True)
    done = 0
    for run, answer in zip(runs, answers, strict=True):
        if isinstance(answer, UserError):
            room.say(f"{sanitize(run.label, 60)}: {answer}", "error")
        elif isinstance(answer, BaseException):
            raise answer
        else:
            done += 1
    return done
