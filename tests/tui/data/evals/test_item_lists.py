"""Lists of items: what is kept, in which order, and what a search finds."""

from pathlib import Path

import pytest

from nanochat.evals.items import read_items
from tests.tui.conftest import Bench
from tests.tui.screens.evals_bench import choice_item, write_items
from tui.data.evals.item_list import ItemList, Search, Wanted, next_row


@pytest.fixture
def listed(bench: Bench) -> ItemList:
    """Twelve items of two tasks, with a second evaluation of the first eight of them."""
    first = [choice_item("copa" if at < 6 else "piqa", at, at % 3 != 0) for at in range(12)]
    second = [choice_item("copa" if at < 6 else "piqa", at, at % 2 == 0) for at in range(8)]
    paths = [Path(bench.layout.base, write_items(bench, f"{name}.jsonl", some).path)
             for name, some in (("a", first), ("b", second))]  # fmt: skip
    items, other = map(read_items, paths)
    return ItemList(items, other, {at: at for at in range(8)})


def test_a_list_keeps_a_task_and_what_is_wrong_or_differs(listed: ItemList) -> None:
    assert listed.rows(Wanted()) == list(range(12))
    assert listed.rows(Wanted("piqa")) == list(range(6, 12))
    assert listed.rows(Wanted(only="wrong")) == [0, 3, 6, 9]
    assert listed.rows(Wanted("copa", only="right")) == [1, 2, 4, 5]
    # A is right where 3 does not divide, B where 2 does; of 8 on B has none.
    assert listed.rows(Wanted(only="differing")) == [0, 1, 5, 6, 7]
    assert listed.other_correct(9) is None


def test_a_list_is_sorted_and_what_has_no_value_comes_last(listed: ItemList) -> None:
    margins = [listed.items.margin[row] for row in listed.rows(Wanted(order="margin"))]
    assert margins == sorted(margins)  # type: ignore[type-var]
    down = listed.rows(Wanted(order="item", descending=True))
    assert down == list(reversed(range(12)))
    assert listed.rows(Wanted(order="other"))[-4:] == [8, 9, 10, 11]


def test_a_search_goes_through_all_items_in_slices(listed: ItemList, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.data.evals.item_list.SLICE", 5)
    search = Search(listed.items, "WHICH NUMBER IS 1")
    shares = []
    while not search.is_done:
        search.step()
        shares.append(search.share)
    assert shares == pytest.approx([5 / 12, 10 / 12, 1.0])
    assert search.found == {1, 10, 11}


def test_going_from_match_to_match_goes_round() -> None:
    rows = [row * 10 for row in range(12)]
    matches = {20, 50, 90}
    assert next_row(rows, 5, 1, matches.__contains__) == 9
    assert next_row(rows, 9, 1, matches.__contains__) == 2
    assert next_row(rows, 5, -1, matches.__contains__) == 2
    assert next_row(rows, 1, -1, matches.__contains__) == 9
    assert next_row(rows, 2, 1, {20}.__contains__) == 2
    assert next_row(rows, 3, 1, set[int]().__contains__) is None
    assert next_row([], 0, 1, matches.__contains__) is None


def test_going_to_the_next_match_looks_no_further_than_it() -> None:
    looked: list[int] = []

    def is_match(row: int) -> bool:
        looked.append(row)
        return row >= 503

    assert next_row(range(100_000), 500, 1, is_match) == 503
    assert looked == [501, 502, 503]
