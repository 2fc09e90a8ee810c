"""What the app says to the terminal beside its screen: the window's title."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nanochat.text import harmless
from tui.figures import title

if TYPE_CHECKING:
    from textual.app import App

    from remote.runs import RunRow


def window_title(rows: Sequence[RunRow], key: str) -> str:
    """Progress and alerts: of the run looked at while it lives, else of the newest live one."""
    live = [run for run in rows if run.status == "running"]
    chosen = next((run for run in live if run.key == key), live[0] if live else None)
    if chosen is None:
        return "nanochat"
    alerts = f"⚠{chosen.alerts} " if chosen.alerts else ""
    return harmless(f"{alerts}{title(chosen)} · nanochat", 120)


def set_title(app: App[str], text: str) -> None:
    """Sets the terminal's title, when there is a terminal and it is not the title already."""
    if app.is_headless or app._driver is None or getattr(app, "_window_title", "") == text:
        return
    app._window_title = text  # type: ignore[attr-defined]
    app._driver.write(f"\x1b]2;{text}\x07")
