"""Tokenizer: a text, split live by up to four tokenizers side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import ClassVar

from textual.binding import BindingType
from textual.widget import Widget
from textual.widgets import Static

from tui.data.tokenizer.chosen import Chosen
from tui.keys import bindings
from tui.screens.panes import PaneScreen
from tui.screens.tokenizer.parts import load_part


class TokenizerScreen(PaneScreen):
    """A text above, and below it what each tokenizer makes of it."""

    tab = "tokenizer"
    groups = ("tokenizer", "panes")
    about = "Type, paste or open a text and see how tokenizers split it, up to four side by side."
    BINDINGS: ClassVar[list[BindingType]] = bindings("tokenizer")
    AUTO_FOCUS = ""

    def body(self) -> Iterable[Widget]:
        yield Static(id="tokenizer-panes")

    @property
    def chosen(self) -> Chosen:
        """What the screens that are opened from here begin with."""
        return Chosen()

    def action_open_part(self, name: str) -> None:
        """Opens one of `parts.PARTS`."""
        self.run_worker(self._open_part(name), group="part", exclusive=True)

    async def _open_part(self, name: str) -> None:
        make = await asyncio.to_thread(load_part, name)
        await self.app.push_screen(make(self.chosen))
