"""Chat: panes that ask, stream, branch and compare, over a scripted server and the real client."""

from pathlib import Path
from typing import cast

import pytest

from nanochat.common.errors import UserError
from nanochat.serve.conversation import AnswerSettings, Part
from remote.fleet.services import DeviceOffer
from tests.tui.conftest import Bench, settle
from tests.tui.screens.chat_bench import (
    DONE,
    END,
    StubServer,
    answer,
    ask,
    chat_screen,
    checkpoint,
    is_done,
    painted,
    running_stub,
    serve,
    stub,
    token,
    usage,
)
from tui.data.chat.prompt_set import PromptRun
from tui.screens.chat.device_dialog import DeviceDialog
from tui.screens.chat.diff import DiffScreen, DiffSection
from tui.screens.chat.picker import ModelPicker
from tui.screens.chat.prompt_table import _save as save_table
from tui.screens.chat.screen import ChatScreen
from tui.screens.chat.settings_dialog import SettingsDialog
from tui.screens.confirm import Confirm
from tui.widgets.bars import KeyBar
from tui.widgets.chat.question_field import QuestionField

__all__ = ["running_stub", "stub"]  # fixtures


# ---- asking --------------------------------------------------------------------------------------------


async def test_a_question_is_answered_in_every_pane(bench: Bench, stub: StubServer) -> None:
    async with bench.open((120, 40)) as (app, pilot):
        screen = await chat_screen(app, pilot, "sft/d20", "base/d20")
        await ask(screen, pilot)
        for view in screen.views:
            text = painted(view)
            assert "› Where is it?" in text
            assert "The capital of France is Paris." in text
            assert "7 tok" in text
        assert screen.views[0].figures.text.startswith("●")
        assert "first" in screen.views[0].figures.text
        assert "/1,000" in screen.views[0].figures.text
        assert len(stub.requests) == 2
        assert screen.field.text == ""


async def test_the_toggle_asks_one_pane_only(bench: Bench, stub: StubServer) -> None:
    async with bench.open((120, 40)) as (app, pilot):
        screen = await chat_screen(app, pilot, "sft/d20", "base/d20")
        assert "all panes" in str(screen.field.border_title)
        await pilot.press("ctrl+t")
        assert "A only" in str(screen.field.border_title)
        await ask(screen, pilot)
        assert "Paris" in painted(screen.views[0])
        assert "Paris" not in painted(screen.views[1])


async def test_enter_sends_and_ctrl_j_begins_a_line(bench: Bench, stub: StubServer) -> None:
    async with bench.open() as (app, pilot):
        screen = await chat_screen(app, pilot, "sft/d20")
        await pilot.press("a", "ctrl+j", "b", "1", "q", "question_mark")
        assert screen.field.text == "a\nb1q?"
        await pilot.press("enter")
        await settle(pilot, lambda: is_done(screen.views[0]) and bool(stub.requests))
        assert stub.requests[-1]["messages"][-1]["content"] == "a\nb1q?"
        await pilot.press("up")
        assert screen.field.text == "a\nb1q?"
        await pilot.press("down", "down")
        assert screen.field.text == ""


async def test_an_answer_that_is_stopped_keeps_what_came(bench: Bench, stub: StubServer) -> None:
    stub.answer = lambda _: [token("Some", -0.1), token(" words", -0.1), 30.0, END, DONE]
    async with bench.open() as (app, pilot):
        screen = await chat_screen(app, pilot, "sft/d20")
        screen.field.text = "Go on."
        await pilot.press("enter")
        await settle(pilot, lambda: "Some words" in painted(screen.views[0]))
        await pilot.press("ctrl+c")
        await settle(pilot, lambda: is_done(screen.views[0]))
        assert "Some words" in painted(screen.views[0])
        assert "■ stopped · " in painted(screen.views[0])


