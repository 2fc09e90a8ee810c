"""Choosing a tokenizer: of the base directory, of a host, by name, by path."""

from pathlib import Path

from textual.pilot import Pilot

from remote.fleet.tokenizers import HostTokenizer
from remote.hosts.book import Host, HostBook
from tests.tui.conftest import Bench, settle
from tests.tui.screens.vocabulary_bench import trained
from tui.app import ControlRoom
from tui.screens.tokenizer.picker import TokenizerPicker


def on_box(folder: str, identity: str, vocab_size: int = 4096) -> HostTokenizer:
    return HostTokenizer("box", folder, {"tokenizer.json": 3}, vocab_size, identity)


async def opened(app: ControlRoom, pilot: Pilot[str], chosen: list[str | None]) -> TokenizerPicker:
    picker = TokenizerPicker(app)
    await app.push_screen(picker, chosen.append)
    await settle(pilot, lambda: len(picker.table.items) > 5)
    return picker


def names(picker: TokenizerPicker) -> list[str]:
    return [source.name for source in picker.table.items]


def note(picker: TokenizerPicker) -> str:
    return str(picker._note.content)


async def test_a_tokenizer_of_a_host_is_copied_and_chosen(bench: Bench, tmp_path: Path) -> None:
    for name in ("box", "away"):
        HostBook(bench.layout).add(Host(name, address="127.0.0.1", user="me"))
    trained("news", 300).save(bench.layout.tokenizer)
    told = bench.fleet.quiet_tokenizers
    told.told["box"] = [on_box("tokenizer", "ab"), on_box("sweep/\x1b[31m8192", "cd", 0)]
    told.copies["ab"] = tmp_path / "copy"
    chosen: list[str | None] = []
    async with bench.open() as (app, pilot):
        picker = await opened(app, pilot, chosen)
        await settle(pilot, lambda: len(picker.table.items) == 9 and "away" in note(picker))
        assert names(picker)[0] == "tokenizer (300)" and names(picker)[-2] == "tokenizer (4,096)"
        assert note(picker) == "no answer from away"
        shown = "\n".join(strip.text for strip in picker.table.render_lines(picker.table.size.region))
        assert "\x1b" not in shown and "on box" in shown
        picker.search.value = "8192"
        await settle(pilot, lambda: names(picker)[0].startswith("sweep"))
        await pilot.press("enter")  # there is no copy of it, and its host is gone
        await settle(pilot, lambda: note(picker).startswith("✗ host 'box' is unreachable"))
        assert app.screen is picker
        picker.search.value = "on box 4,096"
        await settle(pilot, lambda: len(picker.table.items) == 1)
        await pilot.press("enter")
        await settle(pilot, lambda: chosen == [str(tmp_path / "copy")])


async def test_a_name_or_a_path_is_taken_as_typed(bench: Bench) -> None:
    chosen: list[str | None] = []
    async with bench.open(size=(80, 24)) as (app, pilot):
        picker = await opened(app, pilot, chosen)
        assert names(picker) == ["GPT-2", "cl100k", "o200k", "bytes", "characters", "words"]
        picker.search.value = "~/x/tokenizer.json"
        await settle(pilot, lambda: names(picker) == ["~/x/tokenizer.json"])
        await pilot.press("enter")
        await settle(pilot, lambda: chosen == ["~/x/tokenizer.json"])
        picker = await opened(app, pilot, chosen)
        await pilot.press("down", "down", "enter")
        await settle(pilot, lambda: chosen[1:] == ["o200k"])
        picker = await opened(app, pilot, chosen)
        await pilot.press("escape")
        await settle(pilot, lambda: chosen[2:] == [None])
