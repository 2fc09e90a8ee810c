"""A text is found wherever it stands, however its lines were broken, and marked there and nowhere else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.serve.conversation import Part
from tui.data.chat.finding import Line, find_in_lines, marked, pattern
from tui.widgets.chat.sections import AnswerSection, Section, TextSection

WORDS = st.lists(
    st.sampled_from(["to", "o", "cat", "over", "Straße", "日本語", "supercalifragilistic", "x.y"])
)


def lines_of(section: Section) -> list[Line]:
    while not section.advance():
        pass
    return section.lines


def texts_found(lines: list[Line], wanted: str, most: int = 100) -> list[str]:
    """What stands at each place that was found."""
    plain = ["".join(text for text, _ in line) for line in lines]
    compiled = pattern(wanted)
    assert compiled is not None
    return [
        "|".join(plain[piece.line][piece.start : piece.end] for piece in match)
        for match in find_in_lines(lines, compiled, most)
    ]


@pytest.mark.slow
@given(WORDS, st.integers(8, 30), st.data())
def test_as_many_places_are_found_as_the_text_has_at_any_width(
    words: list[str], width: int, data: st.DataObject
) -> None:
    text = " ".join(words)
    if not text:
        return
    start = data.draw(st.integers(0, len(text) - 1))
    wanted = text[start : data.draw(st.integers(start + 1, len(text)))]
    compiled = pattern(wanted)
    if compiled is None:
        assert wanted.isspace()
        return
    for section in (
        TextSection(text, width, "question", "› ", "  "),
        AnswerSection(width),
    ):
        if isinstance(section, AnswerSection):
            section.show([Part("text", text)])
        found = texts_found(lines_of(section), wanted, 10_000)
        assert len(found) == len(compiled.findall(text))
        squeezed = "".join(wanted.split()).lower()
        assert all("".join(one.replace("|", "").split()).lower() == squeezed for one in found)


def test_case_and_white_space_do_not_matter_and_marks_of_lines_are_no_text() -> None:
    answer = AnswerSection(12)
    answer.show(
        [Part("text", "It is **in Par**is,\nParis. `in`\n\n> in paris\n\n- is\n"), Part("python", "2+2")]
    )
    lines = lines_of(answer)
    assert texts_found(lines, "IN   paris") == ["in Par|is", "in paris"]
    assert texts_found(lines, "is") == ["is", "is", "is", "is", "is"]
    assert texts_found(lines, "2+2") == ["2+2"] and texts_found(lines, "▌") == [] == texts_found(lines, "⚙")
    assert texts_found(lines, "(") == [] and texts_found(lines, "is", 2) == ["is", "is"]


def test_marks_take_nothing_from_the_line_and_keep_its_looks() -> None:
    line = (("  ", "mark"), ("", "cut"), ("one ", ""), ("two", "strong"), ("three", "p2 t17"))
    assert marked(line, [(3, 7, False), (9, 11, True)]) == (
        ("  ", "mark"), ("o", ""), ("ne ", "found"), ("t", "strong found"), ("wo", "strong"),
        ("th", "p2 found-here t17"), ("ree", "p2 t17"),
    )  # fmt: skip
