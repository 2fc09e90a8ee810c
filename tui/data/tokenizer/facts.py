"""What is told of the token under the cursor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len

from nanochat.common.errors import UserError
from nanochat.common.text import sanitize
from nanochat.tokenizer.explore.merges import MergeTree, merge_tree
from tui.data.tokenizer.characters import CARRIER, Glyphs

if TYPE_CHECKING:
    from nanochat.tokenizer.explore.splitter import Splitter
    from tui.data.tokenizer.panes import Counted
    from tui.data.tokenizer.splitting import Shown

NEIGHBOURS = 2
SHOWN_BYTES = 40
SHOWN_CHARACTERS = 120


@dataclass(frozen=True)
class TokenFacts:
    """A token of a text: what it spells, its id and bytes, and the ids beside it in the vocabulary.

    `tree` is how merging made it; `no_tree` says why there is none.
    """

    text: str
    index: int
    of: int
    token_id: int
    data: bytes
    is_special: bool
    spelled: str
    neighbours: tuple[tuple[int, str], ...]
    tree: MergeTree | None
    no_tree: str
    is_other: bool = False
    """Whether the token is other than the text it stands for: unknown, or of characters that were changed."""

    @property
    def merge(self) -> int:
        """Which merge made it, from 1; 0 without one. An id does not tell: of a foreign file special tokens
        may come before the bytes."""
        return merge_number(self.tree)


def merge_number(tree: MergeTree | None) -> int:
    """Which merge made the token of a tree, from 1; 0 of a byte, and without a tree."""
    return tree.rank - 255 if tree is not None and tree.rank is not None else 0


def token_facts(shown: Shown, index: int, glyphs: Glyphs) -> TokenFacts | None:
    """What is known of token `index` of a split; None where there is none."""
    split, splitter = shown.split, shown.splitter
    if split is None or not 0 <= index < len(split):
        return None
    number = int(split.ids[index])
    piece = split.piece(index)
    has_ids = splitter.vocab_size is not None
    tree, why = None, splitter.no_tree
    if not why:
        try:
            tree = merge_tree(splitter, number)
        except UserError as error:
            why = str(error)
    beside = range(number - NEIGHBOURS, number + NEIGHBOURS + 1) if has_ids else range(0)
    return TokenFacts(
        spell(piece, glyphs),
        index,
        len(split),
        number,
        piece,
        number in splitter.specials.values(),
        _spelled(splitter, number) if has_ids else "",
        tuple((one, text) for one in beside if (text := _token(splitter, one, glyphs)) is not None),
        tree,
        why,
        has_ids and _is_other(splitter, number, piece),
    )


def spell(data: bytes, glyphs: Glyphs) -> str:
    """Bytes as a terminal can show them: text, or where they are none, each byte in hex."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        more = " …" if len(data) > SHOWN_BYTES else ""
        return f"{glyphs.open}{data[:SHOWN_BYTES].hex(' ')}{more}{glyphs.close}"
    signs = {" ": "·", "\t": "⇥"} if glyphs.unicode else {" ": "_", "\t": ">"}
    shown = "".join(signs.get(char) or glyphs[ord(char)] for char in text[:SHOWN_CHARACTERS])
    if text and not cell_len(glyphs[ord(text[0])]):
        shown = (CARRIER if glyphs.unicode else ".") + shown
    return shown + (" …" if len(text) > SHOWN_CHARACTERS else "")


def _is_other(splitter: Splitter, number: int, piece: bytes) -> bool:
    try:
        return splitter.token(number).strip() != piece.strip()
    except KeyError:
        return False


def _spelled(splitter: Splitter, number: int) -> str:
    try:
        return sanitize(splitter.spelled(number), 80)
    except KeyError:
        return ""


def _token(splitter: Splitter, number: int, glyphs: Glyphs) -> str | None:
    if number < 0:
        return None
    try:
        return spell(splitter.token(number), glyphs)
    except KeyError:
        return None


def count_words(counted: Counted, number: int) -> str:
    """How often an id stands in the corpus, in words."""
    counts = counted.counts.counts
    seen = int(counts[number]) if 0 <= number < len(counts) else 0
    if not seen:
        return f"never in {counted.corpus}"
    return f"{seen:,} in {counted.corpus}, place {int(counted.places[number]):,}"
