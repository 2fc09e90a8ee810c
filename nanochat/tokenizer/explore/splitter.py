"""A text cut into tokens by any tokenizer, as byte spans of the text itself.

The tokens of a `Split` always tile the text: each begins where the one before it ended. What a tokenizer
leaves out (white space between words) belongs to the token after it, so that nothing of the text is hidden.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Kind = Literal["bpe", "unigram", "wordpiece", "wordlevel", "bytes", "characters", "words"]


@dataclass(frozen=True, eq=False)
class Split:
    """A text in the tokens of one tokenizer.

    `ids` (n,) uint32; of words, which have no vocabulary, they number the distinct words of the text.
    `ends` (n,) int64: token i is the bytes `ends[i-1]:ends[i]` of the text's UTF-8 (0 before the first), and
    the last end is the text's length. A span may lie inside a character, and it may be empty (a token that
    the tokenizer adds and the text does not hold). A text may have no token though it is not empty.
    """

    text: str
    ids: "npt.NDArray[np.uint32]"
    ends: "npt.NDArray[np.int64]"
    note: str = ""
    """Why the spans are not exactly the tokens' own bytes, for the screen; "" where they are."""

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def data(self) -> bytes:
        """The text's UTF-8."""
        return self.text.encode()

    @cached_property
    def starts(self) -> "npt.NDArray[np.int64]":
        """(n,) the first byte of each token."""
        import numpy as np

        return np.concatenate([np.zeros(1, np.int64), self.ends])[:-1]

    def span(self, index: int) -> tuple[int, int]:
        """First byte and the one after the last, of token `index`, 0 … n-1."""
        return int(self.ends[index - 1]) if index else 0, int(self.ends[index])

    def piece(self, index: int) -> bytes:
        """The text's bytes that token `index` stands for."""
        start, end = self.span(index)
        return self.data[start:end]

    def at(self, byte: int) -> int:
        """The token that holds the byte at that place of the text; the last one at and after its end, -1
        where there is no token."""
        return min(int(self.ends.searchsorted(byte, side="right")), len(self) - 1)


class Splitter(Protocol):
    """Something that cuts text into tokens. It may be used from any thread; attributes are read only."""

    @property
    def name(self) -> str:
        """As a heading shows it: "GPT-2", "tokenizer", "my.model"."""

    @property
    def kind(self) -> Kind: ...

    @property
    def vocab_size(self) -> int | None:
        """One more than the largest id, special tokens included; None of characters and words."""

    @property
    def specials(self) -> Mapping[str, int]:
        """Special tokens by name → id. Spelled in a text they are plain text."""

    @property
    def ranks(self) -> Mapping[bytes, int] | None:
        """Of a byte-level BPE: the bytes of every token → its id. Then there is a merge tree."""

    @property
    def pattern(self) -> str | None:
        """The split pattern that cuts the text before anything is merged; None where there is none."""

    @property
    def no_tree(self) -> str:
        """Why a token has no merge tree, as a line for the screen; "" where it has."""

    @property
    def fingerprint(self) -> str:
        """A sha256: two splitters with the same give the same ids for every text."""

    @property
    def is_elsewhere(self) -> bool:
        """Whether `split` waits for another process, which may take any time: off the event loop then."""

    def split(self, text: str) -> Split:
        """`text` in tokens. Half a surrogate pair is U+FFFD in the `Split`'s text.

        Raises `UserError` where the tokenizer gives up on the text.
        """

    def count_ids(self, texts: Sequence[str]) -> "npt.NDArray[np.int64]":
        """(vocab_size,) how often each id stands in the texts; (0,) of characters and words, which have no
        vocabulary. On all cores where the library can."""

    def count_tokens(self, texts: Sequence[str]) -> "npt.NDArray[np.int64]":
        """(texts,) the number of tokens of each text."""

    def merge_rank(self, left: bytes, right: bytes) -> int | None:
        """When two neighbours merge: the lower goes first. None: they never do, or there are no merges."""

    def token(self, token_id: int) -> bytes:
        """The raw bytes of an id; a special token's are its name. KeyError for an id that is not there."""

    def spelled(self, token_id: int) -> str:
        """The id as its library spells it ("Ġthe", "▁the", "##ing"). KeyError as `token`."""
