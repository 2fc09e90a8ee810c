"""The services of the fleet as panes use them: asked for when a pane opens, refused under `--readonly`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from nanochat.common.errors import UserError

if TYPE_CHECKING:
    from remote.fleet.services import Service
    from tui.room import Room


class FleetServices:
    """A `ServiceSource` over the fleet of `room`, which may still be starting when the panes are made."""

    def __init__(self, room: Room) -> None:
        self._room = room

    async def open(self, host: str, device: str | None, waiting: Callable[[str], None]) -> Service:
        """See `Services.open`. Raises `UserError` under `--readonly`: it may start a server."""
        if self._room.readonly:
            raise UserError("read only: no server is started", "an address of one that runs can be opened")
        return await self._room.fleet.services.open(host, device, waiting)

    def why_ended(self, service: Service) -> str:
        """See `Services.why_ended`."""
        return self._room.fleet.services.why_ended(service)
