"""The pictures of the Chat screen: real models answer, served as the control room serves them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textual.pilot import Pilot

    from tui.app import ControlRoom
    from tui.screens.chat.screen import ChatScreen

QUESTIONS = ("Who are you?", "Ben has 20 books and gets 15 more. How many books does Ben have now?")
ANSWERED = 180.0
"""Seconds that a model may take to be loaded and to answer."""
Take = Callable[["ControlRoom", "Pilot[str]", Path, str], Awaitable[None]]
"""Saves the screen in front in every size and theme under a name."""


async def chat_screen(app: ControlRoom, pilot: Pilot[str], targets: list[str]) -> ChatScreen:
    """The Chat screen with a pane on each of these, whose answers are always the same."""
    from tui.screens.chat.screen import ChatScreen

    settings = {"temperature": 0.6, "top_k": 50, "max_tokens": 96, "seed": 7}
    panes = [{"target": target, "settings": settings, "device": "cpu"} for target in targets]
    await asyncio.to_thread(app.settings.set, "chat", {"panes": {"panes": panes}})
    await pilot.press("5")
    while not isinstance(app.screen, ChatScreen) or len(app.screen.views) < len(targets):
        await pilot.pause(0.2)
    return app.screen


async def ask(screen: ChatScreen, pilot: Pilot[str], question: str) -> None:
    """Asks every pane and waits for the answers."""
    screen.field.focus()
    screen.field.text = question
    await pilot.press("enter")
    until = time.monotonic() + ANSWERED
    while not all(view.pane.state.kind in ("idle", "failed") for view in screen.views):
        if time.monotonic() > until:
            raise SystemExit("the models of the Chat screen's pictures do not answer")
        await pilot.pause(0.5)


async def take_chat(app: ControlRoom, pilot: Pilot[str], out: Path, take: Take) -> None:
    """The last two stages of the pipeline beside each other, as Markdown and as tokens."""
    await pilot.resize_terminal(200, 60)
    screen = await chat_screen(app, pilot, ["sft/pipeline", "rl/pipeline"])
    for question in QUESTIONS:
        await ask(screen, pilot, question)
    await pilot.press("escape")
    await take(app, pilot, out, "chat")
    await pilot.press("t", "G", *["left"] * 6)
    await take(app, pilot, out, "chat-tokens")
    await pilot.press("t", "m")
    await take(app, pilot, out, "chat-picker")
    await pilot.press("escape")
