"""Our models as evaluations read them: a prefix is computed once, then every sequence that continues it."""

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nanochat.evals.batches import BatchInput
from nanochat.model.architecture import ModelConfig
from nanochat.model.attention import SDPA
from nanochat.model.attention_cpu import inference_attention_supported, shared_prefix_attention
from nanochat.model.cache import AlignedRows, Attend
from nanochat.model.gpt import GPT
from nanochat.model.loss import chunk_rows
from nanochat.tokenizer.tokenizer import SPLIT_PATTERN, Tokenizer

ROTARY_SPAN = 10
"""Upstream nanochat's rotary table is this many times the context, and it fails on longer prompts: no prompt
is read beyond, so that scores compare."""
PASS_COST = {"cpu": 48, "cuda": 2048}
"""Tokens that take as long as starting one more forward pass, by device."""
CPU_TOKENS = 8192
"""Padded tokens of a batch on a CPU at most: larger ones are no faster."""


def batch_tokens(device: torch.device, rows: int, context: int) -> int:
    """Padded tokens of a batch at most: as many as a training batch has, on a CPU fewer."""
    return min(rows * context, CPU_TOKENS) if device.type == "cpu" else rows * context


class SharedPrefix(AlignedRows):
    """Keys and values of prefixes (I, P, H_kv, D): stored in one pass, read by every tail in the next."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self._windows = config.windows
        self._scale = config.parts.qk_gain**2 / config.head_dim**0.5
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._counts: Sequence[int] | None = None

    def expand(self, counts: Sequence[int]) -> None:
        """From now on rows continue the prefixes: counts[0] rows the first, and so on."""
        self._counts = counts
        if self.last_embedding is not None:
            repeats = torch.tensor(counts, device=self.last_embedding.device)
            self.last_embedding = self.last_embedding.repeat_interleave(repeats, dim=0)  # (I, C) → (R, C)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, attend: Attend) -> Tensor:
        """Attention of q (R, T, H, D) over k and v (R, T, H_kv, D), and over the prefixes once expanded."""
        if self._counts is None:
            self._keys.append(k)
            self._values.append(v)
            return attend(q, k, v)
        # Of a windowed layer only the keys that a tail can still see.
        window = self._windows[layer]
        start = 0 if window is None else max(0, self._keys[layer].size(1) - window)
        keys, values = self._keys[layer][:, start:], self._values[layer][:, start:]  # (I, P', H_kv, D)
        if inference_attention_supported(q, k, v):
            return shared_prefix_attention(q, k, v, keys, values, self._counts, window, self._scale)
        return attend(q, self._join(keys, k), self._join(values, v))

    def _join(self, prefixes: Tensor, tails: Tensor) -> Tensor:
        """(I, P, H_kv, D) and (R, T, H_kv, D) → (R, P + T, H_kv, D)."""
        assert self._counts is not None
        length = prefixes.size(1)
        joined = tails.new_empty(tails.size(0), length + tails.size(1), *tails.shape[2:])
        joined[:, length:] = tails
        first = 0
        for prefix, count in zip(prefixes, self._counts, strict=True):
            joined[first : first + count, :length] = prefix
            first += count
        return joined


class _NoPrefix(AlignedRows):
    """Stores nothing: with any cache the model runs uncompiled, as it does in decoding."""

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, attend: Attend) -> Tensor:
        return attend(q, k, v)


class NanochatLM:
    """A model of ours, of either era, with its tokenizer."""

    reuses_prefixes = True

    def __init__(self, model: GPT, tokenizer: Tokenizer) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.bos = tokenizer.bos_id
        self.max_tokens = ROTARY_SPAN * model.config.sequence_len
        self.device = model.device
        self.pass_cost = PASS_COST.get(self.device.type, PASS_COST["cuda"])
        self.splits_at_newlines = tokenizer.pattern == SPLIT_PATTERN

    def encode(self, text: str) -> NDArray[np.uint32]:
        return self.tokenizer.encode_to_numpy(text)

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids)

    @contextlib.contextmanager
    def eager_attention(self) -> Iterator[None]:
        """Within it attention is never compiled: FlexAttention would be, again for every new length."""
        kernel = self.model.attention
        if kernel.name == "flex":
            self.model.use_attention(SDPA)
        try:
            yield
        finally:
            self.model.use_attention(kernel)

    def logits(self, batch: BatchInput) -> Iterator[Tensor]:
        """As in `LanguageModel`."""
        cache: SharedPrefix | _NoPrefix = _NoPrefix()
        if batch.prefixes.size(1):
            cache = SharedPrefix(self.model.config)
            self.model.hidden(batch.prefixes, cache)
            cache.expand(batch.counts)
        # The head, V columns wide, computes scored positions only.
        hidden = self.model.hidden(batch.tails, cache)[batch.rows, batch.columns]  # (R, T, C) → (N, C)
        size = chunk_rows(self.model.config.vocab_size, self.device)
        for start in range(0, len(hidden), size):
            yield self.model.logits(hidden[start : start + size])
