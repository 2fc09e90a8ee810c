"""What a person wrote, and what was answered, is not lost on the way, however quickly keys come."""

import asyncio

import pytest

from tests.tui.conftest import Bench, settle
from tests.tui.screens.chat_bench import (
    StubServer,
    answer,
    ask,
    chat_screen,
    is_done,
    running_stub,
    stub,
)
from tui.screens.confirm import Confirm
from tui.widgets.chat.question_field import QuestionField

__all__ = ["running_stub", "stub"]  # fixtures


async def test_panes_closed_and_opened_at_once_leave_the_others_in_order(
    bench: Bench, stub: StubServer
) -> None:
    async with bench.open((200, 40)) as (app, pilot):
        screen = await chat_screen(app, pilot, "sft/d20", "base/d20", "sft/d20@650", "box:sft/d20")
        first, second, third, fourth = screen.views
        await asyncio.gather(screen._close(first), screen._close(third), screen.show_panes_anew())
        await settle(pilot)
        assert screen.views == [second, fourth] == list(screen.box.children)
        assert [view.label for view in screen.views] == ["A", "B"]


async def test_what_is_written_in_the_field_stays_while_a_question_is_sent_or_edited(
    bench: Bench, stub: StubServer
) -> None:
    stub.answer = lambda _: answer("It", " is")
    async with bench.open() as (app, pilot):
        screen = await chat_screen(app, pilot, "sft/d20")
        await ask(screen, pilot, "Where?")
        field, view = screen.field, screen.views[0]
        # The next letters come before the message that the question is sent has been handled.
        field.text = "And when?\nNext"
        screen.on_question_field_sent(QuestionField.Sent("And when?"))
        assert field.text == "Next"
        await settle(pilot, lambda: is_done(view) and len(view.pane.tree.path) == 2)
        await pilot.press("escape", "e")
        await settle(pilot, lambda: field.text == "And when?")
        await pilot.press("escape")
        await settle(pilot, lambda: field.text == "Next")
        await pilot.press("e")
        await settle(pilot, lambda: field.text == "And when?")
        await pilot.press(*" 2", "enter")
        await settle(pilot, lambda: field.text == "Next")
        await settle(pilot, lambda: is_done(view) and view.pane.tree.path[-1].question == "And when? 2")
        field.text = ""
        long = "long " * 5_000
        await ask(screen, pilot, long)
        field.focus()
        await pilot.press("up")
        assert field.text == long and long not in app.setting("chat")["questions"], "it is whole or not there"


@pytest.mark.slow
async def test_a_conversation_that_was_not_saved_is_not_thrown_away_without_asking(
    bench: Bench, stub: StubServer
) -> None:
    async with bench.open((120, 40)) as (app, pilot):
        screen = await chat_screen(app, pilot, "sft/d20", "base/d20")
        await ask(screen, pilot)
        await pilot.press("escape", "N")
        await settle(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("escape")
        await settle(pilot, lambda: app.screen is screen)
        assert all(len(view.pane.tree.path) == 1 for view in screen.views)
        await pilot.press("ctrl+s", "enter")
        await settle(pilot, lambda: app.message is not None and "saved" in app.message.text)
        await pilot.press("a", "N")  # this pane only, which was saved
        await settle(pilot, lambda: not screen.view_here().pane.tree.path)
        await pilot.press("escape", "a", "N")
        await settle(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await settle(pilot, lambda: not any(view.pane.tree.path for view in screen.views))
