"""The vocabulary browser: what a search leaves, what was counted, what a token is made of."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

import tui.screens.tokenizer.vocabulary
from nanochat.tokenizer.explore import vocabulary as reading
from nanochat.tokenizer.explore.counting import HARDLY
from tests.tui.conftest import Bench, settle
from tests.tui.screens.vocabulary_bench import chosen, write_shards
from tui.app import ControlRoom
from tui.data.tokenizer.chosen import Chosen
from tui.screens.save_as import SaveAs
from tui.screens.tokenizer.choose import Choose
from tui.screens.tokenizer.token import TokenScreen
from tui.screens.tokenizer.vocabulary import VocabularyScreen
from tui.widgets.table import VirtualTable
from tui.widgets.tokenizer.token_facts import TokenFacts

pytestmark = pytest.mark.slow


async def opened(app: ControlRoom, pilot: Pilot[str], made: Chosen) -> VocabularyScreen:
    screen = VocabularyScreen(made)
    await app.push_screen(screen)
    await settle(pilot, lambda: screen.listed is not None)
    return screen


async def search(screen: VocabularyScreen, pilot: Pilot[str], text: str) -> list[str]:
    """Types a search and gives the tokens it leaves."""
    before = screen.listed
    screen.search.value = text
    await settle(pilot, lambda: screen.listed is not before or screen.search.has_class("-wrong"))
    splitter = screen.splitter
    assert splitter is not None
    return [splitter.token(token).decode("utf-8", "replace") for token in screen.table.items]


async def test_a_vocabulary_is_searched_by_text_id_length_kind_and_pattern(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = chosen(bench.layout, ("code", 400))
    threads: dict[str, set[int]] = {"list_ids": set(), "read_tokens": set()}
    for owner, name in ((tui.screens.tokenizer.vocabulary, "list_ids"), (reading, "read_tokens")):
        work = getattr(owner, name)

        def noted(*args: Any, name: str = name, work: Callable[..., Any] = work) -> Any:
            threads[name].add(threading.get_ident())
            return work(*args)

        monkeypatch.setattr(owner, name, noted)
    async with bench.open() as (app, pilot):
        screen = await opened(app, pilot, made)
        assert len(screen.table.items) == 400
        assert screen.table.border_title is not None and "400 tokens" in str(screen.table.border_title)
        assert " s" in await search(screen, pilot, " s")
        assert all(token.startswith(" s") for token in await search(screen, pilot, "re:^ s"))
        assert await search(screen, pilot, "#97-98") == ["a", "b"]
        assert {len(token) for token in await search(screen, pilot, "len:6-7")} <= {6, 7}
        assert "<|bos|>" in await search(screen, pilot, "is:special")
        left = len(screen.table.items)
        for wrong in ("len:x", "re:(", "is:never"):
            await search(screen, pilot, wrong)
            assert screen.search.has_class("-wrong") and screen.search.border_subtitle
            assert len(screen.table.items) == left  # the rows stay
        await search(screen, pilot, "")
        await pilot.press("w")
        await settle(pilot, lambda: len(screen.table.items) == 9)
        await pilot.press("escape")
        await settle(pilot, lambda: len(screen.table.items) == 400)
        assert app.screen is screen
        await pilot.press("o", "o", "G")
        await settle(pilot, lambda: screen.table.order == "bytes")
        assert screen.table.current is not None
    assert all(found and threading.get_ident() not in found for found in threads.values())


async def test_tokens_are_counted_in_a_corpus_kept_and_told_when_rare(bench: Bench) -> None:
    write_shards(bench.layout.base / "base_data")
    write_shards(bench.layout.base / "plan" / "data", 3)
    made = chosen(bench.layout, ("news", 500))
    async with bench.open() as (app, pilot):
        screen = await opened(app, pilot, made)
        await pilot.press("u")
        await settle(pilot, lambda: isinstance(app.screen, Choose))
        await pilot.press("enter")
        await settle(pilot, lambda: screen.counts is not None)
        counts = screen.counts
        assert counts is not None and counts.documents == 2
        await settle(pilot, lambda: screen.table.counts is counts.counts)
        never = await search(screen, pilot, "is:never")
        assert never and all(counts.counts[token] == 0 for token in screen.table.items)
        await search(screen, pilot, "is:hardly")
        assert all(0 < counts.counts[token] < HARDLY for token in screen.table.items)
        screen.table.set_order("count")
        await search(screen, pilot, "len:2-")
        told = [int(counts.counts[token]) for token in screen.table.items]
        assert told == sorted(told, reverse=True)
    async with bench.open() as (app, pilot):
        screen = await opened(app, pilot, made)
        await settle(pilot, lambda: screen.counts is not None)  # what was counted is kept
        assert "base_data" in str(screen.table.border_subtitle)


async def test_leaving_while_tokens_are_counted_stops_that_and_says_so(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shards(bench.layout.base / "base_data")
    ended = threading.Event()

    def endless(*given: Any) -> None:
        cancelled = given[-1]
        while not cancelled():
            time.sleep(0.01)
        ended.set()

    monkeypatch.setattr(tui.screens.tokenizer.vocabulary, "count_tokens", endless)
    async with bench.open() as (app, pilot):
        screen = await opened(app, pilot, chosen(bench.layout, ("news", 500)))
        await pilot.press("u")
        await settle(pilot, lambda: "counting" in str(screen.table.border_subtitle))
        await pilot.press("escape")
        await settle(pilot, lambda: app.screen is not screen and ended.is_set())
        assert any("tok_counts" in said.text for said in app.messages)


async def test_a_token_is_opened_copied_and_the_list_written(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = chosen(bench.layout, ("code", 400))
    async with bench.open(size=(80, 24)) as (app, pilot):
        screen = await opened(app, pilot, made)
        assert screen.has_class("-below")
        await search(screen, pilot, "#300-301")
        await pilot.press("enter")
        await settle(pilot, lambda: isinstance(app.screen, TokenScreen))
        told = app.screen.query_one(TokenFacts).render().plain
        assert "300" in told and "next ids" in told
        await pilot.press("escape")
        await settle(pilot, lambda: app.screen is screen)
        for kind in ("csv", "md", "json"):
            await pilot.press("x")
            await settle(pilot, lambda: isinstance(app.screen, SaveAs))
            target = tmp_path / f"tokens.{kind}"
            app.screen.query_one(Input).value = str(target)
            await pilot.press("enter")
            await settle(pilot, target.is_file)
            await settle(pilot, lambda: app.screen is screen)
            assert "301" in target.read_text(encoding="utf-8")


async def test_tab_goes_to_the_vocabulary_of_the_next_pane(bench: Bench) -> None:
    made = chosen(bench.layout, ("code", 340), ("news", 300))
    async with bench.open() as (app, pilot):
        await opened(app, pilot, made)
        for size in (300, 340):
            await pilot.press("tab")
            await settle(pilot, lambda: isinstance(app.screen, VocabularyScreen) and app.screen.is_mounted)
            shown = app.screen
            assert isinstance(shown, VocabularyScreen)
            await settle(pilot, lambda: len(shown.table.items) == size)  # noqa: B023
        await pilot.press("escape")
        await settle(pilot, lambda: not isinstance(app.screen, VocabularyScreen))


async def test_without_ids_there_is_nothing_to_browse(bench: Bench) -> None:
    async with bench.open() as (app, pilot):
        screen = VocabularyScreen(Chosen())
        await app.push_screen(screen)
        await settle(pilot)
        assert "no vocabulary" in screen.query_one(VirtualTable).empty
        await pilot.press("u", "enter", "x", "y", "w", "v", "o")
        assert app.screen is screen
