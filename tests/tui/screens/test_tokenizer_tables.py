"""Two tokenizers compared, and the compression of texts as a heat table."""

from pathlib import Path

import pytest
from textual.widgets import Input

from tests.tui.conftest import Bench, settle
from tests.tui.screens.vocabulary_bench import chosen, write_shards
from tui.data.tokenizer.chosen import Chosen
from tui.screens.ask import Ask
from tui.screens.save_as import SaveAs
from tui.screens.tokenizer.compare import CompareVocabularies
from tui.screens.tokenizer.heat import OWN_TEXTS, HeatScreen
from tui.screens.tokenizer.picker import TokenizerPicker
from tui.screens.tokenizer.token import TokenScreen
from tui.widgets.table import VirtualTable

pytestmark = pytest.mark.slow


async def test_two_tokenizers_are_compared_table_by_table(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = chosen(bench.layout, ("news", 400), ("code", 340))
    a, b = (pane.splitter for pane in made.panes)
    assert a.ranks is not None and b.ranks is not None
    async with bench.open() as (app, pilot):
        screen = CompareVocabularies(made)
        await app.push_screen(screen)
        await settle(pilot, lambda: bool(screen.table.items))
        assert {a.token(token) for token in screen.table.items} == set(a.ranks) - set(b.ranks)
        await pilot.press("tab")
        await settle(pilot, lambda: screen.table.part == "only B" and bool(screen.table.items))
        assert {b.token(token) for token in screen.table.items} == set(b.ranks) - set(a.ranks)
        await pilot.press("tab")
        await settle(pilot, lambda: screen.table.part == "moved" and bool(screen.table.items))
        assert screen.pair is not None
        for token in screen.table.items:
            other = screen.pair.other("moved", token)
            assert other is not None and other != token and b.token(other) == a.token(token)
        screen.table.set_order("moved")
        await settle(pilot, lambda: screen.table.cursor == 0)
        await pilot.press("slash")
        screen.search.value = "#1-30"
        await settle(pilot, lambda: all(1 <= token <= 30 for token in screen.table.items))
        screen.search.value = "len:x"
        await settle(pilot, lambda: screen.search.has_class("-wrong"))
        await pilot.press("escape", "enter")
        await settle(pilot, lambda: isinstance(app.screen, TokenScreen) or bool(screen.table.empty))
        while app.screen is not screen:
            await pilot.press("escape")
            await settle(pilot)
        await pilot.press("s")
        await settle(pilot, lambda: screen.a is made.panes[1] and screen.pair is not None)
        await pilot.press("x")
        await settle(pilot, lambda: isinstance(app.screen, SaveAs))
        target = tmp_path / "both.csv"
        app.screen.query_one(Input).value = str(target)
        await pilot.press("enter")
        await settle(pilot, target.is_file)
        assert target.read_text(encoding="utf-8").startswith("where,id_a,id_b,token,bytes,hex\n")
        await settle(pilot, lambda: app.screen is screen)
        await pilot.press("h")
        await settle(pilot, lambda: isinstance(app.screen, HeatScreen))


async def test_texts_of_all_kinds_are_measured_and_own_ones_are_kept(bench: Bench, tmp_path: Path) -> None:
    write_shards(bench.layout.base / "base_data")
    own = tmp_path / "mine.txt"
    own.write_text("to be or not to be\n" * 20, encoding="utf-8")
    made = chosen(bench.layout, ("news", 300), ("code", 300))
    async with bench.open() as (app, pilot):
        screen = HeatScreen(made)
        await app.push_screen(screen)
        await settle(pilot, lambda: screen.board.done() == (14, 14))
        await pilot.press("a")
        await settle(pilot, lambda: isinstance(app.screen, Ask))
        app.screen.query_one(Input).value = str(own)
        await pilot.press("enter")
        await settle(pilot, lambda: screen.board.done() == (16, 16))
        assert app.settings.get(OWN_TEXTS) == [str(own)]
        await pilot.press("m")
        await settle(pilot, lambda: isinstance(app.screen, TokenizerPicker))
        app.screen.query_one(Input).value = "bytes"
        await settle(pilot, lambda: app.screen.query_one(VirtualTable).current_key == "bytes")
        await pilot.press("enter")
        await settle(pilot, lambda: screen.board.done() == (24, 24))
        last = screen.table.items[-1].cells[-1]
        assert last is not None and last.text == "1.000"
        await pilot.press("f")
        assert "fewer" in str(screen.table.border_title)
        screen.table.move_to_key("mine.txt")
        await pilot.press("d")
        await settle(pilot, lambda: screen.board.done() == (21, 21))
        assert app.settings.get(OWN_TEXTS) == []
        await pilot.press("d")
        await settle(pilot, lambda: any("taken away" in message.text for message in app.messages))


async def test_without_tokenizers_both_say_what_to_do(bench: Bench) -> None:
    async with bench.open(size=(80, 24)) as (app, pilot):
        for screen in (CompareVocabularies(Chosen()), HeatScreen(Chosen())):
            await app.push_screen(screen)
            await settle(pilot)
            await pilot.press("y", "x", "s", "o", "f", "enter", "tab")
            await settle(pilot)
            assert app.screen is screen
            await pilot.press("escape")
            await settle(pilot, lambda: app.screen is not screen)  # noqa: B023
