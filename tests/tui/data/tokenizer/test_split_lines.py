"""A text in the tokens of any tokenizer, as lines that a terminal can show: right widths, nothing hidden."""

import random
from functools import cache

import numpy as np
import pytest
from rich.cells import cell_len

from nanochat.common.text import UNSAFE
from nanochat.tokenizer.explore.byte_level import RankSplitter
from nanochat.tokenizer.explore.plain import ByteSplitter, CharacterSplitter, WordSplitter
from nanochat.tokenizer.explore.splitter import Split, Splitter
from nanochat.tokenizer.tokenizer import SPLIT_PATTERN, Tokenizer
from tui.data.tokenizer.changes import first_changed_line
from tui.data.tokenizer.characters import Glyphs
from tui.data.tokenizer.lines import TextLines, View
from tui.data.tokenizer.samples import SAMPLES
from tui.data.tokenizer.splitting import Look, Result, Shown, Work

VIEWS: tuple[View, ...] = ("tokens", "ids", "table")
FAMILY = "👨\u200d👩\u200d👧"
ODD = (
    "",
    "\n",
    "a\r\nb\r\n",
    "\ttab\tand\t",
    "\x1b[31mred\x1b]0;title\x07\x00\x9b",
    f"x {FAMILY} 👍🏽 🇰🇷 ❤\ufe0f",
    "e\u0301 and \u0301 alone, z" + "\u0335\u0336\u0337\u0338" * 9,
    "\u202eright to left\u202c \u2066isolated\u2069 שלום",
    "한글 각 \u1100\u1161\u11a8 ﷽ \u3164",
    "\u2028line\u2029paragraph\ufeff",
    "龘靐齉爩" * 40,
    "a" * 500,
)


@cache
def small() -> Splitter:
    """A vocabulary of 300 ids: it cuts most characters that are not ASCII."""
    made = Tokenizer.train_from_iterator([SAMPLES["English"]], 300)
    return RankSplitter("small", made.ranks, SPLIT_PATTERN)


def splitters() -> list[Splitter]:
    return [small(), ByteSplitter(), CharacterSplitter(), WordSplitter()]


def shown(text: str, look: Look, splitter: Splitter, glyphs: Glyphs | None = None) -> Shown:
    return Work(glyphs or Glyphs()).result(text, [(splitter, look)]).panes[0]


def painted(one: Shown, line: int) -> str:
    assert one.lines is not None
    return "".join(text for text, _ in one.lines.pieces(line))


@pytest.mark.parametrize("text", [*SAMPLES.values(), *ODD])
@pytest.mark.parametrize("width", [8, 37, 120])
@pytest.mark.parametrize("separated", [False, True])
def test_lines_are_as_wide_as_they_say_and_harmless(text: str, width: int, separated: bool) -> None:
    for splitter in splitters():
        one = shown(text, Look("tokens", width, separated), splitter)
        assert isinstance(one.lines, TextLines) and one.blocks is not None and one.split is not None
        tokens: list[int] = []
        for line in range(len(one.lines)):
            shown_line = painted(one, line)
            atoms = slice(int(one.lines.starts[line]), int(one.lines.starts[line + 1]))
            assert cell_len(shown_line) == one.blocks.cells[atoms].sum()
            assert cell_len(shown_line) <= width or atoms.stop - atoms.start == 1
            assert not UNSAFE.search(shown_line) and "\ufffd" not in shown_line
            assert sum(map(cell_len, shown_line)) == cell_len(shown_line), "nothing joins with its neighbour"
            tokens += one.lines.tokens_on(line)
        assert sorted(set(tokens)) == list(range(len(one.split))), "every token stands on a line"


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_knows_where_its_tokens_are(view: View) -> None:
    one = shown(SAMPLES["emoji"], Look(view, 40), small())
    assert one.lines is not None and one.split is not None
    for token in range(len(one.split)):
        line = one.lines.line_of(token)
        assert line == one.lines.lines_of(token).start
        assert token in one.lines.tokens_on(line)
        assert any(owner == token for _, owner in one.lines.pieces(line))


def test_tokens_that_share_a_character_are_one_block_with_their_bytes() -> None:
    one = shown("a龘b", Look(), ByteSplitter())
    assert painted(one, 0) == "a龘⟨e9│be│98⟩b"
    assert one.lines is not None
    assert [owner for _, owner in one.lines.pieces(0)] == [0, 1, 1, -1, 2, -1, 3, 3, 4]
    ascii_only = shown("a龘b", Look(), ByteSplitter(), Glyphs(unicode=False))
    assert painted(ascii_only, 0) == "a龘<e9|be|98>b"


def test_a_family_is_its_members_one_by_one() -> None:
    assert painted(shown(FAMILY, Look(), CharacterSplitter()), 0) == "👨⟨200d⟩👩⟨200d⟩👧"