async def test_asking_again_and_editing_make_branches(bench: Bench, stub: StubServer) -> None:
    async with bench.open() as (app, pilot):
        screen = await chat_screen(app, pilot, "sft/d20")
        view = screen.views[0]
        await ask(screen, pilot, "First question")
        stub.answer = lambda _: answer("Another", " one")
        await pilot.press("escape", "r")
        await settle(pilot, lambda: is_done(view) and "Another one" in painted(view))
        assert "‹ 2/2 ›" in painted(view)
        await pilot.press("left_square_bracket")
        await settle(pilot, lambda: "Paris" in painted(view))
        assert "‹ 1/2 ›" in painted(view)
        stub.answer = lambda _: answer("To", " the", " edited")
        await pilot.press("e")
        assert screen.field.text == "First question"
        assert "edited" in str(screen.field.border_title)
        await pilot.press("exclamation_mark", "enter")
        await settle(pilot, lambda: is_done(view) and "To the edited" in painted(view))
        assert "› First question!" in painted(view)
        assert "‹ 3/3 ›" in painted(view)
        assert len(view.pane.tree.path) == 1


async def test_leaving_an_edit_leaves_the_question(bench: Bench, stub: StubServer) -> None:
    async with bench.open() as (app, pilot):
        screen = await chat_screen(app, pilot, "sft/d20")
        await ask(screen, pilot)
        await pilot.press("escape", "e", "x", "escape")
        assert screen.editing is None
        assert screen.field.text == ""
        assert len(list(screen.views[0].pane.tree.nodes())) == 1


@pytest.mark.parametrize("gone", ["cleared", "closed"])
async def test_an_edit_ends_with_its_conversation_and_with_its_pane(
    bench: Bench, stub: StubServer, gone: str
) -> None:
    async with bench.open((120, 40)) as (app, pilot):
        screen = await chat_screen(app, pilot, "sft/d20", "base/d20")
        await ask(screen, pilot)
        pane = screen.views[0].pane
        await pilot.press("escape", "e")
        if gone == "cleared":
            for view in screen.views:
                view.pane.clear()
        else:
            await screen.panes.remove(pane)
            await screen.show_panes_anew()
        asked = len(stub.requests)
        await pilot.press("exclamation_mark", "enter")
        await settle(pilot, lambda: app.message is not None)
        assert "the turn that was edited is gone" in app.message.text  # type: ignore[union-attr]
        assert screen.field.text == "Where is it?!" and "question to" in str(screen.field.border_title)
        assert not pane.state.is_busy and len(stub.requests) == asked
        await pilot.press("enter")
        await settle(pilot, lambda: all("Where is it?!" in painted(view) for view in screen.views))


async def test_a_turn_chosen_by_key_is_the_one_that_is_asked_again(bench: Bench, stub: StubServer) -> None:
    async with bench.open() as (app, pilot):
        screen = await chat_screen(app, pilot, "sft/d20")
        view = screen.views[0]
        await ask(screen, pilot, "One")
        await ask(screen, pilot, "Two")
        await pilot.press("escape", "K")
        assert view.transcript.turn is view.pane.tree.path[0]
        await pilot.press("r")
        await settle(pilot, lambda: is_done(view) and len(view.pane.tree.path) == 1)
        assert "‹ 2/2 ›" in painted(view)
        assert "Two" not in painted(view)


async def test_one_pane_that_fails_leaves_the_others(bench: Bench, stub: StubServer) -> None:
    async with bench.open((120, 40)) as (app, pilot):
        screen = await chat_screen(app, pilot, "sft/d20", "away:sft/d20")
        await ask(screen, pilot)
        assert "Paris" in painted(screen.views[0])
        assert "cannot reach away" in painted(screen.views[1]).replace("\n", " ")
        assert "r tries" in painted(screen.views[1])


async def test_again_goes_on_in_every_pane_that_failed(bench: Bench, stub: StubServer) -> None:
    stub.answer = lambda _: [token("Half", -0.1)]
    async with bench.open((120, 40)) as (app, pilot):
        screen = await chat_screen(app, pilot, "sft/d20", "base/d20")
        await ask(screen, pilot)
        assert [view.pane.state.kind for view in screen.views] == ["failed", "failed"]
        stub.answer = lambda _: answer()
        await pilot.press("escape", "r")
        await settle(pilot, lambda: all(is_done(view) and "Paris" in painted(view) for view in screen.views))


