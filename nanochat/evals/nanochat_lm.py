"""Our models as evaluations read them: a prefix once, then all that goes on from it."""

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from nanochat.model.architecture import ModelConfig
from nanochat.model.attention import SDPA
from nanochat.model.attention_cpu import inference_attention_supported, shared_prefix_attention
from nanochat.model.gpt import GPT, Attend
from nanochat.model.loss import chunk_rows
from nanochat.tokenizer.tokenizer import SPLIT_PATTERN, Tokenizer

ROTARY_SPAN = 10
"""The reference's table of rotary positions is this many times its context: no prompt is read beyond."""
PASS_COST = {"cpu": 48, "cuda": 2048}
"""Tokens that take as long as starting one more pass."""

CPU_TOKENS = 8192


def batch_tokens(device: torch.device, rows: int, context: int) -> int:
    """Padded tokens of a batch at the most: what training takes, on a CPU less, as more is no faster."""
    return min(rows * context, CPU_TOKENS) if device.type == "cpu" else rows * context


class SharedPrefix:
    """Keys and values of prefixes (I, P): kept in the first pass, seen by every tail in the second."""

    def __init__(self, config: ModelConfig) -> None:
        self.length = 0
        self.last_embedding: Tensor | None = None
        self._windows = config.windows
        self._scale = config.parts.qk_gain**2 / config.head_dim**0.5
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._counts: Sequence[int] | None = None

    def expand(self, counts: Sequence[int]) -> None:
        """From here on rows go on from the prefixes: counts[0] from the first, and so on."""
        self._counts = counts
        if self.last_embedding is not None:
            repeats = torch.tensor(counts, device=self.last_embedding.device)
            self.last_embedding = self.last_embedding.repeat_interleave(repeats, dim=0)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, attend: Attend) -> Tensor:
        if self._counts is None:
            self._keys.append(k)
            self._values.append(v)
            return attend(q, k, v)
        # Of a window's layer only what a tail can still see.
        window = self._windows[layer]
        start = 0 if window is None else max(0, self._keys[layer].size(1) - window)
        keys, values = self._keys[layer][:, start:], self._values[layer][:, start:]
        if inference_attention_supported(q, k, v):
            return shared_prefix_attention(q, k, v, keys, values, self._counts, window, self._scale)
        return attend(q, self._join(keys, k), self._join(values, v))

    def _join(self, prefixes: Tensor, tails: Tensor) -> Tensor:
        assert self._counts is not None
        length = prefixes.size(1)
        joined = tails.new_empty(tails.size(0), length + tails.size(1), *tails.shape[2:])
        joined[:, length:] = tails
        first = 0
        for prefix, count in zip(prefixes, self._counts, strict=True):
            joined[first : first + count, :length] = prefix
            first += count
        return joined


class _NoPrefix:
    """Keeps nothing: given so that the model reads as in decoding, past blocks compiled for one shape."""

    length = 0
    last_embedding: Tensor | None = None

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, attend: Attend) -> Tensor:
        return attend(q, k, v)


class NanochatLM:
    """A model of ours, of either era, with its tokenizer."""

    shares = True

    def __init__(self, model: GPT, tokenizer: Tokenizer) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.bos = tokenizer.bos_id
        self.limit = ROTARY_SPAN * model.config.sequence_len
        self.device = model.device
        self.pass_cost = PASS_COST.get(self.device.type, PASS_COST["cuda"])
        self.cuts_at_lines = tokenizer.pattern == SPLIT_PATTERN

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """While it lasts attention is computed by what takes any length without being compiled for it."""
        kernel = self.model.attention
        if kernel.name == "flex":
            self.model.use_attention(SDPA)
        try:
            yield
        finally:
            self.model.use_attention(kernel)

    def logits(
        self, prefixes: Tensor, counts: Sequence[int], tails: Tensor, rows: Tensor, columns: Tensor
    ) -> Iterator[Tensor]:
        cache: SharedPrefix | _NoPrefix = _NoPrefix()
        if prefixes.size(1):
            cache = SharedPrefix(self.model.config)
            self.model.hidden(prefixes, cache)
            cache.expand(counts)
        hidden = self.model.hidden(tails, cache)[rows, columns]
        size = chunk_rows(self.model.config.vocab_size, self.device)
        for start in range(0, len(hidden), size):
            yield self.model.logits(hidden[start : start + size])
