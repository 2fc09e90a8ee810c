"""The heat table: which figure, how hot, which is the best, what is left to measure."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from nanochat.tokenizer.explore.plain import ByteSplitter, CharacterSplitter
from nanochat.tokenizer.sample_texts import KOREAN, NEWS, TEXTS
from tests.tui.screens.vocabulary_bench import opened, write_shards
from tui.data.tokenizer.compression import (
    FIGURES,
    LEVELS,
    Board,
    Column,
    TextSource,
    as_document,
    level,
    measure,
    text_sources,
)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Board:
    """Two texts in bytes, a small vocabulary and characters, measured."""
    layout = Layout(tmp_path_factory.mktemp("base"))
    splitters = [ByteSplitter(), opened(layout, "news", 400).splitter, CharacterSplitter()]
    made = Board(
        [Column(splitter, splitter.name) for splitter in splitters],
        [
            TextSource("news", "built-in", lambda: [NEWS]),
            TextSource("korean", "built-in", lambda: [KOREAN]),
            TextSource("empty", "own", lambda: [""]),
        ],
    )
    while (found := made.missing()) is not None:
        try:
            made.take(*found, measure(*found, lambda: False))
        except UserError as error:
            made.problems[found[0].name] = str(error)
    return made


def test_every_text_is_measured_in_every_tokenizer_or_says_why_not(board: Board) -> None:
    assert board.missing() is None
    assert board.done() == (6, 9)
    assert list(board.measured()) == ["news", "korean"]
    news, korean, empty = board.rows(FIGURES["bytes"])
    assert [cell.text for cell in news.cells if cell][:1] == ["1.000"]
    assert not any(empty.cells) and "no text" in empty.problem
    ours = news.cells[1]
    assert ours is not None and ours.value is not None and ours.value > 1 and ours.best
    assert ours.level == LEVELS - 1
    characters = korean.cells[2]
    assert characters is not None and characters.value is not None
    assert characters.value > 2 and characters.level is None and not characters.best


def test_each_figure_is_that_of_the_text_in_the_tokenizer(board: Board) -> None:
    news = board.rows(FIGURES["fewer"])[0]
    first, ours, _ = news.cells
    assert first is not None and first.text == "–"
    bytes_, count, _ = board.measured()["news"]
    assert ours is not None and ours.value == pytest.approx(100 * (1 - count.tokens / bytes_.tokens))
    tokens = board.rows(FIGURES["tokens"])[0].cells[1]
    assert tokens is not None and tokens.text == f"{count.tokens:,}" and tokens.level == LEVELS - 1
    for figure in FIGURES.values():
        assert all(cell is None or cell.text for row in board.rows(figure) for cell in row.cells)


def test_a_new_tokenizer_alone_is_measured_and_a_text_forgotten(board: Board) -> None:
    more = Board([*board.columns, Column(ByteSplitter(), "again")], board.sources, dict(board.counts))
    found = more.missing()
    assert found is not None and [column.title for column in found[1]] == ["again"]
    more.forget(board.sources[0])
    found = more.missing()
    assert found is not None and len(found[1]) == 4


def test_the_document_is_that_of_tok_compare(board: Board) -> None:
    assert as_document(board.measured(), "csv").count("\n") == 7
    assert as_document(board.measured(), "md").startswith("# Compression\n")
    assert '"korean"' in as_document(board.measured(), "json")


values = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=12)


@given(values, st.booleans())
def test_the_heat_rises_with_what_is_better(among: list[float], higher: bool) -> None:
    levels = [level(value, among, higher) for value in sorted(among, reverse=not higher)]
    if None in levels:
        assert set(levels) == {None}
    else:
        known = [one for one in levels if one is not None]
        assert known == sorted(known)
        assert (known[0], known[-1]) == (0, LEVELS - 1)


def test_texts_are_built_in_of_corpora_and_own(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert [source.name for source in text_sources(layout, [])] == list(TEXTS)
    write_shards(tmp_path / "base_data")
    own = tmp_path / "news"
    own.mkdir()
    (own / "a.txt").write_text("one two", encoding="utf-8")
    names = [source.name for source in text_sources(layout, [str(own), str(own)])]
    assert names == [*TEXTS, "train", "val", "news-2", "news-3"]
    found = {source.name: list(source.documents()) for source in text_sources(layout, [str(own)])}
    assert found["news-2"] == ["one two"]
    assert TEXTS["news"] in found["val"][0]
    write_shards(tmp_path / "plan" / "data")
    assert "plan/data train" in [source.name for source in text_sources(layout, [])]