async def test_a_cut_answer_says_so_and_again_goes_on(bench: Bench, stub: StubServer) -> None:
    stub.answer = lambda _: [token("Half", -0.1)]
    async with bench.open() as (app, pilot):
        screen = await chat_screen(app, pilot, "sft/d20")
        view = screen.views[0]
        await ask(screen, pilot)
        assert "Half" in painted(view)
        assert "✗" in painted(view) and "broke off" in painted(view)
        stub.answer = lambda _: answer()
        await pilot.press("escape", "r")
        await settle(pilot, lambda: is_done(view) and "Paris" in painted(view))


@pytest.mark.parametrize("way", ["ask", "again", "edit"])
async def test_while_one_pane_answers_no_other_is_opened_or_asked(
    bench: Bench, stub: StubServer, way: str
) -> None:
    async with bench.open((120, 40)) as (app, pilot):
        screen = await chat_screen(app, pilot, "sft/d20", "base/d20")
        if way == "ask":
            await pilot.press("ctrl+t")
        await ask(screen, pilot)
        first, second = screen.panes.panes
        busy, free = (first, second) if way == "ask" else (second, first)
        # A question waits in it for a device to be chosen: that is not `is_busy`.
        busy._wanted = busy.tree.leaf, False  # type: ignore[assignment]
        screen.to_all = True
        screen.current = 0
        before = len(list(free.tree.nodes())), free.state.kind
        if way == "edit":
            screen.action_edit()
        screen.field.text = "Where?"
        with pytest.raises(UserError, match="an answer is coming"):
            if way == "again":
                screen.action_again()
            else:
                screen.on_question_field_sent(QuestionField.Sent("Where?"))
        assert (len(list(free.tree.nodes())), free.state.kind) == before


