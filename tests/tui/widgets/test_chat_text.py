"""Answers as lines: Markdown and tokens that grow give the same as the whole text, in bounded slices."""

import random
import string

import pytest
from rich.cells import cell_len

from nanochat.common.text import UNSAFE
from nanochat.serve.answer_tokens import AnswerToken
from nanochat.serve.conversation import Part
from tui.widgets.chat.markdown_blocks import SLICE, Block, MarkdownBlocks
from tui.widgets.chat.sections import AnswerSection, Section, TextSection, TokenSection, block_in
from tui.widgets.chat.wrapping import Line, wrap

SAMPLE = """# Title

A *first* paragraph with **bold** text, `code` and
a second line. [link](http://a.b/c) ![alt](http://p/q.png)

- one
- two
  - deeper
- three

1. first
2. second

> quoted
> text

```python
def f(x):
\treturn x  # `not inline`
```

| a | b |
|---|---|
| 1 | 日本 |

<b>html</b>

---
the end
"""
LONG_CODE = "before\n\n```\n" + "\n".join(f"line {n}" for n in range(3000)) + "\n```\n\nafter **it**"
HOSTILE = "\x1b[31mred\x1b]0;title\x07 \x9b2J \u202eright \u200bhidden &#8238;entity &#27; a\rb\r\nc"


