"""The keys of a report, in the form of `chat_keys`, and the one that writes it."""

from __future__ import annotations

from tui.chat_keys import Row

WRITE: Row = (
    "report",
    "W",
    "report",
    "report",
    "Write the report of this run's plan, or of the run, and open it",
    False,
    True,
)
REPORT_KEYS: tuple[Row, ...] = (
    ("copy", "y", "copy", "copy path", "Copy where the page lies", True, False),
    ("browse", "b", "browse", "browser", "Open the page in a browser, where there is a display", True, False),
    ("next", "n", "chapter(1)", "next chapter", "The next chapter", True, False),
    ("previous", "N", "chapter(-1)", "previous chapter", "The chapter before", True, False),
)
