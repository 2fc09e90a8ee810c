"""A Chat screen over scripted servers: real HTTP over loopback, no model, no host."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from nanochat.checkpoint.names import parse_name
from nanochat.common.errors import UserError
from remote.fleet.services import DeviceChoice, DeviceOffer, HostCheckpoint, Service, ServiceState
from tests.tui.conftest import NOW, Bench, settle
from tui.app import ControlRoom
from tui.screens.chat.screen import ChatScreen
from tui.widgets.chat.pane_view import PaneView

CHAT = Path(__file__).resolve().parents[2] / "nanochat" / "serve" / "chat"
sys.path.insert(0, str(CHAT))

from stub_server import DONE, END, StubServer, chunk, usage  # noqa: E402

__all__ = ["DONE", "END", "StubServer", "usage"]


@pytest.fixture(scope="module")
def running_stub() -> Iterator[StubServer]:
    with StubServer() as server:
        yield server


@pytest.fixture
def stub(running_stub: StubServer, bench: Bench) -> StubServer:
    """A scripted server that every host is served by."""
    running_stub.reset()
    running_stub.answer = lambda _: answer()
    bench.run("one")
    serve(bench, running_stub)
    return running_stub


WORDS = ("The", " capital", " of", " France", " is", " **Paris**", ".")


def token(text: str, logprob: float, *others: tuple[str, float]) -> bytes:
    """A piece of an answer of one token, with its probability and its alternatives."""
    top = [{"token": text, "logprob": logprob}, *({"token": t, "logprob": p} for t, p in others)]
    top.sort(key=lambda entry: -entry["logprob"])  # type: ignore[arg-type,operator]
    entry = {"token": text, "logprob": logprob, "bytes": list(text.encode()), "top_logprobs": top}
    return chunk(delta={"content": text}, finish_reason=None, logprobs={"content": [entry]})


def answer(*words: str) -> list[bytes | float]:
    """A whole answer, a token a word, one of which was a surprise."""
    said = [token(word, -0.02 - (4 if word == " of" else 0), (" in", -0.1)) for word in words or WORDS]
    return [*said, END, usage(12, len(said)), DONE]


@dataclass
class HostServices:
    """The services of the fleet, as the screen uses them: every host is served by one scripted server."""

    url: str
    found: dict[str, list[HostCheckpoint]] = field(default_factory=dict)
    offered: list[DeviceOffer] = field(default_factory=list)
    """When not empty a training is at work, and the device is to be chosen."""
    opened: list[tuple[str, str | None]] = field(default_factory=list)
    pinned: bool = False

    async def open(self, host: str, device: str | None, waiting: Callable[[str], None]) -> Service:
        self.opened.append((host, device))
        waiting(f"starting the server on {host}")
        if host == "away":
            raise UserError("cannot reach away: no answer", "is it on?")
        if self.offered and device is None:
            raise DeviceChoice(host, "r1", self.offered)
        return self._service(host, device or "cpu")

    def _service(self, host: str, device: str) -> Service:
        return Service("s1", host, device, self.url, "", self.pinned, NOW)

    async def checkpoints(self, host: str) -> list[HostCheckpoint]:
        return self.found.get(host, [])

    async def states(self, host: str) -> list[ServiceState]:
        return []

    def running(self) -> list[Service]:
        return [self._service(host, device or "cpu") for host, device in self.opened]

    async def pin(self, service: Service, pinned: bool) -> None:
        self.pinned = pinned

    def why_ended(self, service: Service) -> str:
        return ""

    async def aclose(self) -> None:
        """Nothing runs."""


def checkpoint(name: str, *steps: int, run: str | None = None) -> HostCheckpoint:
    return HostCheckpoint(parse_name(name), steps or (100,), 37 << 20, NOW - 3600, run)


def serve(bench: Bench, stub: StubServer) -> HostServices:
    """Lets the scripted server stand for all hosts, with two checkpoints on this one."""
    stub.models = [
        {"id": name, "owned_by": "nanochat", "max_model_len": 2048}
        for name in ("sft/d20", "base/d20", "sft/d20@650")
    ]
    services = HostServices(stub.url)
    services.found["local"] = [checkpoint("base/d20", 1000, 2000), checkpoint("sft/d20", 600, 650)]
    bench.fleet.services = services  # type: ignore[assignment]
    return services


async def chat_screen(app: ControlRoom, pilot: Pilot[str], *targets: str) -> ChatScreen:
    """The Chat screen with a pane on each of these."""
    app.settings.set("chat", {"panes": {"panes": [{"target": target} for target in targets]}})
    await pilot.press("5")
    await settle(pilot, lambda: isinstance(app.screen, ChatScreen))
    screen = app.screen
    assert isinstance(screen, ChatScreen)
    await settle(pilot, lambda: len(screen.views) == len(targets))
    return screen


async def ask(screen: ChatScreen, pilot: Pilot[str], question: str = "Where is it?") -> None:
    """Asks in the field and waits until every pane that was asked is done."""
    screen.field.focus()
    screen.field.text = question
    await pilot.press("enter")
    await settle(pilot, lambda: all(is_done(view) for view in screen.views if view.pane in screen.targeted()))


def is_done(view: PaneView) -> bool:
    return view.pane.state.kind in ("idle", "failed", "choosing") and view.transcript.is_laid_out


def painted(view: PaneView | Any) -> str:
    """What a pane, or a transcript, has on the screen."""
    transcript = view.transcript if isinstance(view, PaneView) else view
    lines = [transcript.render_line(y).text.rstrip() for y in range(transcript.size.height)]
    return "\n".join(lines).strip("\n")
