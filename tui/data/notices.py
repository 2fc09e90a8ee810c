"""What the user is notified of with a bell: a run that ended and an alert, each once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanochat.common.text import duration, sanitize
from remote.key_metric import key_figure
from tui.style.status import status_style

if TYPE_CHECKING:
    from remote.runs import RunRow
    from tui.room import Severity

SEVERITIES: dict[str, Severity] = {"succeeded": "information", "stopped": "warning"}


@dataclass(frozen=True)
class Notice:
    """One line for the user."""

    key: str
    severity: Severity
    text: str


class NotificationTracker:
    """Compares each reading of the runs with the previous one. The first reading gives no notices."""

    def __init__(self) -> None:
        self._known: dict[str, RunRow] | None = None

    def update(self, rows: Sequence[RunRow]) -> list[Notice]:
        """The notices for what changed in `rows` since the previous reading."""
        if self._known is None:
            self._known = {run.key: run for run in rows}
            return []
        notices = []
        moved = self._moved(rows)
        for run in rows:
            before = self._known.get(run.key) or moved.pop(run.run_id, None)
            if before is run:
                continue
            self._known[run.key] = run
            if before is not None and before.status != run.status and not run.live:
                notices.append(_ended(run))
            alerts = before.alerts if before is not None else 0
            if run.alerts > alerts:
                notices.append(
                    Notice(run.key, "warning", f"⚠ {_name(run)}: {run.alerts - alerts} new alert(s)")
                )
        return notices

    def _moved(self, rows: Sequence[RunRow]) -> dict[str, RunRow]:
        """By run id, the runs that are listed no more under the host where they were.

        One that two hosts see stands where it runs: its row moves there as soon as that host is heard.
        """
        assert self._known is not None
        listed = {run.key for run in rows}
        if listed.issuperset(self._known):
            return {}
        gone = [key for key in self._known if key not in listed]
        return {run.run_id: run for run in map(self._known.pop, gone)}


def _name(run: RunRow) -> str:
    return sanitize(f"{run.label} on {run.host}", 60)


def _ended(run: RunRow) -> Notice:
    status = status_style(run.status)
    took = "" if run.ended_at is None or run.started_at is None else duration(run.ended_at - run.started_at)
    what = [
        f"{status.glyph} {_name(run)} {status.word}",
        f"after {took}" if took else "",
        str(key_figure(run)),
    ]
    if run.reason:
        what.append(sanitize(run.reason, 200))
    text = " · ".join(part for part in what if part)
    return Notice(run.key, SEVERITIES.get(run.status, "error"), text)
