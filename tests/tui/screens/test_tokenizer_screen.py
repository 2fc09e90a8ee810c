"""The Tokenizer screen without a terminal: what a key changes, what is kept, what goes wrong in a line."""

import asyncio
import base64
import json
import threading
from pathlib import Path
from typing import cast

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input

from nanochat.common.paths import Layout
from tests.tui.conftest import Bench, settle
from tests.tui.screens.vocabulary_bench import opened, trained
from tui.app import ControlRoom
from tui.data.tokenizer.panes import TokenizerPane
from tui.data.tokenizer.samples import SAMPLES
from tui.screens.ask import Ask
from tui.screens.tokenizer import pane_actions
from tui.screens.tokenizer.picker import TokenizerPicker
from tui.screens.tokenizer.replay import ReplayScreen
from tui.screens.tokenizer.sample_picker import SamplePicker
from tui.screens.tokenizer.screen import TokenizerScreen
from tui.screens.tokenizer.token import TokenScreen
from tui.screens.tokenizer.vocabulary import VocabularyScreen


def keep(bench: Bench, *specs: str, **more: object) -> None:
    """What an earlier start has left."""
    kept = {"tokenizer": {"panes": [{"spec": spec} for spec in specs], **more}}
    (bench.layout.base / "control-room.json").write_text(json.dumps(kept), encoding="utf-8")


def two(bench: Bench) -> tuple[str, str]:
    """Two tokenizers trained here, and the specs that open them."""
    return opened(bench.layout, "news", 300).spec, opened(bench.layout, "code", 400).spec


async def show(app: ControlRoom, pilot: Pilot[str], panes: int = 2) -> TokenizerScreen:
    await pilot.press("f3")
    await settle(pilot, lambda: isinstance(app.screen, TokenizerScreen))
    screen = cast("TokenizerScreen", app.screen)
    await settle(pilot, lambda: len(screen.panes) == panes and screen.is_settled)
    return screen


async def done(pilot: Pilot[str], screen: TokenizerScreen, text: str | None = None) -> None:
    await settle(pilot, lambda: screen.is_settled and (text is None or screen.result.text == text))


def tokens(screen: TokenizerScreen, pane: int) -> int:
    shown = screen.panes[pane].shown
    assert shown is not None and shown.split is not None
    return len(shown.split)


async def test_a_text_is_typed_split_and_compared(bench: Bench) -> None:
    keep(bench, *two(bench), text="the fish")
    async with bench.open() as (app, pilot):
        screen = await show(app, pilot)
        assert screen.focused is screen.field, "typing works at once"
        await pilot.press("end", *" def")
        await done(pilot, screen, "the fish def")
        assert [screen.views[pane].split.count for pane in (0, 1)] == [tokens(screen, 0), tokens(screen, 1)]
        assert tokens(screen, 0) != tokens(screen, 1) and "than A" in "".join(screen.views[1].figures.lines)
        assert screen.views[0].split.cursor == tokens(screen, 0) - 1, "the cursor is where one types"

        await pilot.press("escape", "home")
        assert screen.focused is screen.views[0].split and screen.views[0].split.cursor == 0
        found = screen.result.differences
        assert found is not None and len(found)
        places = []
        for key in ("n", "n", "N", "N"):
            await pilot.press(key)
            split = screen.views[0].split
            assert split.shown is not None and split.shown.split is not None
            places.append(split.shown.split.span(split.cursor)[0])
        assert places[0] < places[1] and places[2] == places[0], "next, next, and back"

        await pilot.press("end")
        ends = {view.split.shown.split.span(view.split.cursor)[1] for view in screen.views}  # type: ignore[union-attr]
        assert ends == {len(b"the fish def")}, "the cursors of all panes stand on the same byte"


