"""Which GPUs chat servers hold on a host, as the screens say it before a run starts there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from textual.content import Content

from nanochat.common.errors import UserError
from nanochat.common.text import sanitize
from tui.keymap import with_keys

if TYPE_CHECKING:
    from nanochat.config.options import Options
    from remote.fleet.beside_training import HeldGpu
    from tui.room import Room


class HeldGpus:
    """What hosts said of them when they were asked last."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._held: dict[str, list[HeldGpu]] = {}
        self._asked: set[str] = set()

    def forget(self) -> None:
        """Hosts are asked again: time has passed."""
        self._asked.clear()

    def is_due(self, host: str) -> bool:
        """True once for each host that is to be asked with `look`."""
        due = host not in self._asked
        self._asked.add(host)
        return due

    async def look(self, host: str) -> None:
        """Asks a host; one that does not answer holds nothing that is known."""
        from remote.fleet.beside_training import held_gpus

        try:
            self._held[host] = await held_gpus(self._room.fleet.services, host)
        except UserError:
            self._held.pop(host, None)

    def line(self, host: str, stages: Iterable[Options]) -> Content:
        """What runs with these options will share with chat servers, in a line; nothing for nothing."""
        if not self._held.get(host):
            return Content()
        from remote.fleet.beside_training import beside_line, gpus_taken

        keys = with_keys("{app.hosts} {hosts.services} x", self._room.keymap)
        taken = max(map(gpus_taken, stages), default=0)
        words = beside_line(host, self._held[host], taken, keys)
        return Content.styled(f"! {sanitize(words, 400)}\n", "$warning") if words else Content()