def blocks_of(text: str, pieces: int = 1) -> MarkdownBlocks:
    """The blocks of a text that came in so many pieces."""
    made = MarkdownBlocks()
    size = -(-len(text) // pieces)
    for at in range(0, len(text), size):
        made.feed(text[at : at + size])
        while not made.advance():
            pass
    return made


def shown(blocks: MarkdownBlocks, width: int = 60) -> str:
    return "\n".join(plain(line) for block in blocks.blocks for line in wrap(block, width))


def plain(line: Line) -> str:
    return "".join(text for text, _ in line)


def finish(section: Section) -> None:
    while not section.advance():
        pass


def test_markdown_is_shown_as_lines() -> None:
    assert shown(blocks_of(SAMPLE)).split("\n") == [
        "# Title",
        "",
        "A first paragraph with bold text, code and",
        "a second line. link (http://a.b/c) [picture: alt]",
        "(http://p/q.png)",
        "",
        "• one",
        "• two",
        "  • deeper",
        "• three",
        "",
        "1. first",
        "2. second",
        "",
        "▌ quoted",
        "▌ text",
        "",
        "▎ def f(x):",
        "▎     return x  # `not inline`",
        "",
        "a │ b   ",
        "──┼─────",
        "1 │ 日本",
        "",
        "<b>html</b>",
        "",
        "─" * 12,
        "",
        "the end",
    ]


@pytest.mark.parametrize(
    "text", [SAMPLE, LONG_CODE, HOSTILE, SAMPLE * 40, "x" * 9000], ids=lambda text: text[:8]
)
@pytest.mark.parametrize("pieces", [1, 7, 100])
def test_text_that_grows_ends_as_it_would_whole(text: str, pieces: int) -> None:
    assert shown(blocks_of(text, pieces)) == shown(blocks_of(text, 3))


def test_what_is_settled_never_changes_and_only_the_end_is_parsed_again() -> None:
    made = MarkdownBlocks()
    settled: list[Block] = []
    for at in range(0, len(SAMPLE) * 3, 5):
        made.feed((SAMPLE * 3)[at : at + 5])
        while not made.advance():
            pass
        assert made.blocks[: len(settled)] == settled
        settled = made.blocks[: made.settled]
    assert len(settled) > 40


def test_a_code_block_that_grows_is_settled_line_by_line() -> None:
    made = blocks_of("```\n" + "a line of code\n" * 2000)
    assert made.settled == len(made.blocks) == 2000


@pytest.mark.parametrize(
    "letter", ["x", "[", "*a*", "`", "> ", "- ", "| a |\n|---|\n", "\n", "&", "<", "́", "日"]
)
def test_a_long_text_of_one_thing_is_taken_in_slices(letter: str) -> None:
    text = letter * (40_000 // len(letter))
    made = MarkdownBlocks()
    made.feed(text)
    steps = 0
    while not made.advance():
        steps += 1
        assert steps < 3 * len(text) // SLICE + 10, "no progress"
    for block in made.blocks[:50]:
        for line in wrap(block, 40):
            assert cell_len(plain(line)) <= 40
            assert len(plain(line)) <= 40 * 4 + 8


def test_nothing_in_an_answer_acts_on_the_terminal() -> None:
    for text in (
        HOSTILE,
        f"`{HOSTILE}`",
        f"```\n{HOSTILE}\n```",
        f"| {HOSTILE} |\n|--|",
        f"[a](<{HOSTILE}>)",
    ):
        for pieces in (1, 11):
            found = shown(blocks_of(text, pieces)).replace("\n", "")
            assert not UNSAFE.search(found)
    assert "␛]0;title␇" in shown(blocks_of(HOSTILE))


def test_random_text_in_random_pieces_is_all_shown_within_its_width() -> None:
    chosen = random.Random(1)
    alphabet = string.ascii_letters + "   \n\n*_`#>-|[]()!~\\<&;1. 日本é🙂\t"
    for _ in range(60):
        text = "".join(chosen.choice(alphabet) for _ in range(chosen.randrange(1, 1500)))
        made = MarkdownBlocks()
        at = 0
        while at < len(text):
            size = chosen.randrange(1, 200)
            made.feed(text[at : at + size])
            at += size
            while not made.advance():
                pass
        letters = {letter for letter in text if letter.isalpha()}
        assert letters <= set(shown(made, 33))
        for line in shown(made, 33).split("\n"):
            assert cell_len(line) <= 33


# ---- answers and tokens --------------------------------------------------------------------------------


def test_tool_calls_stand_apart_from_what_is_said() -> None:
    section = AnswerSection(40)
    parts = [Part("text", "It is "), Part("python", "6*6"), Part("python_output", "36")]
    section.show(parts)
    finish(section)
    parts += [Part("text", "36, "), Part("text", "**sure**.")]
    finish(section)
    assert [plain(line) for line in section.lines] == ["It is", "  ⚙ 6*6", "  = 36", "36, sure."]
    assert section.lines[1][1][1] == "tool"


def test_a_long_question_comes_in_slices() -> None:
    section = TextSection("word " * 40_000, 40, "question", "› ", "  ")
    steps = 0
    while not section.advance():
        steps += 1
    assert steps > 40
    assert plain(section.lines[0]).startswith("› word word")
    assert sum(plain(line).count("word") for line in section.lines) == 40_000


def tokens(*texts: str | bytes, logprob: float = -0.01) -> list[AnswerToken]:
    raws = [text.encode() if isinstance(text, str) else text for text in texts]
    return [AnswerToken(raw.decode("utf-8", "replace"), raw, logprob) for raw in raws]


def test_tokens_keep_their_places_and_share_a_character_in_one_block() -> None:
    emoji = "🙂".encode()
    said = tokens("Hello", " world", "\n", emoji[:2], emoji[2:], " and", " more", " words", " here")
    section = TokenSection(16)
    section.show(said, is_done=True)
    finish(section)
    assert [plain(line).rstrip() for line in section.lines] == ["Hello world⏎", "🙂 and more", "words here"]
    assert [section.line_of(at) for at in range(9)] == [0, 0, 0, 1, 1, 1, 1, 2, 2]
    assert section.block_of(3) == section.block_of(4)
    assert section.token_near(0, 7) == 1
    assert section.token_near(1, 0) == 3
    assert section.token_near(1, 99) == 6
    assert section.column_of(8) == 5


def test_tokens_that_grow_only_add_lines() -> None:
    said = tokens(*[f" word{n}" for n in range(500)])
    whole = TokenSection(30)
    whole.show(said, is_done=True)
    finish(whole)
    growing = TokenSection(30)
    for end in range(0, 501, 7):
        before = growing.lines[: growing.fixed]
        growing.show(said[:end], is_done=False)
        finish(growing)
        assert growing.lines[: len(before)] == before
    growing.show(said, is_done=True)
    finish(growing)
    assert growing.lines == whole.lines


def test_the_look_of_a_token_says_how_likely_it_was() -> None:
    section = TokenSection(60)
    said = [AnswerToken("a", b"a", logprob) for logprob in (-0.01, -0.5, -1.5, -4.0, -9.0, None)]
    section.show(said, is_done=True)
    finish(section)
    looks = [look for _, look in section.lines[0]]
    assert [look.partition(" ")[0] for look in looks] == ["p0", "p1", "p2", "p3", "p4", "p"]
    assert [block_in(look) for look in looks] == list(range(6))


@pytest.mark.parametrize("answer", ["35.", "42)", "7.\n"])
def test_an_answer_of_only_a_number_is_no_empty_list(answer: str) -> None:
    assert shown(blocks_of(answer)).strip() == answer.strip()
