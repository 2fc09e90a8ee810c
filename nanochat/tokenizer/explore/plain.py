"""Bytes, characters and words: the splits that need no vocabulary, to compare with."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from nanochat.common.text import valid_text
from nanochat.tokenizer.explore.splitter import Kind, Split

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class PlainSplitter:
    """A `Splitter` without merges: see its subclasses."""

    name: str
    kind: Kind
    vocab_size: int | None = None
    pattern: str | None = None
    no_tree: str
    is_elsewhere = False
    ranks: Mapping[bytes, int] | None = None

    @property
    def specials(self) -> Mapping[str, int]:
        """None."""
        return {}

    @cached_property
    def fingerprint(self) -> str:
        """As the protocol says."""
        return hashlib.sha256(self.kind.encode()).hexdigest()

    def merge_rank(self, left: bytes, right: bytes) -> int | None:
        """None: nothing merges."""
        return None

    def split(self, text: str) -> Split:
        """As the protocol says."""
        raise NotImplementedError

    def count_ids(self, texts: Sequence[str]) -> "npt.NDArray[np.int64]":
        """As the protocol says."""
        import numpy as np

        return np.zeros(0, np.int64)

    def count_tokens(self, texts: Sequence[str]) -> "npt.NDArray[np.int64]":
        """As the protocol says."""
        import numpy as np

        return np.fromiter((len(self.split(text)) for text in texts), np.int64, len(texts))

    def token(self, token_id: int) -> bytes:
        """As the protocol says."""
        raise NotImplementedError

    def spelled(self, token_id: int) -> str:
        """As the protocol says."""
        return self.token(token_id).decode("utf-8", "backslashreplace")


class ByteSplitter(PlainSplitter):
    """One token a byte; the id is the byte."""

    name, kind = "bytes", "bytes"
    vocab_size = 256
    no_tree = "bytes are not merged"

    def split(self, text: str) -> Split:
        """As the protocol says."""
        import numpy as np

        text = valid_text(text)
        ids = np.frombuffer(text.encode(), np.uint8).astype(np.uint32)
        return Split(text, ids, np.arange(1, len(ids) + 1, dtype=np.int64))

    def count_ids(self, texts: Sequence[str]) -> "npt.NDArray[np.int64]":
        """As the protocol says."""
        import numpy as np

        data = "".join(valid_text(text) for text in texts).encode()
        return np.bincount(np.frombuffer(data, np.uint8), minlength=256).astype(np.int64)

    def count_tokens(self, texts: Sequence[str]) -> "npt.NDArray[np.int64]":
        """As the protocol says."""
        import numpy as np

        return np.asarray([len(valid_text(text).encode()) for text in texts], np.int64)

    def token(self, token_id: int) -> bytes:
        """As the protocol says."""
        if not 0 <= token_id < 256:
            raise KeyError(token_id)
        return bytes([token_id])


class CharacterSplitter(PlainSplitter):
    """One token a character (code point); the id is the code point."""

    name, kind = "characters", "characters"
    no_tree = "characters are not merged"

    def split(self, text: str) -> Split:
        """As the protocol says."""
        import numpy as np

        text = valid_text(text)
        ids = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        sizes = 1 + (ids >= 0x80).astype(np.int64) + (ids >= 0x800) + (ids >= 0x10000)
        return Split(text, ids, sizes.cumsum())

    def count_tokens(self, texts: Sequence[str]) -> "npt.NDArray[np.int64]":
        """As the protocol says."""
        import numpy as np

        return np.asarray([len(valid_text(text)) for text in texts], np.int64)

    def token(self, token_id: int) -> bytes:
        """As the protocol says."""
        try:
            return chr(token_id).encode()
        except (ValueError, OverflowError) as error:  # half a surrogate pair is no character
            raise KeyError(token_id) from error


class WordSplitter(PlainSplitter):
    """One token a word between white space, with the white space before it.

    There is no vocabulary: an id is the word's number among the distinct ones of the text.
    """

    name, kind = "words", "words"
    no_tree = "words are not merged"

    def split(self, text: str) -> Split:
        """As the protocol says; white space alone has no token."""
        import numpy as np

        text = valid_text(text)
        words = text.split()
        numbers: dict[str, int] = {}
        ids = np.fromiter((numbers.setdefault(word, len(numbers)) for word in words), np.uint32, len(words))
        place, found = 0, []
        for word in words:
            place = text.index(word, place) + len(word)
            found.append(place)
        ends = np.asarray(found, np.int64)
        if not text.isascii():
            ends = CharacterSplitter().split(text).ends[ends - 1]
        if len(ends):
            ends[-1] = len(text.encode())
        return Split(text, ids, ends)

    def count_tokens(self, texts: Sequence[str]) -> "npt.NDArray[np.int64]":
        """As the protocol says."""
        import numpy as np

        return np.asarray([len(text.split()) for text in texts], np.int64)

    def token(self, token_id: int) -> bytes:
        """KeyError: words have no vocabulary."""
        raise KeyError(token_id)
