"""Finding in a pane's conversation: marks, a count, from match to match, over what is still coming."""

import pytest

from tests.tui.conftest import Bench, settle
from tests.tui.screens.chat_bench import (
    StubServer,
    answer,
    ask,
    chat_screen,
    is_done,
    painted,
    running_stub,
    stub,
)
from tui.widgets.chat.pane_view import PaneView

__all__ = ["running_stub", "stub"]  # fixtures

FILLER = [f"line {number}\n\n" for number in range(60)]


def looks(view: PaneView) -> list[tuple[str, bool]]:
    """The texts that are marked in what is painted, and whether each is the one that is looked at."""
    transcript = view.transcript
    found, here = transcript.looks.style("found"), transcript.looks.style("found-here")
    return [
        (segment.text, segment.style.underline is True)
        for y in range(transcript.size.height)
        for segment in transcript.render_line(y)
        if segment.style is not None and segment.style.bgcolor in (found.bgcolor, here.bgcolor)
    ]


@pytest.mark.slow
async def test_a_text_is_found_marked_counted_and_gone_through(bench: Bench, stub: StubServer) -> None:
    stub.answer = lambda _: answer("The **needle** [b]is[/b] first.\n\n", *FILLER, "a NEEDLE is last")
    async with bench.open((100, 24)) as (app, pilot):
        screen = await chat_screen(app, pilot, "sft/d20")
        view = screen.views[0]
        await ask(screen, pilot, "Where is the needle?")
        await pilot.press("escape", "n")  # without a search it is the app's own key
        await settle(pilot, lambda: app.screen is not screen)
        await pilot.press("escape")
        await settle(pilot, lambda: app.screen is screen)
        await pilot.press("slash", *"needle")
        await settle(pilot, lambda: "“needle” 3 of 3" in str(view.border_subtitle))
        assert looks(view) == [("NEEDLE", True)] and view.transcript.scroll_offset.y == view.transcript.end
        await pilot.press("enter", "N", "N")
        await settle(pilot, lambda: "“needle” 1 of 3" in str(view.border_subtitle))
        assert view.transcript.scroll_offset.y == 0 and not view.field.display
        assert looks(view) == [("needle", True), ("needle", False)]
        await pilot.press("N")
        await settle(pilot, lambda: "1 of 3 · none before" in str(view.border_subtitle))
        assert len(list(view.pane.tree.nodes())) == 1, "no new conversation was begun"

        stub.answer = lambda _: answer("One more needle")
        await ask(screen, pilot, "And?")  # what comes is found, and what is looked at stays so
        await settle(pilot, lambda: is_done(view) and "1 of 4" in str(view.border_subtitle))
        await pilot.press("escape", "t")  # as tokens, at the same place
        await settle(pilot, lambda: view.transcript.is_laid_out and "of 4" in str(view.border_subtitle))
        await pilot.press("t", "n")
        await settle(pilot, lambda: "of 4" in str(view.border_subtitle))

        await pilot.press("slash", *"xyz")
        await settle(pilot, lambda: "“xyz” not found" in str(view.border_subtitle))
        await pilot.press("escape")
        await settle(
            pilot, lambda: "t 0.6" in str(view.border_subtitle) or "max" in str(view.border_subtitle)
        )
        assert looks(view) == [] and view.transcript.has_focus and not view.field.display
        await pilot.press("slash", *"needle", "enter", "escape")  # out of the marks, too
        await settle(pilot, lambda: not view.transcript.search and looks(view) == [])
        assert app.screen is screen and "needle" in painted(view)


@pytest.mark.slow
async def test_what_is_being_read_stays_in_sight_when_the_terminal_gets_another_width(
    bench: Bench, stub: StubServer
) -> None:
    words = " and so on" * 12
    stub.answer = lambda _: answer(*(f"line {number}{words}\n\n" for number in range(300)))
    async with bench.open((100, 24)) as (app, pilot):
        screen = await chat_screen(app, pilot, "sft/d20")
        view = screen.views[0].transcript
        await ask(screen, pilot)
        await pilot.press("escape", "slash", *"line 137", "enter")
        await settle(pilot, lambda: "line 137" in painted(view))
        await pilot.press("escape")
        for width in (60, 140, 100):
            await pilot.resize_terminal(width, 24)
            await settle(pilot, lambda: view.is_laid_out and not view.follow)
            await settle(pilot, lambda: any(f"line {number} " in painted(view) for number in (136, 137, 138)))
        await pilot.press("t")
        await settle(pilot, lambda: view.is_laid_out and not view.follow)
        await settle(pilot, lambda: any(f"line {number} " in painted(view) for number in range(130, 145)))
