"""Merge trees drawn, in a box of any size."""

from dataclasses import dataclass, field

import pytest
from rich.cells import cell_len

from nanochat.tokenizer.explore.merges import MergeTree
from tui.data.tokenizer.replaying import next_size, slider
from tui.data.tokenizer.tree import compact_lines, depth, tree_lines


def byte(letter: str) -> MergeTree:
    return MergeTree(ord(letter), letter.encode())


def merged(number: int, *parts: MergeTree) -> MergeTree:
    return MergeTree(number, b"".join(part.token for part in parts), number, parts)


THE = merged(300, merged(260, byte("t"), byte("h")), byte("e"))


def label(node: MergeTree) -> str:
    return node.token.decode()


def test_a_tree_is_a_picture_where_there_is_room() -> None:
    assert tree_lines(THE, label, 40, 9) == [
        "t  h    e",
        "└┬─┘    │",
        "th 260  │",
        " └──┬───┘",
        " the 300",
    ]


def test_ids_are_left_out_before_the_picture_is() -> None:
    assert tree_lines(THE, label, 8, 9) == ["t  h  e", "└┬─┘  │", "th    │", " └─┬──┘", "  the"]


def test_else_an_outline_or_a_line_a_level() -> None:
    outline = tree_lines(THE, label, 30, 4)
    assert outline == ["the 300", "├─ th 260", "│  ├─ t", "│  └─ h", "└─ e"]
    assert compact_lines(THE, label, 30, 4) == ["the 300 = th + e", "th 260 = t + h"]
    assert tree_lines(THE, label, 30, 4, unicode=False)[1] == "|- th 260"


@pytest.mark.parametrize("length", [1, 2, 60, 1_500])
def test_a_chain_of_any_length_is_drawn(length: int) -> None:
    tree = byte("a")
    for number in range(length):
        tree = merged(256 + number, tree, byte("a"))
    assert depth(tree) == length
    lines = tree_lines(tree, label, 200, 400)
    assert lines and max(map(len, lines)) < 4_000 and len(lines) < 400


def test_a_piece_of_three_parts_and_wide_letters() -> None:
    tree = MergeTree(9, "龘é!".encode(), 9, (MergeTree(1, "龘".encode()), byte("!"), byte("?")), merged=False)
    lines = tree_lines(tree, lambda node: node.token.decode(), 40, 9)
    assert cell_len(lines[0]) == 8 and lines[1].startswith(" └") and "┬" in lines[1]


@dataclass
class _Sizes:
    """The sizes that the slider goes through."""

    now: int = 256
    seen: list[int] = field(default_factory=list)


def test_the_slider_goes_through_the_sizes_and_back() -> None:
    up = _Sizes()
    while up.now < 5_000:
        up.now = next_size(up.now, 1, 5_000)
        up.seen.append(up.now)
    assert up.seen == [300, 512, 1_000, 2_048, 4_096, 5_000]
    assert next_size(5_000, 1, 5_000) == 5_000 and next_size(256, -1, 5_000) == 256
    assert next_size(700, -1, 5_000) == 512
    assert slider(0, 0, 10) == "●" + "─" * 9 and slider(9, 9, 10, unicode=False) == "=" * 9 + "O"
