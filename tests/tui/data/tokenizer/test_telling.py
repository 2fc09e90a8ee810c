"""The figures of a pane in words: more or fewer tokens is never a bare sign."""

import pytest

from nanochat.tokenizer.explore.plain import ByteSplitter, CharacterSplitter
from tui.data.tokenizer.characters import Glyphs
from tui.data.tokenizer.splitting import Look, Work
from tui.data.tokenizer.telling import figure_lines


def lines(text: str, width: int, bytes_first: bool) -> tuple[str, str]:
    splitters = [ByteSplitter(), CharacterSplitter()]
    order = splitters if bytes_first else splitters[::-1]
    result = Work(Glyphs()).result(text, [(splitter, Look()) for splitter in order])
    return figure_lines(result.panes[1], "A", width)


@pytest.mark.parametrize(
    ("text", "bytes_first", "words"),
    [("éé", True, "50.0 % fewer"), ("éé", False, "100.0 % more"), ("abc", True, "as many")],
)
def test_more_and_fewer_are_words(text: str, bytes_first: bool, words: str) -> None:
    first, second = lines(text, 38, bytes_first)
    assert second.startswith(f"{words} · len ×") and len(second) < 38
    assert words not in first
    wide = lines(text, 80, bytes_first)[0]
    assert wide.endswith(f"{words} as A" if words == "as many" else f"{words} than A")
    tight = lines(text, 46, bytes_first)[0]
    assert words in tight and len(tight) < 46, "where the letter is too much it is left out"
