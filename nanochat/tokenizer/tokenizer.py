"""The byte-level BPE tokenizer: trained and encoded by rustbpe, decoded by tiktoken, kept in safe files.

Ids are the 256 bytes, then the merges in the order they were learned, then the nine special tokens.
Special tokens mark the structure of a conversation and are only ever placed by code: text that spells
`<|bos|>` is encoded as the ordinary characters it is.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from nanochat.common.errors import UserError
from nanochat.common.text import valid_text
from nanochat.tokenizer import conversation, files
from nanochat.tokenizer.conversation import MAX_CONVERSATION, Message
from nanochat.tokenizer.files import Vocabulary
from nanochat.tokenizer.special_tokens import MIN_VOCAB, SPECIAL_TOKENS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import tiktoken

    import rustbpe

SPLIT_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}"
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)
"""GPT-4's split into words, but at most two digits together: the best measured for vocabularies near 32k."""

_LONGEST_RUN = 100_000
_LONG_RUN = re.compile(rf"\s{{{_LONGEST_RUN},}}")
"""A very long run of white space: tiktoken's regex engine aborts somewhere below a million characters."""

_Result = TypeVar("_Result")


class Tokenizer:
    """A byte-pair vocabulary with its split pattern and special tokens.

    `ranks` maps each token's bytes to its id; the ids are 0 … n-1 and hold all 256 single bytes. The
    special tokens follow from n on. `token_bytes` overrides the byte count of each id (upstream
    nanochat's classic files count differently). Raises `UserError` when the ranks are not such a vocabulary.
    """

    def __init__(
        self,
        ranks: Mapping[bytes, int],
        *,
        pattern: str = SPLIT_PATTERN,
        trained_on: Mapping[str, Any] | None = None,
        token_bytes: Sequence[int] | None = None,
    ) -> None:
        files.check_ranks(ranks)
        self.ranks = dict(ranks)
        self.pattern = pattern
        self.trained_on = dict(trained_on or {})
        self.special_ids = {name: len(self.ranks) + index for index, name in enumerate(SPECIAL_TOKENS)}
        if token_bytes is not None and len(token_bytes) != self.vocab_size:
            raise UserError(f"token_bytes has {len(token_bytes)} entries, the vocabulary {self.vocab_size}")
        self._token_bytes = None if token_bytes is None else [int(count) for count in token_bytes]

    # -- vocabulary ------------------------------------------------------------------------------

    @property
    def vocab_size(self) -> int:
        """Number of ids, special tokens included."""
        return len(self.ranks) + len(SPECIAL_TOKENS)

    @property
    def bos_id(self) -> int:
        """The id that begins every document and every conversation."""
        return self.special_ids["<|bos|>"]

    def special_id(self, name: str) -> int:
        """The id of a special token, named with or without its `<|` `|>`. KeyError when unknown."""
        return self.special_ids[name if name.startswith("<|") else f"<|{name}|>"]

    @property
    def answer_ends(self) -> frozenset[int]:
        """The tokens that end an answer of the assistant."""
        return frozenset({self.special_id("assistant_end"), self.bos_id})

    @property
    def token_bytes(self) -> list[int]:
        """The number of raw bytes of each id; 0 for special tokens."""
        if self._token_bytes is None:
            self._token_bytes = files.raw_token_bytes(self.ranks)
        return self._token_bytes

    @cached_property
    def sha256(self) -> str:
        """Fingerprint of the ranks: two tokenizers with the same give the same merges."""
        return files.ranks_sha256(self.ranks)

    @cached_property
    def fingerprint(self) -> str:
        """Fingerprint of ranks, split pattern, special tokens and byte counts: the same text gives the same
        ids and the same bits per byte."""
        return files.fingerprint(self.vocabulary)

    @cached_property
    def encoding(self) -> "tiktoken.Encoding":
        """The tiktoken encoding of this vocabulary."""
        import tiktoken

        try:
            return tiktoken.Encoding(
                "nanochat",
                pat_str=self.pattern,
                mergeable_ranks=self.ranks,
                special_tokens=self.special_ids,
            )
        except ValueError as error:
            raise UserError(f"the tokenizer's split pattern does not compile: {error}") from error

    # -- text ------------------------------------------------------------------------------------

    def encode(self, text: str, *, bos: bool = False) -> list[int]:
        """The ids of `text`, after bos if asked. Special tokens spelled out in the text are plain text.

        These are tiktoken's ids. Half a surrogate pair is encoded as U+FFFD. Raises `UserError`, as all that
        encodes here, when the split pattern does not compile or its engine gives up on the text.
        """
        ids = self._encoded(text, lambda valid: self._encoder.encode(valid))
        return [self.bos_id, *ids] if bos else ids

    def encode_batch(
        self, texts: Sequence[str], *, bos: bool = False, num_threads: int = 0
    ) -> list[list[int]]:
        """`encode` for many texts, over `num_threads` threads; 0 is one a core."""
        ids, offsets = self.encode_batch_to_numpy(texts, bos=bos, num_threads=num_threads)
        edges = offsets.tolist()
        return [ids[start:end].tolist() for start, end in pairwise(edges)]

    def encode_to_numpy(self, text: str, *, bos: bool = False) -> "npt.NDArray[np.uint32]":
        """`encode` as uint32 of shape (n,), without a Python int."""
        import numpy as np

        ids = self._encoded(text, lambda valid: self._encoder.encode_to_numpy(valid))
        return np.concatenate([np.asarray([self.bos_id], np.uint32), ids]) if bos else ids

    def encode_batch_to_numpy(
        self, texts: Sequence[str], *, bos: bool = False, num_threads: int = 0
    ) -> "tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint64]]":
        """`(ids, offsets)` of many texts: uint32 of shape (n,) and uint64 of shape (texts + 1,).

        Text i, after bos if asked, is `ids[offsets[i]:offsets[i + 1]]`. `num_threads` 0 is one a core.
        """
        import numpy as np

        ids, offsets = self._encoded(
            texts, lambda valid: self._encoder.encode_batch_to_numpy(valid, num_threads)
        )
        if not bos:
            return ids, offsets
        starts = offsets[:-1].astype(np.intp)
        return np.insert(ids, starts, self.bos_id), offsets + np.arange(len(offsets)).astype(np.uint64)

    def count(self, text: str) -> int:
        """`len(encode(text))`, with no id stored."""
        return self._encoded(text, lambda valid: self._encoder.count(valid))

    def count_batch(self, texts: Sequence[str], *, num_threads: int = 0) -> "npt.NDArray[np.uint64]":
        """`count` of each text, uint64 of shape (texts,)."""
        return self._encoded(texts, lambda valid: self._encoder.count_batch(valid, num_threads))

    def encode_with_offsets(self, text: str) -> "tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint64]]":
        """`(ids, spans)`: ids of shape (n,), and the first byte of each in the text's UTF-8 form and the one
        after its last, shape (n, 2). A token may begin or end inside a character."""
        return self._encoded(text, lambda valid: self._encoder.encode_with_offsets(valid))

    @cached_property
    def _encoder(self) -> "rustbpe.Tokenizer":
        import rustbpe

        try:
            return rustbpe.Tokenizer.from_mergeable_ranks(list(self.ranks.items()), self.pattern)
        except ValueError as error:
            raise UserError(f"the tokenizer's split pattern does not compile: {error}") from error

    def _encoded(self, text: Any, encode: Callable[[Any], _Result]) -> _Result:
        """What `encode` makes of a text or texts, with surrogates replaced where there are any."""
        try:
            try:
                return encode(text)
            except UnicodeEncodeError:
                valid = valid_text(text) if isinstance(text, str) else [valid_text(one) for one in text]
                return encode(valid)
        except ValueError as error:
            raise UserError(f"the tokenizer cannot encode this: {error}") from error

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`; invalid UTF-8 becomes U+FFFD. Special tokens are written by their names."""
        return self.encoding.decode(list(ids))

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """The raw bytes of `ids`. Special tokens show their names."""
        return self.encoding.decode_bytes(list(ids))

    # -- conversations ---------------------------------------------------------------------------

    def render_conversation(
        self, messages: Sequence[Message], max_tokens: int = MAX_CONVERSATION
    ) -> tuple[list[int], list[int]]:
        """`(ids, mask)` of a conversation, truncated to `max_tokens`; mask 1 marks the tokens to train.

        Trained are the assistant's text, its tool calls and the token that ends its turn, but not the text of
        users and tools. Raises `UserError` when the messages do not form a conversation.
        """
        ids: list[int] = []
        mask: list[int] = []
        for part in conversation.parts(self, messages):
            ids += part.ids
            mask += [int(part.trained)] * len(part.ids)
        return ids[:max_tokens], mask[:max_tokens]

    def annotate_conversation(
        self, messages: Sequence[Message], max_tokens: int = MAX_CONVERSATION
    ) -> conversation.Annotated:
        """What `render_conversation` gives, token by token, with whose text each is of, and what was cut."""
        names = {token: name for name, token in self.special_ids.items()}
        return conversation.annotate(self, names, messages, max_tokens)

    def render_for_completion(
        self, messages: Sequence[Message], max_tokens: int = MAX_CONVERSATION
    ) -> list[int]:
        """The prompt that asks for the assistant's next message: the conversation cut to `max_tokens`
        without a last assistant message, then assistant_start (so up to `max_tokens` + 1 ids)."""
        kept = list(messages)
        if kept and isinstance(kept[-1], Mapping) and kept[-1].get("role") == "assistant":
            kept.pop()
        ids, _ = self.render_conversation(kept, max_tokens)
        return [*ids, self.special_id("assistant_start")]

    # -- files -----------------------------------------------------------------------------------

    @classmethod
    def train_from_iterator(
        cls,
        documents: Iterable[str],
        vocab_size: int,
        *,
        trained_on: Mapping[str, Any] | None = None,
        progress: Callable[[str, int, int | None], object] | None = None,
    ) -> Self:
        """Learns a vocabulary of `vocab_size` ids, special tokens included, from `documents`.

        The result is smaller when the text holds fewer distinct pairs: compare `vocab_size`.
        `progress(phase, done, total)` is called with "count" and characters, then "merge" and merges; an
        exception it raises ends the training.
        """
        if vocab_size < MIN_VOCAB:
            raise UserError(
                f"a vocabulary of {vocab_size} is too small",
                f"at least {MIN_VOCAB}: 256 bytes, 1 merge, {len(SPECIAL_TOKENS)} special tokens",
            )
        import rustbpe

        trainer = rustbpe.Tokenizer()
        trainer.train_from_iterator(
            iter(documents), vocab_size - len(SPECIAL_TOKENS), pattern=SPLIT_PATTERN, progress=progress
        )
        ranks = {bytes(token): int(rank) for token, rank in trainer.get_mergeable_ranks()}
        return cls(ranks, trained_on=trained_on)

    @classmethod
    def from_vocabulary(cls, vocabulary: Vocabulary) -> Self:
        return cls(
            vocabulary.ranks,
            pattern=vocabulary.pattern,
            trained_on=vocabulary.trained_on,
            token_bytes=vocabulary.token_bytes,
        )

    @property
    def vocabulary(self) -> Vocabulary:
        """All that the tokenizer is made of."""
        return Vocabulary(self.ranks, self.pattern, self.token_bytes, self.trained_on)

    def files(self) -> dict[str, bytes]:
        """The files of the tokenizer's folder by name; the one that names the other comes last."""
        return files.encode(self.vocabulary)

    def save(self, folder: Path, keep: bool = False) -> None:
        """Writes the tokenizer into `folder`; `keep` keeps another one that is there, see `load_kept`.

        A kill at any point leaves the old tokenizer or the new one, never a mixture.
        """
        files.save(self.vocabulary, folder, keep)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The tokenizer in `folder`, in our format or upstream nanochat's (`tokenizer.pkl`, whose opcodes are
        checked first). Raises `UserError` when there is none or it is damaged."""
        return cls.from_vocabulary(files.load(folder))

    @classmethod
    def load_kept(cls, folder: Path, sha256: str) -> Self | None:
        """The tokenizer of those ranks that a later one in `folder` replaced; None when none was kept."""
        vocabulary = files.load_kept(folder, sha256)
        return None if vocabulary is None else cls.from_vocabulary(vocabulary)


def split_long_runs(text: str) -> list[str]:
    """`text` in pieces, cut only inside runs of white space longer than the regex engine can take."""
    if len(text) <= _LONGEST_RUN:
        return [text]
    cuts = [0]
    for run in _LONG_RUN.finditer(text):
        cuts += range(run.start() + _LONGEST_RUN // 2, run.end(), _LONGEST_RUN // 2)
    return [text[a:b] for a, b in zip(cuts, [*cuts[1:], len(text)], strict=True)]
