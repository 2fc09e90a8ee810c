"""Tokens as blocks that can be painted: all the text, each token once, no torn character."""

import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from nanochat.common.text import clean_text
from nanochat.serve.answer_tokens import AnswerToken
from tui.data.chat.shading import TokenBlocks


def tokens_of(raws: list[bytes], logprob: float | None = -0.5) -> list[AnswerToken]:
    return [AnswerToken(raw.decode("utf-8", "replace"), raw, logprob) for raw in raws]


@given(st.text(), st.lists(st.integers(0, 60)), st.lists(st.integers(0, 20)))
def test_however_the_bytes_are_cut_the_blocks_are_the_text(
    said: str, cuts: list[int], batches: list[int]
) -> None:
    raw = said.encode("utf-8", "replace")
    places = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    tokens = tokens_of([raw[a:b] for a, b in pairwise(places)])
    blocks = TokenBlocks()
    done = 0
    for size in batches:
        blocks.add(tokens[done : done + size])
        done = min(len(tokens), done + size)
    blocks.add(tokens[done:])
    blocks.end()
    assert [block.first for block in blocks.blocks] == [0, *(b.end for b in blocks.blocks)][
        : len(blocks.blocks)
    ]
    assert (blocks.blocks[-1].end if blocks.blocks else 0) == len(tokens)
    for block in blocks.blocks:
        own = b"".join(token.raw for token in tokens[block.first : block.end])
        assert block.text == clean_text(own.decode("utf-8", "replace"))


def test_a_character_of_several_tokens_is_one_block_as_likely_as_all_of_them() -> None:
    emoji = "🙂".encode()
    blocks = TokenBlocks()
    blocks.add(tokens_of([b"a", emoji[:2]]))
    assert [block.text for block in blocks.blocks] == ["a"]  # half a character is not shown
    blocks.add(tokens_of([emoji[2:], b"\x1b["]))
    assert [(block.text, block.first, block.end) for block in blocks.blocks] == [
        ("a", 0, 1),
        ("🙂", 1, 3),
        ("␛[", 3, 4),
    ]
    assert math.isclose(blocks.blocks[1].probability or 0, math.exp(-1.0))


def test_half_a_character_at_the_end_is_shown_as_such() -> None:
    blocks = TokenBlocks()
    blocks.add(tokens_of([b"\xf0\x9f"], None))
    blocks.end()
    assert [(block.text, block.probability) for block in blocks.blocks] == [("\ufffd", None)]