async def test_views_separators_zoom_and_panes_are_kept_for_the_next_start(bench: Bench) -> None:
    keep(bench, *two(bench), text="kept text")
    async with bench.open() as (app, pilot):
        screen = await show(app, pilot)
        await pilot.press("escape", "v")
        assert screen.view_kind == "ids"
        await pilot.press("v", "vertical_line", "tab")
        assert screen.view_kind == "table" and screen.separated and screen.current == 1
        await pilot.press("z")
        assert [view.display for view in screen.views] == [False, True]
        await pilot.press("escape", "minus")
        await settle(pilot, lambda: len(screen.views) == 1)
        screen._keep_if_changed()
        await settle(pilot, lambda: len((app.setting("tokenizer") or {})["panes"]) == 1)
    kept = json.loads((bench.layout.base / "control-room.json").read_text())["tokenizer"]
    assert kept["view"] == "table" and kept["separated"] is True and kept["text"] == "kept text"
    async with bench.open() as (app, pilot):
        screen = await show(app, pilot, 1)
        assert screen.view_kind == "table" and screen.field.text == "kept text"


async def test_a_tokenizer_is_chosen_by_name_and_by_path_and_a_bad_one_told(bench: Bench) -> None:
    spec, other = two(bench)
    (bench.layout.base / "empty.json").write_text("{}")
    ranks = Path(bench.layout.base / "some.tiktoken")
    lines = [
        b"%s %d" % (base64.b64encode(token), rank) for token, rank in list(trained("news", 300).ranks.items())
    ]
    ranks.write_bytes(b"\n".join(lines))
    keep(bench, spec, text="abc")
    async with bench.open() as (app, pilot):
        screen = await show(app, pilot, 1)
        await pilot.press("escape")

        async def choose(key: str, words: str) -> None:
            await pilot.press(key)
            await settle(pilot, lambda: isinstance(app.screen, TokenizerPicker))
            picker = cast("TokenizerPicker", app.screen)
            await settle(pilot, lambda: bool(picker.table.items))
            picker.search.value = words
            await settle(pilot)
            await pilot.press("enter")
            await settle(pilot, lambda: not isinstance(app.screen, TokenizerPicker))

        await choose("plus", "characters")
        await settle(pilot, lambda: len(screen.views) == 2 and screen.is_settled)
        assert screen.panes[1].name == "characters" and screen.current == 1
        await choose("m", other)
        await settle(pilot, lambda: screen.panes[1].spec == other and screen.is_settled)
        await choose("m", str(bench.layout.base / "empty.json"))
        await settle(pilot, lambda: any("empty.json" in said.text for said in app.messages))
        assert screen.panes[1].spec == other and not app.unexpected, "the pane stays as it was"

        await choose("m", str(ranks))
        await settle(pilot, lambda: isinstance(app.screen, Ask))
        app.screen.query_one(Input).value = "gpt2"
        await pilot.press("enter")
        await settle(pilot, lambda: screen.panes[1].spec == str(ranks) and screen.is_settled)
        assert screen.panes[1].document() == {"spec": str(ranks), "pattern": "gpt2"}


async def test_a_tokenizer_that_is_gone_is_told_in_its_pane(bench: Bench) -> None:
    keep(bench, "bytes", str(bench.layout.base / "gone"), text="abc")
    async with bench.open() as (app, pilot):
        screen = await show(app, pilot)
        assert "gone" in screen.panes[1].error and screen.views[1].split.told == screen.panes[1].error
        assert tokens(screen, 0) == 3
        await pilot.press("escape", "n", "r")
        assert any("nothing to compare" in said.text for said in app.messages)
        assert any("bytes" in said.text for said in app.messages), "bytes are not merged"


