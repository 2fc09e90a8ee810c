"""What the user was told: one line each, shown for some seconds and kept until the app ends."""

from __future__ import annotations

import time
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING

from tui.room import Said

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tui.room import Severity

SECONDS: dict[Severity, float] = {"information": 4.0, "warning": 6.0, "error": 12.0}
"""How long a message is shown."""
KEPT = 200


class Messages:
    """The newest `KEPT` messages."""

    def __init__(self) -> None:
        self._said: deque[Said] = deque(maxlen=KEPT)

    def __iter__(self) -> Iterator[Said]:
        """The oldest first."""
        return iter(self._said)

    def __len__(self) -> int:
        return len(self._said)

    def add(self, text: str, severity: Severity) -> Said:
        """Keeps a message; line breaks become spaces. One that is still shown is shown anew, not twice."""
        line = " ".join(text.split())
        if self._said and self._said[-1].text == line and self._said[-1].remaining > 0:
            self._said.pop()
        said = Said(line, severity, time.time(), monotonic() + SECONDS[severity])
        self._said.append(said)
        return said

    def current(self) -> Said | None:
        """The message to show now: the newest whose time is not over. An error comes back after what was
        said later has gone."""
        return next((said for said in reversed(self._said) if said.remaining > 0), None)
