"""What the app says to the terminal beside its screen: the window's title."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nanochat.common.text import harmless
from tui.data.run_summary import title

if TYPE_CHECKING:
    from remote.runs import RunRow


def window_title(rows: Sequence[RunRow], key: str) -> str:
    """Progress and alerts: of the run looked at while it lives, else of the newest live one."""
    live = [run for run in rows if run.status == "running"]
    chosen = next((run for run in live if run.key == key), live[0] if live else None)
    if chosen is None:
        return "nanochat"
    alerts = f"⚠{chosen.alerts} " if chosen.alerts else ""
    return harmless(f"{alerts}{title(chosen)} · nanochat", 120)


def title_sequence(title: str, *, first: bool) -> str:
    """What sets the window's title; the first time the title before it is kept for `RESTORE_TITLE`."""
    return ("\x1b[22;0t" if first else "") + f"\x1b]2;{title}\x07"


RESTORE_TITLE = "\x1b[23;0t"