async def test_files_and_samples_and_what_the_field_does_not_take(bench: Bench, tmp_path: Path) -> None:
    long = tmp_path / "long.txt"
    long.write_text("a line of words\n" * 1_400)
    odd = tmp_path / "odd.txt"
    odd.write_bytes(b"\x1b[31mred\r\n\xe2\x80\xae")
    keep(bench, "bytes", "characters", text="mine")
    async with bench.open() as (app, pilot):
        screen = await show(app, pilot)
        await pilot.press("escape", "o")
        await settle(pilot, lambda: isinstance(app.screen, Ask))
        app.screen.query_one(Input).value = str(long)
        await pilot.press("enter")
        await done(pilot, screen, long.read_text())
        assert tokens(screen, 0) == 22_400 and screen.field.read_only
        assert screen.field.text.endswith("all of it is below")
        assert screen.settings()["file"] == str(long) and screen.settings()["text"] == ""
        await pilot.press("G")
        assert screen.views[0].split.cursor == 22_399 and screen.views[1].split.cursor == 22_399

        screen.open_file(str(odd))
        await done(pilot, screen, odd.read_bytes().decode())
        assert "control characters" in screen._field_title() and "\x1b" not in screen.field.text

        screen.open_file(str(tmp_path))
        await settle(pilot, lambda: any("is not a file" in said.text for said in app.messages))
        assert screen.document.name == "odd.txt"

        await pilot.press("i")
        assert not screen.field.read_only and screen.focused is screen.field
        app.post_message(events.Paste("b" * 30_000))
        await done(pilot, screen, "b" * 30_000)
        assert screen.document.name == "pasted" and screen.focused is screen.views[0].split

        app.post_message(events.Paste("beside\rthe field"))
        await done(pilot, screen, "beside\nthe field")
        assert screen.field.text == "beside\nthe field" and not screen.field.read_only
        await pilot.press("i")
        app.post_message(events.Paste("!\r\nmore\r"))
        await done(pilot, screen, "beside\nthe field!\nmore\n")
        assert not screen.field.read_only, "a terminal pastes line ends as carriage returns"

        await pilot.press("escape", "s")
        await settle(pilot, lambda: isinstance(app.screen, SamplePicker))
        await pilot.press(*"latex", "enter")
        await done(pilot, screen, SAMPLES["LaTeX"])
        assert screen.field.text == SAMPLES["LaTeX"]
        await pilot.press("i", "x")
        await done(pilot, screen, "x")
        await pilot.press("escape", "s", "up", "end")
        assert any(row.name == "your text" for row in cast("SamplePicker", app.screen).table.items)


async def test_merges_are_played_one_by_one_and_by_size(bench: Bench) -> None:
    keep(bench, two(bench)[0], text="the ministers agreed on the fish")
    async with bench.open() as (app, pilot):
        screen = await show(app, pilot, 1)
        await pilot.press("escape", "r")
        await settle(pilot, lambda: isinstance(app.screen, ReplayScreen) and app.screen.replay is not None)
        replay = cast("ReplayScreen", app.screen)
        await settle(pilot, lambda: replay.split.count == 32)
        await pilot.press("right")
        assert replay.number == 1 and replay.split.count == 31 and "→" in replay._words()
        await pilot.press("end")
        assert replay.split.count == tokens(screen, 0)
        await pilot.press("home", "right_square_bracket")
        assert replay.replay is not None and replay.number == replay.replay.steps_of_size(300)
        await pilot.press("left_square_bracket")
        assert replay.number == replay.replay.steps_of_size(256)
        await pilot.press("right_square_bracket", "right_square_bracket")
        assert replay.number == len(replay.replay), "on to its own size, which is the last"
        for given, words in (("270", ""), ("12", "no size"), ("many", "no size")):
            await pilot.press("slash")
            await settle(pilot, lambda: isinstance(app.screen, Ask))
            await pilot.press(*given, "enter")
            await settle(pilot, lambda: app.screen is replay)
            assert replay.number == replay.replay.steps_of_size(270)
            assert not words or any(words in said.text for said in app.messages)
        await pilot.press("escape")
        assert app.screen is screen


async def test_a_token_is_told_in_full_and_its_count_once_it_was_counted(bench: Bench) -> None:
    keep(bench, two(bench)[0], text="the")
    async with bench.open() as (app, pilot):
        screen = await show(app, pilot, 1)
        await pilot.press("escape")
        assert "not counted" in screen.count_here()
        await pilot.press("enter")
        await settle(pilot, lambda: isinstance(app.screen, TokenScreen))
        await pilot.press("escape", "y")
        shown = screen.panes[0].shown
        assert shown is not None and shown.split is not None
        assert app.clipboard == json.dumps(shown.split.ids.tolist())


