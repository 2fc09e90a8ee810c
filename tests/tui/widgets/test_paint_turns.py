"""Few panes move their lines in one frame, each in its turn, and none is forgotten."""

import asyncio
from collections import Counter

import pytest
from textual.strip import Strip
from textual.widget import Widget

from tests.tui.conftest import Bench, settle
from tests.tui.screens.chat_bench import (
    DONE,
    END,
    StubServer,
    ask,
    chat_screen,
    is_done,
    running_stub,
    stub,
    token,
)
from tui.widgets.chat import paint_turns
from tui.widgets.chat.lines_view import FEW
from tui.widgets.chat.paint_turns import MOST, OVERDUE, PaintTurns
from tui.widgets.chat.transcript import Transcript

__all__ = ["running_stub", "stub"]  # fixtures


def test_turns_go_round_and_a_frame_that_was_not_painted_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(paint_turns.time, "monotonic", lambda: now[0])
    turns, panes = PaintTurns(), [Widget() for _ in range(4)]
    order: list[int] = []
    for _ in range(5):
        for number, pane in enumerate(panes):
            if turns.take(pane):
                turns.moved(pane)
                order.append(number)
        for pane in panes:
            turns.painted(pane)
    assert order == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]

    for pane in panes[:MOST]:
        turns.moved(pane)
    assert [turns.take(pane) for pane in panes[2:]] == [False, False]
    turns.painted(panes[0])
    assert [turns.take(pane) for pane in panes[:0:-1]] == [False, True, True], "the one that waited longest"
    turns.moved(panes[2])
    turns.moved(panes[1])
    assert [turns.take(pane) for pane in (panes[3], panes[0])] == [False, False]
    turns.painted(panes[2])
    turns.leave(panes[3])  # it is gone
    assert turns.take(panes[0])

    hidden = PaintTurns()
    for pane in panes[:MOST]:
        assert hidden.take(pane)
        hidden.moved(pane)
    assert hidden.take(panes[0]) and not hidden.take(panes[3])
    now[0] += OVERDUE
    assert hidden.take(panes[3])


@pytest.mark.slow
async def test_of_four_panes_that_fill_two_are_painted_in_a_frame(
    bench: Bench, stub: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames: list[Counter[Transcript]] = []
    open_frames: list[Counter[Transcript]] = []
    draw = Transcript.render_line

    def drawn(view: Transcript, y: int) -> Strip:
        if not open_frames:  # what is painted together is painted in one turn of the loop
            open_frames.append(Counter())
            asyncio.get_running_loop().call_soon(lambda: frames.append(open_frames.pop()))
        open_frames[0][view] += 1
        return draw(view, y)

    monkeypatch.setattr(Transcript, "render_line", drawn)
    words = [token(f"word {number}\n\n", -0.1) for number in range(300)]
    stub.answer = lambda _: [*words, END, DONE]
    async with bench.open((200, 60)) as (app, pilot):
        screen = await chat_screen(app, pilot, "sft/d20", "base/d20", "sft/d20@650", "box:sft/d20")
        await settle(pilot)
        frames.clear()
        monkeypatch.setattr(paint_turns, "OVERDUE", 60.0)  # a busy machine loses no frame
        await ask(screen, pilot)
        await settle(pilot, lambda: all(is_done(view) for view in screen.views))
        whole = [sum(lines > FEW for lines in frame.values()) for frame in frames]
        assert max(whole) <= MOST and sum(whole) > 4
        for view in screen.views:
            assert "word 299" in "\n".join(
                view.transcript.render_line(y).text for y in range(view.transcript.size.height)
            )


async def test_lines_that_are_gone_before_a_pane_has_its_turn_are_drawn_empty(
    bench: Bench, stub: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench.open((80, 24)) as (app, pilot):
        view = (await chat_screen(app, pilot, "sft/d20")).views[0].transcript
        view.show([], [("what it waits for " * 20, "muted")])
        await settle(pilot, lambda: view.is_laid_out)
        monkeypatch.setattr(PaintTurns, "take", lambda *_: False)
        view.show([], [("short", "muted")])
        drawn = [view.render_line(y).text.strip() for y in range(view.size.height)]
        assert drawn[0] == "short" and not any(drawn[1:])
