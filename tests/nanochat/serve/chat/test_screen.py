"""What a terminal gets of an answer that may hold anything."""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.serve.conversation import Part
from nanochat.serve.terminal.screen import AnswerScreen, PlainAnswer, SafeText, is_styled, wrapped


class Screen(io.StringIO):
    """A terminal that keeps what is written to it."""

    def isatty(self) -> bool:
        return True


def painted(text: str, cuts: list[int], longest: int = 20_000) -> str:
    safe, out, last = SafeText(longest), "", 0
    for cut in [*sorted(cut % (len(text) + 1) for cut in cuts), len(text)]:
        out += safe.feed(text[last:cut])
        last = max(last, cut)
    return out + safe.end()


pieces = st.sampled_from(
    ["\x1b", "[", "31", ";", "m", "]0;x", "\x07", "\r", "\n", "\r\n", "a", "é", "\x9b", "‮", "\t", "\x7f"]
)


@given(st.lists(pieces, max_size=30).map("".join), st.lists(st.integers(0, 200), max_size=6))
def test_no_text_however_it_is_cut_acts_on_the_terminal(text: str, cuts: list[int]) -> None:
    shown = painted(text, cuts)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", shown)
    assert shown == painted(text, [])
    assert shown.count("\n") == text.replace("\r\n", "\n").count("\n")


@given(st.text(st.characters(categories=["L", "N", "Zs"], include_characters="\n\t"), max_size=50))
def test_plain_text_is_painted_as_it_is(text: str) -> None:
    assert painted(text, [3, 9]) == text


def test_a_line_of_a_megabyte_is_painted_in_part_and_counted() -> None:
    shown = painted("short\n" + "x" * 1_000_000 + "\nshort", list(range(0, 1_000_000, 4_096)), 1_000)
    assert shown == "short\n" + "x" * 1_000 + " … +999,000 characters\nshort"


def test_tool_calls_are_set_apart() -> None:
    screen = Screen()
    answer = AnswerScreen(screen, styled=False)
    for part in (
        Part("text", "It is "),
        Part("python", "6*7\x1b[2J"),
        Part("python_output", "42"),
        Part("text", "42"),
        Part("python", "1/0"),
        Part("text", "done"),
    ):
        answer.show(part)
    answer.end()
    assert screen.getvalue() == "It is \n  ⚙ 6*7␛[2J → 42\n42\n  ⚙ 1/0\ndone\n"


def test_a_pipe_gets_the_text_as_it_is_and_nothing_else() -> None:
    out, aside = io.StringIO(), io.StringIO()
    answer = PlainAnswer(out, aside)
    for part in (
        Part("text", "a\x1b[31m"),
        Part("python", "6*7"),
        Part("python_output", "42"),
        Part("text", "b"),
    ):
        answer.show(part)
    answer.end()
    assert out.getvalue() == "a\x1b[31mb\n"
    assert aside.getvalue() == "⚙ 6*7\n  → 42\n"


def test_a_terminal_gets_the_answer_of_one_question_made_harmless() -> None:
    screen = Screen()
    answer = PlainAnswer(screen, screen)
    for part in (Part("text", "a\x1b]0;x\x07"), Part("python", "6*7"), Part("text", "b\n")):
        answer.show(part)
    answer.end()
    assert screen.getvalue() == "a␛]0;x␇\n⚙ 6*7\nb\n"


def test_colours_are_left_out_where_they_are_not_wanted() -> None:
    assert is_styled(Screen(), {})
    assert not is_styled(Screen(), {"NO_COLOR": "1"})
    assert not is_styled(Screen(), {"TERM": "dumb"})
    assert not is_styled(io.StringIO(), {})


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_told_lines_break_between_words_and_a_tables_columns_stay(width: int) -> None:
    text = "/save [FILE]  save as Markdown and JSON; the name that ends so\n\nctrl+c stops · enter sends it"
    lines = wrapped(text, width).split("\n")
    assert all(len(line) <= width for line in lines) and "" in lines
    assert " ".join(" ".join(lines).split()) == " ".join(text.split())
    first = lines[: lines.index("")]
    if width >= 40:
        assert all(line.startswith(" " * 14) for line in first[1:]) and first[0].startswith(
            "/save [FILE]  save"
        )
    assert wrapped("x" * 300, width) == "x" * 300