def test_a_mark_whose_letter_is_in_another_token_stands_on_a_circle() -> None:
    alone = shown("e\u0301", Look(), CharacterSplitter())
    assert painted(alone, 0) == "e◌\u0301"
    together = shown("e\u0301", Look(), WordSplitter())
    assert painted(together, 0) == "e\u0301"
    piled = painted(shown("e" + "\u0301" * 9, Look(), WordSplitter()), 0)
    assert piled.count("◌") == 6, "what piles up higher would cover other lines"


def test_line_ends_and_tabs_are_seen() -> None:
    one = shown("a\tb\r\n\nc", Look(), WordSplitter())
    assert one.lines is not None
    assert [painted(one, line) for line in range(len(one.lines))] == ["a⇥   b␍↵", "↵", "c"]


def test_separators_stand_after_every_token_also_in_ascii() -> None:
    one = shown("to be", Look("tokens", 40, separated=True), WordSplitter(), Glyphs(unicode=False))
    assert painted(one, 0) == "to| be|" or painted(one, 0) == "to |be|"


def test_an_empty_token_is_seen() -> None:
    class Added(CharacterSplitter):
        def split(self, text: str) -> Split:
            return Split(text, np.array([7, 1, 9], np.uint32), np.array([0, 1, 1]))

    one = shown("x", Look(), Added())
    assert painted(one, 0) == "∅x∅"
    assert one.lines is not None and list(one.lines.tokens_on(0)) == [0, 1, 2]


def test_only_what_changed_is_drawn_again() -> None:
    """Lines that are said to be as before are painted as before, whatever is typed where."""
    draw = random.Random(3)
    text = "".join(draw.choice([*SAMPLES["English"], *SAMPLES["emoji"], "\n"]) for _ in range(1_500))
    work, skipped = Work(Glyphs()), 0
    for splitter in splitters():
        before = work.result(text, [(splitter, Look("tokens", 30)), (small(), Look("tokens", 30))])
        for _ in range(25):
            at = draw.randrange(len(text))
            after_text = (
                text[:at] + draw.choice(["x", "", "é", "\n", FAMILY]) + text[at + draw.randrange(3) :]
            )
            after = work.result(after_text, [(splitter, Look("tokens", 30)), (small(), Look("tokens", 30))])
            skipped += compare(before, after)
            before, text = after, after_text
    assert skipped > 100


def compare(before: Result, after: Result) -> int:
    """How many lines were said to be the same, which are."""
    same = 0
    for one, other in zip(before.panes, after.panes, strict=True):
        assert one.lines is not None and other.lines is not None
        until = first_changed_line(one, other)
        for line in range(until):
            assert one.lines.pieces(line) == other.lines.pieces(line)
            assert one.differs is not None and other.differs is not None
            tokens = one.lines.tokens_on(line)
            assert tokens == other.lines.tokens_on(line)
            assert (
                one.differs[tokens.start : tokens.stop] == other.differs[tokens.start : tokens.stop]
            ).all()
        same += until
    return same


def test_differences_leave_bytes_and_characters_out() -> None:
    look = Look()
    work = Work(Glyphs())
    result = work.result("a big text", [(small(), look), (small(), look), (ByteSplitter(), look)])
    assert result.differences is not None and len(result.differences) == 0
    alone = work.result("the tokenizer", [(small(), look), (ByteSplitter(), look)])
    assert alone.differences is not None and len(alone.differences) > 0
    marks = alone.panes[0].differs
    assert marks is not None and marks.any()
    assert work.result("x", [(small(), look)]).differences is None


def test_a_tokenizer_that_gives_up_is_told_and_the_others_are_shown() -> None:
    from nanochat.common.errors import UserError

    class GivesUp(CharacterSplitter):
        def split(self, text: str) -> Split:
            raise UserError("it gives up")

    result = Work(Glyphs()).result("text", [(GivesUp(), Look()), (ByteSplitter(), Look())])
    assert result.panes[0].error == "it gives up" and result.panes[0].lines is None
    assert result.panes[1].figures is not None and result.panes[1].figures.tokens == 4


def test_half_a_surrogate_pair_is_a_text_too() -> None:
    one = shown("a\ud83d b", Look(), ByteSplitter())
    assert one.split is not None and "\ud83d" not in one.split.text


@pytest.mark.parametrize("width", [30, 37, 60])
def test_a_row_of_the_table_is_cut_with_a_sign_never_silently(width: int) -> None:
    text = "a antidisestablishmentarianism"
    found = shown(text, Look("table", width), WordSplitter()).lines
    assert found is not None
    short, long = ("".join(part for part, _ in found.pieces(line)) for line in (0, 1))
    assert "…" not in short and short.endswith("61")
    assert cell_len(long) <= width and long.endswith(" …")
    assert "antidisestablishmentarianism" in long or "… " in long
