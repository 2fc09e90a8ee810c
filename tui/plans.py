"""Starting a plan from the control room: the same submission as headless, then its runs shown in turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from remote.batch import plan_ref, plan_requests

if TYPE_CHECKING:
    from nanochat.plan import Plan
    from remote.runs import RunRow
    from tui.app import ControlRoom


async def start_plan(room: ControlRoom, plan: Plan, host: str) -> None:
    """Submits every stage of `plan` to `host` and shows its first run."""
    room.say(f"starting plan {plan.name} on {host} …")
    keys = await room.fleet.launch(host, plan_requests(plan), plan_ref(plan.name))
    room.follow_plan(keys)
    await room.reread()
    if keys:
        room.open_run(keys[0])


def next_to_show(rows: Sequence[RunRow], keys: Sequence[str], shown: str) -> str:
    """Which run of a plan to turn to when the one shown has ended: the next that lives, or ""."""
    known = {run.key: run for run in rows}
    if shown not in keys or shown not in known or known[shown].live:
        return ""
    later = keys[keys.index(shown) + 1 :]
    return next((key for key in later if key in known and known[key].status in ("starting", "running")), "")
