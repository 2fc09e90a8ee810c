"""Items read once, with a word about how far it is."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from nanochat.evals.items import Items, read_items
from tests.tui.conftest import Bench
from tests.tui.screens.evals_bench import LocalEvaluations, choice_item, evaluation, write_items
from tui.data.evals.item_source import ItemSource


def source(bench: Bench, tell: Callable[[str], None]) -> ItemSource:
    fleet = SimpleNamespace(evaluations=LocalEvaluations(bench.layout.base))
    return ItemSource(lambda: fleet, tell)  # type: ignore[arg-type,return-value]


async def test_a_reading_that_was_given_up_tells_nothing_more(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    told: list[str] = []

    def slow(path: Path, tell: Callable[[int, int], None]) -> Items:
        tell(1, 4)
        begun.set()
        go_on.wait(10)
        tell(3, 4)
        return read_items(path)

    monkeypatch.setattr("nanochat.evals.items.read_items", slow)
    one = evaluation(1, "base/d4", items=write_items(bench, "a.jsonl", [choice_item("copa", 0, True)]))
    reading = asyncio.create_task(source(bench, told.append).items(one))
    await asyncio.to_thread(begun.wait, 10)
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    go_on.set()
    await asyncio.get_running_loop().shutdown_default_executor()
    await asyncio.sleep(0)
    assert told == ["reading 25% of 4B"]


async def test_what_one_screen_has_read_and_compared_another_need_not(bench: Bench) -> None:
    first, second = (
        evaluation(
            number,
            f"base/d{number}",
            items=write_items(
                bench, f"{number}.jsonl", [choice_item("copa", at, at % number == 0) for at in range(6)]
            ),
        )
        for number in (2, 3)
    )
    told: list[str] = []
    begun = source(bench, told.append)
    comparison = await begun.compare(first, second)
    assert "comparing item by item …" in told
    told.clear()
    anew: list[str] = []
    other = begun.telling(anew.append)
    assert await other.compare(first, second) is comparison
    listed, _ = await other.open(first, second)
    assert listed.items is await begun.items(first) and not told and not anew
    await other.compare(second, first)
    assert anew == ["comparing item by item …"] and not told
