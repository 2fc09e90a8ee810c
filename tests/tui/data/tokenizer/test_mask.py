"""The lines of a mask: every token once, in order, one kind a line, within the width."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from nanochat.tokenizer.tokenizer import Tokenizer
from tui.data.tokenizer.mask import MARGIN, MaskLine, detail, lay_out, summary
from tui.data.tokenizer.talks import SAMPLES

TOKENIZER = Tokenizer.train_from_iterator(["what is it? so it is, be brief. " * 9], 290)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\ufffd"), max_size=40)
PARTS = st.lists(
    st.fixed_dictionaries({"type": st.sampled_from(("text", "python", "python_output")), "text": TEXT}),
    max_size=4,
)


def talk(system: str | None, asked: str, answer: Any) -> list[dict[str, Any]]:
    first = [] if system is None else [{"role": "system", "content": system}]
    return [*first, {"role": "user", "content": asked}, {"role": "assistant", "content": answer}]


def drawn(lines: list[MaskLine]) -> list[int]:
    """The tokens in the order in which they are drawn."""
    found: list[int] = []
    for line in lines:
        for piece in line.pieces:
            found += [token for token in range(piece.first, piece.last) if token not in found[-8:]]
    return found


@given(
    messages=st.builds(talk, st.none() | TEXT, TEXT, TEXT | PARTS),
    limit=st.integers(1, 60),
    width=st.integers(24, 100),
)
def test_every_token_is_drawn_once_beside_its_own_mask(
    messages: list[dict[str, Any]], limit: int, width: int
) -> None:
    found = TOKENIZER.annotate_conversation(messages, limit)
    ids, mask = TOKENIZER.render_conversation(messages, limit)
    lines = lay_out(found, width)
    assert drawn(lines) == list(range(len(found.tokens)))
    for line in lines:
        size = sum(cell_len(piece.text) for piece in line.pieces) + max(0, len(line.pieces) - 1)
        assert size <= width - MARGIN
        for piece in line.pieces:
            assert line.cut == (piece.first >= limit)
            if not line.cut:
                assert [mask[token] for token in range(piece.first, piece.last)] == [int(line.trained)] * (
                    piece.last - piece.first
                )
            assert not {"\n", "\x1b", "\ufffd"} & set(piece.text)
    assert sum(not line.pieces for line in lines) == (1 if len(found.tokens) > limit else 0)
    told = summary(found)
    assert f"{len(ids):,} tokens: ● {sum(mask):,} trained" in told
    assert ("✂" in told) == (len(found.tokens) > limit)


def test_tokens_that_share_a_character_are_one_piece_with_their_bytes() -> None:
    found = TOKENIZER.annotate_conversation(talk(None, "é🙂x", "a\nb"), 100)
    lines = lay_out(found, 80)
    user, answer = next(line for line in lines if line.head == "user"), lines[-2:]
    assert [piece.text for piece in user.pieces] == [
        "<|user_start|>", "é⟨c3│a9⟩", "🙂⟨f0│9f│99│82⟩", "x", "<|user_end|>"
    ]  # fmt: skip
    assert [[piece.text for piece in line.pieces] for line in answer] == [
        ["a", "↵"],
        ["b", "<|assistant_end|>"],
    ]


def test_a_line_tells_the_token_under_the_cursor() -> None:
    found = TOKENIZER.annotate_conversation(list(SAMPLES[0][1]), 20)
    place = f"token 1 of {len(found.tokens)} · id {TOKENIZER.bos_id}"
    assert detail(found, 0) == f"{place} · <|bos|>, a special token · document · not trained"
    assert "“H” · user · not trained · bytes 48" in detail(found, 2)
    assert detail(found, 25).endswith("bytes " + found.tokens[25].raw.hex(" ")) and "cut away" in detail(
        found, 25
    )
