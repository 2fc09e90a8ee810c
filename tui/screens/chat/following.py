"""What happens elsewhere and concerns a pane: its link is cut or back, the run it follows has saved."""

from __future__ import annotations

import asyncio
import time

from remote.runs import run_key
from tui.data.chat.target import CheckpointTarget
from tui.screens.chat.parts import ChatPart

LOOK_SECONDS = 3.0
"""Seconds between two looks for new checkpoints of followed runs."""


class Following(ChatPart):
    """Tells panes of their hosts' links and of the runs they follow. Call `look` once a second."""

    def __init__(self) -> None:
        super().__init__()
        self._is_up: dict[str, bool] = {}
        self._seen: dict[str, int] = {}
        """By run the number of the last checkpoint event that is known."""
        self._looked = 0.0

    def look(self) -> None:
        """Tells what has changed since the last look."""
        targets = [pane.target for pane in self.panes.panes if isinstance(pane.target, CheckpointTarget)]
        for host in {target.host for target in targets}:
            link = self.room.links.get(host)
            is_up = link is None or link.status == "up"
            if self._is_up.setdefault(host, is_up) != is_up:
                self._is_up[host] = is_up
                self.panes.link_changed(host, is_up)
        followed = {run_key(target.host, target.follows) for target in targets if target.follows}
        if followed and time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked = time.monotonic()
            for key in followed:
                self.run_worker(self._look_at(key), group="follow")

    async def _look_at(self, key: str) -> None:
        """Reads the checkpoints that a run has saved since; the first time none of them is news."""
        known = self._seen.get(key)
        store = self.room.store
        found = await asyncio.to_thread(store.events, key, -1 if known is None else known, ("checkpoint",))
        self._seen[key] = found[-1].seq if found else -1 if known is None else known
        if known is None or not found or found[-1].step is None:
            return
        for pane in self.panes.panes:
            target = pane.target
            if isinstance(target, CheckpointTarget) and run_key(target.host, target.follows) == key:
                pane.saved(found[-1].step)
