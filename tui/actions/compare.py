"""Opening the comparison of several runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nanochat.common.errors import UserError
from remote.comparison import MOST_RUNS

if TYPE_CHECKING:
    from remote.runs import RunRow
    from tui.room import Room


async def compare(room: Room, runs: Sequence[RunRow]) -> None:
    """Opens the Compare screen on `runs`, the first of which is the base.

    Raises `UserError` unless they are two to six.
    """
    if len(runs) < 2:
        raise UserError(f"comparing takes two to {MOST_RUNS} runs", "mark them first (space)")
    if len(runs) > MOST_RUNS:
        raise UserError(f"at most {MOST_RUNS} runs are compared, not {len(runs)}", "mark fewer")
    await room.open_comparison([run.key for run in runs])