async def test_typing_on_while_a_long_text_is_split_ends_with_the_last_text(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(bench, "bytes", "words", text="start")
    async with bench.open() as (app, pilot):
        screen = await show(app, pilot)
        real, gate = screen.work.result, asyncio.Event()

        def slow(text: str, panes: object) -> object:
            asyncio.run_coroutine_threadsafe(gate.wait(), app._loop).result(10)  # type: ignore[arg-type]
            return real(text, panes)  # type: ignore[arg-type]

        monkeypatch.setattr(screen.work, "result", slow)
        screen._each = 1.0  # as if splitting took long: it is done in a thread
        await pilot.press("end", "a", "b", "c")
        assert not screen.is_settled and screen.result.text == "start", "the loop goes on"
        gate.set()
        await done(pilot, screen, "startabc")


async def test_a_long_text_is_told_to_be_split_whatever_is_pressed_meanwhile(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(bench, "bytes", "words", text="start")
    async with bench.open() as (app, pilot):
        screen = await show(app, pilot)
        real, gate = screen.work.result, asyncio.Event()

        def slow(text: str, panes: object) -> object:
            asyncio.run_coroutine_threadsafe(gate.wait(), app._loop).result(10)  # type: ignore[arg-type]
            return real(text, panes)  # type: ignore[arg-type]

        monkeypatch.setattr(screen.work, "result", slow)
        screen.field.post_message(events.Paste("b " * 20_000))
        await settle(pilot, lambda: bool(screen.views[0].busy))
        await pilot.press("v")
        for view in screen.views:
            assert view.figures.lines == ("splitting …", "40,005 characters"), "not the figures of before"
        assert screen._places() and not str(screen.field.border_subtitle or "")
        gate.set()
        await done(pilot, screen)
        assert screen.views[0].figures.lines[0].startswith("40,005 tokens")
        assert "difference" in str(screen.field.border_subtitle)


async def test_an_empty_text_has_no_token_and_no_differences(bench: Bench) -> None:
    keep(bench, "bytes", "words", text="ab cd")
    async with bench.open() as (app, pilot):
        screen = await show(app, pilot)
        assert "of 5" in str(screen.detail.border_title)
        assert "difference" in str(screen.field.border_subtitle)
        await pilot.press("end", *["backspace"] * 5)
        await done(pilot, screen, "")
        assert not str(screen.detail.border_title) and not str(screen.field.border_subtitle)
        await pilot.press("a")
        await done(pilot, screen, "a")
        await pilot.press("escape", "minus", "minus")
        await settle(pilot, lambda: not screen.views)
        await pilot.press("n")
        assert any("nothing to compare" in said.text for said in app.messages)
        assert not str(screen.field.border_subtitle)
        assert "+ adds a tokenizer" in str(screen.detail.content)


async def test_the_first_panes_come_one_by_one_and_a_broken_one_is_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    real = pane_actions._first_pane
    broken = bench.layout.tokenizer
    trained("news", 300).save(broken)
    next(broken.glob("*.tiktoken")).unlink()

    def slow(spec: str, layout: Layout) -> TokenizerPane | None:
        if spec == "o200k":
            assert gate.wait(10)
        return real("bytes" if spec in pane_actions.FIRST else spec, layout)

    monkeypatch.setattr(pane_actions, "_first_pane", slow)
    async with bench.open() as (app, pilot):
        await pilot.press("f3")
        await settle(pilot, lambda: isinstance(app.screen, TokenizerScreen))
        screen = cast("TokenizerScreen", app.screen)
        await settle(pilot, lambda: len(screen.views) == 2 and screen.panes[1].shown is not None)
        assert not screen.is_settled and screen.panes[0].error, "the first are seen before the last is there"
        assert screen.field.at == 0 and screen.field.scroll_y == 0, "the sample is seen from its beginning"
        assert screen.field.selected_text == SAMPLES["English"], "and what is typed replaces it"
        await pilot.press("escape", "n")
        assert any("not ready yet" in said.text for said in app.messages)
        gate.set()
        await settle(pilot, lambda: len(screen.views) == 3 and screen.is_settled)


async def test_there_are_tokens_to_see_on_ten_rows(bench: Bench) -> None:
    keep(bench, *two(bench), text="the fish")
    async with bench.open(size=(40, 10)) as (app, pilot):
        screen = await show(app, pilot)
        assert screen.views[0].split.size.height >= 2 and screen.field.size.height == 1
        await pilot.press("escape", "b")
        await settle(pilot, lambda: isinstance(app.screen, VocabularyScreen))
        table = cast("VocabularyScreen", app.screen).table
        await settle(pilot, lambda: table.size.height >= 3)
