"""Byte-level BPE with tiktoken's ranks: ours, GPT-2, cl100k, o200k, rank files. Encoded by rustbpe."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from nanochat.common.errors import UserError
from nanochat.common.text import valid_text
from nanochat.tokenizer.explore.splitter import Kind, Split
from nanochat.tokenizer.files import ranks_sha256
from nanochat.tokenizer.huggingface import byte_alphabet

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


_Result = TypeVar("_Result")


class RankSplitter:
    """A `Splitter` of ranks 0 … n-1 that hold all single bytes, a split pattern and special tokens.

    Raises `UserError` where the ranks are not such or the pattern does not compile.
    """

    kind: Kind = "bpe"
    no_tree = ""
    is_elsewhere = False

    def __init__(
        self, name: str, ranks: Mapping[bytes, int], pattern: str, specials: Mapping[str, int] | None = None
    ) -> None:
        import rustbpe

        self.name, self.ranks, self.pattern = name, ranks, pattern
        self.specials: Mapping[str, int] = dict(specials or {})
        self._names = {token: name for name, token in self.specials.items()}
        self.vocab_size = max([len(ranks) - 1, *self._names]) + 1
        try:
            self._encoder = rustbpe.Tokenizer.from_mergeable_ranks(list(ranks.items()), pattern)
        except ValueError as error:
            raise UserError(f"{name} is no vocabulary to encode with: {error}") from error

    @cached_property
    def fingerprint(self) -> str:
        """A sha256 of ranks, pattern and special tokens."""
        parts = [ranks_sha256(self.ranks), self.pattern, sorted(self.specials.items())]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @cached_property
    def _tokens(self) -> list[bytes]:
        tokens = [b""] * len(self.ranks)
        for token, rank in self.ranks.items():
            tokens[rank] = token
        return tokens

    def split(self, text: str) -> Split:
        """As the protocol says; the spans are exact unless the pattern leaves out some of the text."""
        import numpy as np

        text = valid_text(text)
        ids, spans = self._encoded(lambda: self._encoder.encode_with_offsets(text))
        ends = spans[:, 1].astype(np.int64)
        split = Split(text, ids, ends)
        if not np.array_equal(split.starts, spans[:, 0].astype(np.int64)) or _end(ends) != len(split.data):
            if len(ends):
                ends[-1] = len(split.data)
            return Split(text, ids, ends, "the split pattern leaves out some of this text")
        return split

    def count_ids(self, texts: Sequence[str]) -> "npt.NDArray[np.int64]":
        """As the protocol says."""
        import numpy as np

        valid = [valid_text(text) for text in texts]
        ids, _ = self._encoded(lambda: self._encoder.encode_batch_to_numpy(valid, 0))
        return np.bincount(ids, minlength=self.vocab_size).astype(np.int64)

    def count_tokens(self, texts: Sequence[str]) -> "npt.NDArray[np.int64]":
        """As the protocol says; no id is made."""
        import numpy as np

        valid = [valid_text(text) for text in texts]
        return self._encoded(lambda: self._encoder.count_batch(valid, 0)).astype(np.int64)

    def _encoded(self, encode: Callable[[], _Result]) -> _Result:
        try:
            return encode()
        except ValueError as error:
            raise UserError(f"{self.name} cannot encode this: {error}") from error

    def merge_rank(self, left: bytes, right: bytes) -> int | None:
        """The rank of the joined bytes: any two neighbours may merge whose joined bytes are a token."""
        return self.ranks.get(left + right)

    def token(self, token_id: int) -> bytes:
        """As the protocol says."""
        if token_id in self._names:
            return self._names[token_id].encode()
        if not 0 <= token_id < len(self._tokens):
            raise KeyError(token_id)
        return self._tokens[token_id]

    def spelled(self, token_id: int) -> str:
        """GPT-2's letters for the bytes; special tokens by name."""
        if token_id in self._names:
            return self._names[token_id]
        letters = byte_alphabet()
        return "".join(letters[byte] for byte in self.token(token_id))


def _end(ends: "npt.NDArray[np.int64]") -> int:
    return int(ends[-1]) if len(ends) else 0
