"""Choosing a tokenizer and opening it, asking for the split pattern of a rank file that does not say it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from nanochat.tokenizer.explore.sources import PATTERNS, PatternNeededError, open_source
from tui.data.tokenizer.chosen import ChosenTokenizer
from tui.screens.tokenizer.picker import TokenizerPicker

if TYPE_CHECKING:
    from tui.screens.base import ControlScreen


async def choose_tokenizer(screen: ControlScreen, title: str) -> ChosenTokenizer | None:
    """A tokenizer that the user chooses; None when it is cancelled. Only a worker may await it.

    Raises `UserError` for one that cannot be opened.
    """
    spec = await screen.app.push_screen_wait(TokenizerPicker(screen.room, title))
    if spec is None:
        return None
    pattern = ""
    while True:
        try:
            opened = await asyncio.to_thread(open_source, spec, screen.room.layout, pattern=pattern)
            return ChosenTokenizer(spec, opened)
        except PatternNeededError:
            answer = await screen.room.ask(
                "a rank file does not say how text is split", " · ".join(PATTERNS), next(iter(PATTERNS))
            )
            if not answer:
                return None
            pattern = answer.strip()
