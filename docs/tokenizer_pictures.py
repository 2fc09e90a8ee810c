"""The pictures of Tokenizer: texts of four kinds beside published vocabularies, and a replay of merges."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textual.pilot import Pilot

    from tui.app import ControlRoom
    from tui.screens.tokenizer.screen import TokenizerScreen

Take = Callable[..., Awaitable[None]]
"""Saves the screen in front in every size, and in every theme or those given, under a name."""
WAIT = 300.0
"""Seconds until the tokenizers are opened, a text is split and a vocabulary compared, beside other work."""
TEXTS = {
    "tokenizer": "English",
    "tokenizer-chinese": "中文",
    "tokenizer-code": "code",
    "tokenizer-emoji": "emoji",
}


async def take_tokenizer(app: ControlRoom, pilot: Pilot[str], out: Path, take: Take) -> None:
    """The newest tokenizer trained here beside GPT-2's and o200k, where tiktoken has them in its cache."""
    from tui.data.tokenizer.document import document
    from tui.data.tokenizer.samples import SAMPLES
    from tui.screens.tokenizer.replay import ReplayScreen
    from tui.screens.tokenizer.screen import TokenizerScreen

    await pilot.press("f3")
    await until(pilot, lambda: isinstance(app.screen, TokenizerScreen))
    screen = app.screen
    assert isinstance(screen, TokenizerScreen)
    for name, sample in TEXTS.items():
        screen.write(document(SAMPLES[sample], sample))
        await settled(pilot, screen)
        screen.action_to_panes()
        await pilot.press("home", *["right"] * 10, "n")
        themes = () if name == "tokenizer" else ("dark",)
        await take(app, pilot, out, name, (), themes)
    screen.write(document(SAMPLES["English"], "English"))
    await settled(pilot, screen)
    await pilot.press("home", "r")
    await until(pilot, lambda: isinstance(app.screen, ReplayScreen) and app.screen.replay is not None)
    await pilot.press("right_square_bracket", "right_square_bracket", "right_square_bracket", "right")
    await take(app, pilot, out, "tokenizer-replay", (), ("dark",))
    await pilot.press("escape")
    await take_tables(app, pilot, out, take)


async def take_tables(app: ControlRoom, pilot: Pilot[str], out: Path, take: Take) -> None:
    """The screens about whole vocabularies, opened from Tokenizer: counts of tokens where they are kept."""
    from tui.screens.tokenizer.compare import CompareVocabularies
    from tui.screens.tokenizer.heat import HeatScreen
    from tui.screens.tokenizer.screen import TokenizerScreen
    from tui.screens.tokenizer.vocabulary import VocabularyScreen

    def in_front(kind: type) -> bool:
        return isinstance(app.screen, kind)

    for key, kind, name in (
        ("b", VocabularyScreen, "vocabulary"),
        ("c", CompareVocabularies, "compare"),
        ("h", HeatScreen, "heat"),
    ):
        await until(pilot, lambda: in_front(TokenizerScreen))
        await pilot.press(key)
        await until(pilot, lambda kind=kind: in_front(kind))  # type: ignore[misc]
        screen = app.screen
        if isinstance(screen, VocabularyScreen):
            await until(pilot, lambda screen=screen: screen.listed is not None)  # type: ignore[misc]
            screen.search.value = "ing len:5-"
        elif isinstance(screen, CompareVocabularies):
            await until(pilot, lambda screen=screen: bool(screen.table.items))  # type: ignore[misc]
        elif isinstance(screen, HeatScreen):
            await until(pilot, lambda screen=screen: len(screen.board.sources) > 0)  # type: ignore[misc]
            await until(pilot, lambda screen=screen: screen.board.missing() is None)  # type: ignore[misc]
        await take(app, pilot, out, f"tokenizer-{name}", (), ("dark",))
        while app.screen is screen:
            await pilot.press("escape")
            await pilot.pause(1.0)  # one more than needed would leave Tokenizer too


async def settled(pilot: Pilot[str], screen: TokenizerScreen) -> None:
    await until(pilot, lambda: bool(screen.panes) and screen.is_settled)
    await until(pilot, lambda: screen.result.text == screen.document.text)


async def until(pilot: Pilot[str], holds: Callable[[], bool]) -> None:
    """Waits until something holds. Raises SystemExit when it does not come."""
    deadline = time.monotonic() + WAIT
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit(f"the screen was not ready within {WAIT:g} s")
        await pilot.pause(0.1)
