"""Every id of a vocabulary as columns: what a browser of 200,000 tokens searches, sorts and counts.

numpy is imported inside functions: the app's first frame does not wait for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from nanochat.common.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nanochat.tokenizer.explore.splitter import Splitter

KINDS = ("text", "part", "byte", "special", "none")
"""Whole characters; a part of one or several; a single byte; placed by code only; an id without a token."""
TEXT, PART, BYTE, SPECIAL, NONE = range(len(KINDS))
COLUMNS = ("id", "text", "bytes", "characters", "count")
"""What the rows can be ordered by."""
_COMPARED = 32
"""Bytes of a token that tell its place in the alphabet; numpy sorts them and lets other threads go on."""


@dataclass(frozen=True, eq=False)
class TokenTable:
    """The tokens of one vocabulary of V ids.

    `tokens[id]` are a token's bytes, b"" where there is none; `texts[id]` the same as text, bytes that are
    no UTF-8 spelled `\\xe4`; `kinds` (V,) uint8 are places in `KINDS`; `sizes` (V,) int32 the bytes of each.
    """

    name: str
    tokens: Sequence[bytes]
    texts: Sequence[str]
    kinds: NDArray[np.uint8]
    sizes: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.tokens)

    def kind(self, token: int) -> str:
        """One of `KINDS`."""
        return KINDS[self.kinds[token]]

    @cached_property
    def folded(self) -> Sequence[str]:
        """`texts` in small letters."""
        return [text.lower() for text in self.texts]

    @cached_property
    def characters(self) -> NDArray[np.int32]:
        """(V,) the characters of each token, 0 of one that is not text."""
        import numpy as np

        lengths = np.fromiter((len(text) for text in self.texts), np.int32, len(self))
        whole = (self.kinds == TEXT) | (self.kinds == SPECIAL) | ((self.kinds == BYTE) & (lengths == 1))
        return np.where(whole, lengths, 0).astype(np.int32)

    @cached_property
    def alphabetical(self) -> NDArray[np.int64]:
        """(V,) the place of each id in the order of the tokens' first bytes."""
        import numpy as np

        order = np.argsort(np.array(self.tokens, f"S{_COMPARED}"), kind="stable")
        places = np.empty(len(self), np.int64)
        places[order] = np.arange(len(self))
        return places

    def ordered(
        self,
        ids: NDArray[np.int64],
        column: str = "id",
        descending: bool = False,
        counts: NDArray[Any] | None = None,
    ) -> NDArray[np.int64]:
        """`ids`, rising, by a column; equal ones by id. Some 30 ms for 200,000: call it in a thread."""
        import numpy as np

        if column == "id":
            return ids[::-1] if descending else ids
        if column == "text":
            values: NDArray[Any] = self.alphabetical
        elif column == "characters":
            values = self.characters
        elif column == "count" and counts is not None:
            values = counts
        else:
            values = self.sizes
        keys = values[ids].astype(np.int64)
        return ids[np.argsort(-keys if descending else keys, kind="stable")]

    def lengths(self, ids: NDArray[np.int64]) -> list[int]:
        """How many of `ids` have 0, 1, 2 … bytes, up to the longest."""
        import numpy as np

        return [int(count) for count in np.bincount(self.sizes[ids])]


def read_tokens(splitter: Splitter) -> TokenTable:
    """The tokens of a vocabulary. Some 0.1 s for 200,000: call it in a thread.

    Raises `UserError` for one that has no ids of its own, such as words.
    """
    import numpy as np

    if not splitter.vocab_size:
        raise UserError(f"{splitter.name} has no vocabulary to look through", "choose one with ids")
    size = splitter.vocab_size
    specials = {token: name for name, token in splitter.specials.items()}
    tokens = list(_tokens(splitter, size))
    for token, name in specials.items():
        if 0 <= token < size:
            tokens[token] = name.encode()
    texts = [token.decode("utf-8", "backslashreplace") for token in tokens]
    sizes = np.fromiter((len(token) for token in tokens), np.int32, size)
    is_part = np.fromiter((not _is_text(token) for token in tokens), bool, size)
    kinds = np.where(is_part, PART, TEXT).astype(np.uint8)
    kinds[sizes == 1] = BYTE
    kinds[sizes == 0] = NONE
    kinds[[token for token in specials if 0 <= token < size]] = SPECIAL
    table = TokenTable(splitter.name, tokens, texts, kinds, sizes)
    _ = table.folded  # the first search does not wait for it
    return table


def _tokens(splitter: Splitter, size: int) -> Iterator[bytes]:
    if splitter.ranks is None:
        for token in range(size):
            try:
                yield splitter.token(token)
            except (KeyError, IndexError):
                yield b""
        return
    found = [b""] * size
    for token_bytes, rank in splitter.ranks.items():
        if rank < size:
            found[rank] = token_bytes
    yield from found


def _is_text(token: bytes) -> bool:
    if token.isascii():
        return True
    try:
        token.decode()
    except UnicodeDecodeError:
        return False
    return True