async def test_a_new_conversation_asks_without_the_turns_before(bench: Bench, stub: StubServer) -> None:
    async with bench.open() as (app, pilot):
        screen = await chat_screen(app, pilot, "sft/d20")
        await ask(screen, pilot, "One")
        await pilot.press("escape", "N")
        await settle(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await settle(pilot, lambda: "One" not in painted(screen.views[0]))
        await ask(screen, pilot, "Two")
        assert [message["content"] for message in stub.requests[-1]["messages"]] == ["Two"]


# ---- tokens --------------------------------------------------------------------------------------------


async def test_tokens_show_their_alternatives_under_the_cursor(bench: Bench, stub: StubServer) -> None:
    async with bench.open() as (app, pilot):
        screen = await chat_screen(app, pilot, "sft/d20")
        view = screen.views[0]
        await ask(screen, pilot)
        await pilot.press("escape", "t")
        await settle(pilot, lambda: view.transcript.is_laid_out and view.detail.display)
        await pilot.press("right", "right")
        detail = str(view.detail.render())
        assert "“ of”" in detail
        assert "1.8 %" in detail
        assert "token 3 of 7" in detail
        assert "“ in”" in detail and "90.5 %" in detail
        assert "**Paris**" in painted(view), "tokens are shown as they are"
        await pilot.press("t")
        await settle(pilot, lambda: "**" not in painted(view))


async def test_a_server_without_probabilities_says_so(bench: Bench, stub: StubServer) -> None:
    from tests.tui.screens.chat_bench import chunk

    stub.answer = lambda _: [chunk(delta={"content": "plain"}, finish_reason=None), END, usage(3, 1), DONE]
    async with bench.open() as (app, pilot):
        screen = await chat_screen(app, pilot, "sft/d20")
        await ask(screen, pilot)
        await pilot.press("escape", "t")
        await settle(pilot)
        assert "tells no probabilities" in str(screen.views[0].detail.render())
        assert "plain" in painted(screen.views[0])


# ---- what panes talk to --------------------------------------------------------------------------------


async def test_the_first_pane_is_on_the_newest_checkpoint_or_on_what_is_picked(
    bench: Bench, stub: StubServer
) -> None:
    async with bench.open((120, 40)) as (app, pilot):
        screen = await chat_screen(app, pilot)
        assert screen.views == []
        await pilot.press("escape", "m")
        picker = app.screen
        assert isinstance(picker, ModelPicker)
        await settle(pilot, lambda: len(picker.table.items) == 2)
        assert [str(choice.target) for choice in picker.table.items] == ["sft/d20", "base/d20"]
        await pilot.press(*"base", "enter")
        await settle(pilot, lambda: len(screen.views) == 1 and is_done(screen.views[0]))
        assert "base/d20" in str(screen.views[0].border_title)


@pytest.mark.slow
async def test_an_address_or_a_step_can_be_typed(bench: Bench, stub: StubServer) -> None:
    async with bench.open((120, 40)) as (app, pilot):
        screen = await chat_screen(app, pilot, "sft/d20")
        await pilot.press("escape", "plus")
        picker = app.screen
        assert isinstance(picker, ModelPicker)
        picker.search.value = "sft/d20@650"
        await settle(pilot, lambda: len(picker.table.items) == 1)
        await pilot.press("enter")
        await settle(pilot, lambda: len(screen.views) == 2)
        await pilot.press("escape", "plus")
        picker = app.screen
        assert isinstance(picker, ModelPicker)
        picker.search.value = f"{stub.url} base/d20"
        await settle(pilot, lambda: len(picker.table.items) == 1)
        await pilot.press("enter")
        await settle(pilot, lambda: len(screen.views) == 3)
        names = [str(view.pane.target) for view in screen.views]
        assert names == ["sft/d20", "sft/d20@650", f"{stub.url} base/d20"]


async def test_with_a_training_at_work_the_device_is_asked(bench: Bench, stub: StubServer) -> None:
    services = serve(bench, stub)
    services.offered = [
        DeviceOffer("cuda:0", 8 << 30, 80 << 30, "r1", False, "cuda:0 · NVIDIA H100"),
        DeviceOffer("cpu", None, None, None, False, "cpu"),
    ]
    async with bench.open() as (app, pilot):
        screen = await chat_screen(app, pilot, "sft/d20")
        screen.field.text = "Hello"
        await pilot.press("enter")
        await settle(pilot, lambda: isinstance(app.screen, DeviceDialog))
        await pilot.press("enter")  # the CPU is marked
        await settle(pilot, lambda: is_done(screen.views[0]) and "Paris" in painted(screen.views[0]))
        assert services.opened[-1] == ("local", "cpu")


async def test_readonly_starts_no_server_and_opens_addresses(bench: Bench, stub: StubServer) -> None:
    async with bench.open((120, 40), readonly=True) as (app, pilot):
        screen = await chat_screen(app, pilot, "sft/d20", f"{stub.url} sft/d20")
        await ask(screen, pilot)
        assert "read only" in painted(screen.views[0])
        assert "Paris" in painted(screen.views[1])
        stub.answer = lambda _: [token("Some", -0.1), 30.0, END, DONE]
        await pilot.press("ctrl+t")
        screen.go_to(1)
        screen.field.focus()
        screen.field.text = "Go on."
        await pilot.press("enter")
        await settle(pilot, lambda: "Some" in painted(screen.views[1]))
        await pilot.press("escape", "s")
        await settle(pilot, lambda: "■ stopped" in painted(screen.views[1]))
        assert screen.check_action("add_pane", ()) and not screen.check_action("save", ())
        bar = str(screen.query_one(KeyBar).render())
        assert "add pane" in bar and "stop" in bar  # not those of hosts and runs, which have the same names
        assert screen.check_action("save", ()) is False and screen.check_action("vote", ()) is True


async def test_a_live_run_is_followed_from_the_screen_of_runs(bench: Bench, stub: StubServer) -> None:
    key = bench.run("training", "base_train", "running", age=100)
    run_id = key.split("/")[1]
    services = serve(bench, stub)
    services.found["local"] = [checkpoint("base/d20", 1000, run=run_id)]
    async with bench.open() as (app, pilot):
        await pilot.press("1")
        await settle(pilot)
        await pilot.press("i")
        await settle(pilot, lambda: isinstance(app.screen, ChatScreen) and bool(app.screen.views))
        screen = app.screen
        assert isinstance(screen, ChatScreen)
        assert screen.views[0].pane.target.follows == run_id  # type: ignore[union-attr]
        await ask(screen, pilot)
        bench.events(key, [{"kind": "checkpoint", "step": 900, "data": {}}])
        screen._looked = 0.0
        screen.look()
        await settle(pilot, lambda: run_key_seen(screen))
        bench.events(key, [{"kind": "checkpoint", "step": 1200, "data": {}}])
        screen._looked = 0.0
        screen.look()
        await settle(pilot, lambda: "step 1,200 is saved" in painted(screen.views[0]))
        await pilot.press("escape", "f")
        await settle(pilot, lambda: not screen.views[0].pane.target.follows)  # type: ignore[union-attr]


async def test_the_pane_that_follows_a_run_already_comes_into_sight_and_opens(
    bench: Bench, stub: StubServer
) -> None:
    run_id = bench.run("training", "base_train", "running", age=100).split("/")[1]
    serve(bench, stub).found["local"] = [checkpoint("base/d20", 1000, run=run_id)]
    async with bench.open((80, 24)) as (app, pilot):
        screen = await chat_screen(app, pilot, "sft/d20", f"base/d20 follow {run_id}")
        behind = screen.views[1]
        assert not behind.display
        await settle(pilot, lambda: any(run.run_id == run_id for run in app.rows))
        screen.chat_with(next(run for run in app.rows if run.run_id == run_id))
        await settle(pilot, lambda: behind.transcript.has_focus and is_done(behind))
        assert behind.display and screen.view is behind and len(screen.views) == 2


def run_key_seen(screen: ChatScreen) -> bool:
    return bool(screen._seen)


async def test_a_pinned_server_is_told(bench: Bench, stub: StubServer) -> None:
    services = serve(bench, stub)
    async with bench.open() as (app, pilot):
        screen = await chat_screen(app, pilot, "sft/d20")
        await ask(screen, pilot)
        await pilot.press("escape", "P")
        await settle(pilot, lambda: services.pinned)
        assert "outlives" in app.message.text  # type: ignore[union-attr]


# ---- layout --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "shown", "tabs"), [((80, 24), 1, True), ((120, 40), 3, True), ((200, 60), 4, False)]
)
async def test_panes_that_do_not_fit_are_behind_tabs(
    bench: Bench, stub: StubServer, size: tuple[int, int], shown: int, tabs: bool
) -> None:
    async with bench.open(size) as (app, pilot):
        screen = await chat_screen(app, pilot, *["sft/d20"] * 4)
        seen = [view for view in screen.views if view.region]
        assert len(seen) == shown
        assert bool(screen.tabs.region) == tabs
        assert all(view.region.width >= 40 for view in seen)
        for _ in range(4):
            await pilot.press("tab")
        await settle(pilot)
        assert screen.views[3].region, "the pane that is looked at is in sight"
        assert screen.views[3].transcript.has_focus


