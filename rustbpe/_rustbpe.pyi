from collections.abc import Callable, Iterable, Sequence
from typing import Any, final

import numpy as np
import numpy.typing as npt

__all__ = ["DecodeKernel", "Tokenizer", "TrainingStats"]

@final
class TrainingStats:
    """Counts and times of the last training."""

    @property
    def documents(self) -> int:
        """Documents taken from the iterator."""
    @property
    def characters(self) -> int:
        """Characters (Unicode code points) in them."""
    @property
    def bytes(self) -> int:
        """Bytes of their UTF-8 form."""
    @property
    def pretokens(self) -> int:
        """Pieces that the split pattern cuts them into."""
    @property
    def distinct_pretokens(self) -> int:
        """Distinct pieces among these."""
    @property
    def merges(self) -> int:
        """Merges learned."""
    @property
    def count_seconds(self) -> float:
        """Seconds spent on reading, splitting and counting."""
    @property
    def merge_seconds(self) -> float:
        """Seconds spent on learning merges."""

@final
class Tokenizer:
    """A byte-level BPE tokenizer: trains merges from text, encodes and decodes."""

    def __new__(cls) -> Tokenizer: ...
    @staticmethod
    def from_mergeable_ranks(ranks: Sequence[tuple[bytes, int]], pattern: str) -> Tokenizer:
        """A tokenizer with the given token bytes and ids; it encodes as tiktoken does with the same ranks.

        Raises ValueError for a bad pattern, ids with a gap or a repeat, an empty token, and missing single
        bytes.
        """
    def train_from_iterator(
        self,
        iterator: Iterable[str],
        vocab_size: int,
        buffer_size: int = 8192,
        pattern: str | None = None,
        *,
        progress: Callable[[str, int, int | None], object] | None = None,
        threads: int | None = None,
    ) -> None:
        """Learns merges until the vocabulary has `vocab_size` tokens, or no pair is left.

        Documents are read in batches of at most `buffer_size`. `pattern` cuts them into the pieces
        that merges stay within; the default is GPT-4's. `progress(phase, done, total)` is called at
        most every 0.1 s and at the end of each phase: "count" with characters read and None, "merge"
        with merges learned and their final number. `threads` defaults to the available cores; the result
        does not depend on it. The GIL is free while counting and merging; signals, and exceptions of
        `progress`, end the training. On any error the tokenizer stays as it was.

        Raises ValueError for a bad pattern or a `vocab_size` under 256, TypeError for an item that
        is not a str, UnicodeEncodeError for a lone surrogate, and whatever the iterator raises.
        """
    def __reduce__(self) -> tuple[type[Tokenizer], tuple[()], tuple[str, list[bytes]]]:
        """For pickle and copy: pattern and tokens; they encode as before. Statistics are not kept."""
    def __setstate__(self, state: tuple[str, list[bytes]]) -> None:
        """Takes pattern and tokens. Raises ValueError as `from_mergeable_ranks`; then all stays as it was."""
    @property
    def training_stats(self) -> TrainingStats | None:
        """Statistics of the last training; None for a tokenizer that was not trained here."""
    @property
    def vocab_size(self) -> int:
        """Number of tokens: 256 bytes and the merges."""
    def get_pattern(self) -> str:
        """The split pattern; empty before training."""
    def get_mergeable_ranks(self) -> list[tuple[bytes, int]]:
        """Bytes and id of every token in the order of ids, as tiktoken takes them."""
    def encode(self, text: str) -> list[int]:
        """The token ids of `text`."""
    def batch_encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of each text, on all cores."""
    def encode_to_numpy(self, text: str) -> npt.NDArray[np.uint32]:
        """The token ids of `text`, uint32 of shape (n,): `encode` without a Python int.

        The GIL is free meanwhile, as in all of these. A long array is memory that Rust made, in no way else
        different. Raises UnicodeEncodeError for a lone surrogate, and
        ValueError when the regular-expression engine gives up on the text.
        """
    def encode_batch_to_numpy(
        self, texts: Sequence[str], num_threads: int = 0
    ) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint64]]:
        """`(ids, offsets)`: the ids of all texts, uint32 of shape (n,), and where each text's begin, uint64
        of shape (texts + 1,): text i is `ids[offsets[i]:offsets[i + 1]]`.

        `num_threads` 0 is all cores; a long text is cut among them. Raises as `encode_to_numpy`, TypeError
        for an item that is not a str (or one str for all), OverflowError for a negative `num_threads`.
        """
    def count(self, text: str) -> int:
        """`len(encode(text))`, with no id stored. Raises as `encode_to_numpy`."""
    def count_batch(self, texts: Sequence[str], num_threads: int = 0) -> npt.NDArray[np.uint64]:
        """`count` of each text, uint64 of shape (texts,). Raises as `encode_batch_to_numpy`."""
    def encode_with_offsets(self, text: str) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint64]]:
        """`(ids, spans)`: ids of shape (n,), and the bytes of the text's UTF-8 form that each stands for,
        first and end, uint64 of shape (n, 2). A span may lie inside a character. Raises as `encode_to_numpy`.
        """
    def decode(self, ids: Sequence[int]) -> str:
        """The text that `ids` spell.

        Raises ValueError for an unknown id and UnicodeDecodeError where the bytes are not UTF-8.
        """

@final
class DecodeKernel:
    """A model that decodes and reads prompts in float32 on a CPU: the crate `nanochat/infer/decode_kernel`,
    which shares the extension module. Arrays are numpy's float32; tables are read in place, matrices
    copied."""

    def __new__(
        cls,
        wte: Any,
        head: Any,
        layers: Sequence[Any],
        *,
        heads: int,
        kv_heads: int,
        dim: int,
        scale: float,
        softcap: float,
        mixes: bool,
        smear: Sequence[float] | None = None,
        smear_scale: float = 0.0,
        backout: float | None = None,
    ) -> DecodeKernel:
        """wte (V, C), head (C, V); of a layer qkv, out, up and down, (inputs, outputs) each, value_table
        (V, H_kv·D) or None, mix (share of its input, of the first embedding), place (track, number there).
        ValueError where shapes do not fit."""
    @property
    def instructions(self) -> str:
        """The instruction set it runs in."""
    def step(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        tracks: Sequence[Any],
        *,
        last: Any,
        angles: Any,
        logits: Any,
        threads: int,
    ) -> None:
        """Reads one token a row and writes the logits (rows, V) of the next. Of a track keys and values
        (layers, rows·H_kv, slots, D), end (the new token's slot), starts (the first slot each row sees)."""
    def read(
        self,
        tokens: Sequence[int],
        prompts: Sequence[Any],
        *,
        windows: Sequence[int | None],
        angles: Any,
        logits: Any,
        threads: int,
        hidden: Any = None,
    ) -> None:
        """Reads tokens of prompts, those of the first, of the second and so on, and writes the logits
        (prompts, V) of each prompt's next token; into `hidden` (tokens, C) the normed stream before the head.
        Of a prompt `start` (tokens read before), `count` (tokens now), keys and values of each layer (H_kv,
        slots, D), `last` (C) for smear; `windows` are those of the layers."""
