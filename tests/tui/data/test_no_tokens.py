"""A text that is not empty and has no token: white space, for what leaves white space out."""

import pytest

from nanochat.tokenizer.explore.plain import ByteSplitter, WordSplitter
from tui.data.tokenizer.characters import Glyphs
from tui.data.tokenizer.lines import VIEWS
from tui.data.tokenizer.splitting import Look, Work


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("text", [" ", "\n\n", " \u3000\t ", ""])
def test_it_is_shown_as_nothing(view: str, text: str) -> None:
    shown = Work(Glyphs()).result(text, [(WordSplitter(), Look(view)), (ByteSplitter(), Look(view))])
    words, data = shown.panes
    assert words.lines is not None and data.lines is not None and not words.error
    assert [list(words.lines.tokens_on(line)) for line in range(len(words.lines))] in ([], [[]])
    assert not any(words.lines.pieces(line) for line in range(len(words.lines)))
    found = [token for line in range(len(data.lines)) for token in data.lines.tokens_on(line)]
    assert found == list(range(len(text.encode())))
