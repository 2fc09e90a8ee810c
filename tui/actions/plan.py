"""Starting a plan from the control room, as the headless mode does, and showing its runs in turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from remote.fleet.submission import plan_ref, plan_requests

if TYPE_CHECKING:
    from nanochat.config.plan import Plan
    from remote.runs import RunRow
    from tui.room import Room


async def start_plan(room: Room, plan: Plan, host: str) -> None:
    """Submits every stage of `plan` to `host` and shows its first run."""
    room.say(f"starting plan {plan.name} on {host} …")
    keys = await room.fleet.launch(host, plan_requests(plan), plan_ref(plan.name), plan.pass_env)
    await room.reread()
    if keys and plan.wants_report:
        from tui.actions.report import report_at_end

        room.do(report_at_end(room, keys))
    if keys:
        room.open_run(keys[0], follow=True)


def next_to_show(rows: Sequence[RunRow], shown: RunRow) -> str:
    """The key of the run to show when `shown` has ended: the next one of its plan at work, or ""."""
    later = [
        run
        for run in rows
        if run.plan_id == shown.plan_id
        and run.host == shown.host
        and run.plan_index > shown.plan_index
        and run.at_work
    ]
    return min(later, key=lambda run: run.plan_index).key if shown.plan_id and later else ""
