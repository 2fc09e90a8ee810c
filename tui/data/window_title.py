"""The title of the terminal's window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nanochat.common.text import sanitize
from remote.run_summary import title

if TYPE_CHECKING:
    from remote.runs import RunRow


def window_title(rows: Sequence[RunRow], key: str) -> str:
    """Progress and alerts of the run on screen while it is running, else of the newest running one."""
    live = [run for run in rows if run.status == "running"]
    chosen = next((run for run in live if run.key == key), live[0] if live else None)
    if chosen is None:
        return "nanochat"
    alerts = f"⚠{chosen.alerts} " if chosen.alerts else ""
    return sanitize(f"{alerts}{title(chosen)} · nanochat", 120)


def title_sequence(title: str, *, first: bool) -> str:
    """The control sequence that sets the title. `first` also saves the old one for `RESTORE_TITLE`."""
    return ("\x1b[22;0t" if first else "") + f"\x1b]2;{title}\x07"


RESTORE_TITLE = "\x1b[23;0t"