async def test_a_pane_is_zoomed_and_closed(bench: Bench, stub: StubServer) -> None:
    async with bench.open((120, 40)) as (app, pilot):
        screen = await chat_screen(app, pilot, "sft/d20", "base/d20")
        await ask(screen, pilot)
        await pilot.press("escape", "z")
        await settle(pilot)
        assert [bool(view.region) for view in screen.views] == [True, False]
        await pilot.press("escape")
        await settle(pilot)
        assert all(view.region for view in screen.views)
        await pilot.press("minus")
        await settle(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await settle(pilot, lambda: len(screen.views) == 1)
        assert "base/d20" in str(screen.views[0].border_title)


async def test_a_pane_is_closed_once_however_often_the_key_is_pressed(bench: Bench, stub: StubServer) -> None:
    async with bench.open((120, 40)) as (app, pilot):
        screen = await chat_screen(app, pilot, "sft/d20", "base/d20")
        screen.action_close_pane()
        screen.action_close_pane()
        await settle(pilot, lambda: len(screen.views) == 1)
        await settle(pilot)
        assert "base/d20" in str(screen.views[0].border_title)
        assert app.message is None


async def test_panes_settings_and_questions_are_kept_for_the_next_start(
    bench: Bench, stub: StubServer
) -> None:
    async with bench.open((120, 40)) as (app, pilot):
        screen = await chat_screen(app, pilot, "sft/d20", "base/d20")
        await pilot.press("escape", "o")
        dialog = app.screen
        assert isinstance(dialog, SettingsDialog)
        dialog.query_one("#temperature").value = "3"  # type: ignore[attr-defined]
        await pilot.press("enter")
        assert "temperature 3 is out of range (from 0 to 2)" in str(dialog.query_one("#problem").render())
        dialog.query_one("#temperature").value = "0.9"  # type: ignore[attr-defined]
        dialog.query_one("#seed").value = "7"  # type: ignore[attr-defined]
        dialog.query_one("#top_p").value = "1e-7"  # type: ignore[attr-defined]
        await pilot.press("enter")
        await ask(screen, pilot, "Kept?")
        kept = app.setting("chat")
    async with bench.open((120, 40)) as (app, pilot):
        app.settings.set("chat", kept)
        await pilot.press("5")
        await settle(pilot, lambda: isinstance(app.screen, ChatScreen) and len(app.screen.views) == 2)
        screen = app.screen  # type: ignore[assignment]
        assert screen.views[0].pane.settings == AnswerSettings(temperature=0.9, top_p=1e-7, seed=7)
        assert screen.field.questions == ["Kept?"]
        assert "seed 7" in str(screen.views[0].border_subtitle)


@pytest.mark.slow
async def test_an_answer_that_grows_lays_no_screen_out_again(
    bench: Bench, stub: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench.open((200, 60)) as (app, pilot):
        screen = await chat_screen(app, pilot, *["sft/d20"] * 4)
        await ask(screen, pilot)
        laid_out: list[object] = []
        monkeypatch.setattr(type(screen), "_refresh_layout", lambda *_, **__: laid_out.append(1))
        for number in range(60):
            for view in screen.views:
                leaf = view.pane.tree.leaf
                assert leaf is not None and leaf.answer is not None
                leaf.answer.parts.append(Part("text", f"\n\nparagraph {number} of many words"))
                view.update()
            await pilot.pause()
        assert not laid_out
        for view in screen.views:
            assert "paragraph 59 of many words" in painted(view), "the end stays in sight"
            assert len(view.query("*")) < 8, "an answer is lines, not widgets"


# ---- comparing -----------------------------------------------------------------------------------------


async def test_the_difference_of_two_answers_is_told_by_signs(bench: Bench, stub: StubServer) -> None:
    said = iter([answer("It", " is", " Paris"), answer("It", " was", " Paris")])
    stub.answer = lambda _: next(said)
    async with bench.open((120, 40)) as (app, pilot):
        screen = await chat_screen(app, pilot, "sft/d20", "base/d20")
        await pilot.press("ctrl+t")
        await ask(screen, pilot)
        await pilot.press("escape", "tab", "tab", "tab")
        screen.go_to(1)
        await ask(screen, pilot)
        await pilot.press("escape", "d")
        await settle(
            pilot, lambda: isinstance(app.screen, DiffScreen) and app.screen.view.section is not None
        )
        diff = app.screen
        assert isinstance(diff, DiffScreen)
        await settle(pilot, lambda: "[-was-] [+is+]" in painted(diff.view))
        section = DiffSection(diff.view.spans, 8)
        assert section.advance() and section.fixed == len(section.lines) - 1 > 0


# ---- files ---------------------------------------------------------------------------------------------


async def test_a_conversation_is_saved_and_its_path_told(bench: Bench, stub: StubServer) -> None:
    async with bench.open() as (app, pilot):
        screen = await chat_screen(app, pilot, "sft/d20")
        await ask(screen, pilot)
        await pilot.press("ctrl+s")
        await settle(pilot, lambda: type(app.screen).__name__ == "Ask")
        await pilot.press("enter")
        folder = bench.layout.base / "cc_dialogue"
        await settle(pilot, lambda: len(list(folder.glob("cc_*"))) == 2)
        (markdown,) = folder.glob("cc_*.md")
        assert "用户：Where is it?" in markdown.read_text(encoding="utf-8")
        told = f"saved cc_dialogue/{markdown.name} and cc_dialogue/{markdown.stem}.json"
        await settle(pilot, lambda: app.message is not None and told in app.message.text)
        await pilot.press("escape", "N", "escape", "L")
        await settle(pilot, lambda: type(app.screen).__name__ == "Ask")
        await pilot.press(*markdown.stem, "enter")
        await settle(pilot, lambda: "Where is it?" in painted(screen.views[0]))
        assert "Paris" in painted(screen.views[0])


async def test_a_file_of_prompts_fills_a_table(bench: Bench, stub: StubServer) -> None:
    (bench.layout.base / "three.txt").write_text("One?\nTwo?\nThree?\n", encoding="utf-8")
    async with bench.open((120, 40)) as (app, pilot):
        await chat_screen(app, pilot, "sft/d20", "base/d20")
        await pilot.press("escape", "R")
        await settle(pilot, lambda: type(app.screen).__name__ == "Ask")
        await pilot.press(*"three.txt", "enter")
        await settle(pilot, lambda: type(app.screen).__name__ == "PromptTable")
        table = app.screen.query_one("VirtualTable")
        await settle(pilot, lambda: "done" in str(table.border_title))
        assert len(stub.requests) == 6
        shown = "\n".join(table.render_line(y).text for y in range(5))
        assert shown.count("The capital of") == 6, shown
        await pilot.press("enter")
        await settle(pilot, lambda: type(app.screen).__name__ == "PromptAnswers")
        await settle(pilot, lambda: "› One?" in painted(app.screen.view))  # type: ignore[attr-defined]


@pytest.mark.parametrize("key", ["L", "R"])
async def test_a_home_that_nobody_has_is_told(bench: Bench, stub: StubServer, key: str) -> None:
    async with bench.open() as (app, pilot):
        await chat_screen(app, pilot, "sft/d20")
        await pilot.press("escape", key)
        await settle(pilot, lambda: type(app.screen).__name__ == "Ask")
        await pilot.press(*"~nobody-here/x.txt"[: None if key == "R" else -4], "enter")
        await settle(pilot, lambda: app.message is not None)
        assert "there is no such home directory" in app.message.text  # type: ignore[union-attr]


def test_a_table_of_prompts_is_saved_in_no_home_that_nobody_has(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such home directory"):
        save_table(cast("PromptRun", None), tmp_path, "~nobody-here/x.md")


# ---- what comes is foreign -----------------------------------------------------------------------------


async def test_names_that_look_like_markup_are_text(bench: Bench, stub: StubServer) -> None:
    async with bench.open((120, 40)) as (app, pilot):
        screen = await chat_screen(app, pilot, f"{stub.url} [/red]m")
        assert "m" in str(screen.views[0].border_title)
        await ask(screen, pilot)
        assert "Paris" in painted(screen.views[0])
        await pilot.press("escape", "plus")
        await settle(pilot, lambda: isinstance(app.screen, ModelPicker))
        await pilot.press(*"[/red]", "enter")
        assert isinstance(app.screen, ModelPicker)
        assert "no stage '['" in str(app.screen.search.border_subtitle)
        await pilot.press("x")
        await settle(pilot, lambda: not app.screen.search.border_subtitle)  # type: ignore[attr-defined]
        app.screen._failed["local"] = "[/red] \\[x]"
        app.screen.find([])
        assert "✗ local: [/red] \\[x]" in str(app.screen._note.render())


async def test_a_hostile_answer_is_text(bench: Bench, stub: StubServer) -> None:
    said = "\x1b]0;owned\x07\x1b[2J[bold red]x[/] <b>y</b> ![a](http://h/p.png) \u202eabc"
    stub.answer = lambda _: [token(said, -0.1), token("z" * 300_000, -0.1), END, usage(3, 2), DONE]
    async with bench.open() as (app, pilot):
        screen = await chat_screen(app, pilot, "sft/d20")
        await ask(screen, pilot)
        await pilot.press("escape", "g")
        text = painted(screen.views[0])
        assert (
            "␛]0;owned␇" in text and "[bold red]x[/]" in text and "(http://h/p.png)" in text.replace("\n", "")
        )
        await pilot.press("t", "right")
        await settle(pilot)
        assert "\x1b" not in painted(screen.views[0]) + str(screen.views[0].detail.render())
