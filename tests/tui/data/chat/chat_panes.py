"""What the tests of the Chat screen's data share: a server, services that lead to it, and panes."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from tui.data.chat.pane import Pane
from tui.data.chat.pane_set import PaneSet
from tui.data.chat.tree import TurnNode


@dataclass(frozen=True)
class Server:
    """A running chat_web and its base directory."""

    url: str
    layout: Layout


@dataclass(frozen=True)
class Offer:
    device: str


class Choice(UserError):  # noqa: N818 - as remote.fleet.services.DeviceChoice
    def __init__(self, offers: tuple[Offer, ...]) -> None:
        super().__init__("run r1 is at work on host 'busy': choose where to serve", "one of cpu, cuda:0")
        self.offers = offers


@dataclass(frozen=True)
class Service:
    url: str
    key: str
    device: str


@dataclass
class Services:
    """As the fleet's: every host is served by one server; on `busy` a training is at work."""

    url: str
    opened: list[tuple[str, str | None]] = field(default_factory=list)
    gone: str = ""
    blocks: asyncio.Event | None = None

    async def open(self, host: str, device: str | None, waiting: Callable[[str], None]) -> Service:
        self.opened.append((host, device))
        waiting(f"starting the server on {host}")
        if self.blocks is not None:
            await self.blocks.wait()
        if host == "busy" and device is None:
            raise Choice((Offer("cuda:0"), Offer("cpu")))
        if host == "away":
            raise UserError("cannot reach away", "is it on?")
        return Service(self.url, "", device or "cpu")

    def why_ended(self, _service: Service) -> str:
        return self.gone


@dataclass
class Panes:
    """A set of panes, and what it told of them."""

    set: PaneSet
    services: Services
    told: list[tuple[Pane, str]] = field(default_factory=list)

    async def until(self, holds: Callable[[], Any]) -> None:
        """Waits for something that must come."""
        async with asyncio.timeout(30):
            while not holds():
                await asyncio.sleep(0.005)

    async def answered(self, pane: Pane, node: TurnNode | None = None) -> TurnNode:
        """The turn once its answer has ended, however."""
        await self.until(lambda: pane.state.kind in ("idle", "failed", "choosing", "closed"))
        found = node or pane.tree.leaf
        assert found is not None
        return found
