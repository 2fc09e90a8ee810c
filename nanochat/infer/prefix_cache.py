"""Keys and values of finished prompts and answers, kept for later prompts that begin with the same tokens.

Positions are absolute and attention is causal, so the keys and values of a beginning depend on its tokens
alone: any later prompt may start from them, cut wherever it departs. Every layer's are kept for every token,
also where the layer's window has long left them: a prompt that departs early needs the ones before that
place. Smear's last embedding is that of one token, and is computed again.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from nanochat.common.errors import UserError
from nanochat.common.text import size_bytes
from nanochat.infer.decode_weights import deinterleave
from nanochat.infer.decoder import Decoder
from nanochat.infer.kvcache import KVCache
from nanochat.infer.prefix_tree import PrefixTree
from nanochat.infer.slot_copies import SlotCopies
from nanochat.model.gpt import GPT

MIN_REUSED = 16
"""Tokens from which on a beginning is reused: copying less takes as long as reading it again, and nearly all
conversations share their first two."""


class PrefixCache:
    """At most `max_bytes` of keys and values on the model's device, the least recently used given up first.

    For the requests of one model and one scheduler, in its thread; the counters may be read from any thread.
    When the model's weights change, or it meets another model, it forgets everything.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.hits = 0
        """Prompts of which a part was there."""
        self.misses = 0
        """Prompts of which nothing was."""
        self.tokens_reused = 0
        self._tree = PrefixTree(0)
        self._token_bytes = 1
        self._weights_key: tuple[object, int] = (None, 0)
        self._keys: list[Tensor] = []
        """(H_kv, slots, D) of each layer, channels as prompts are read."""
        self._values: list[Tensor] = []

    @property
    def bytes(self) -> int:
        """Bytes of the keys and values kept."""
        return self._tree.used * self._token_bytes

    @property
    def tokens(self) -> int:
        """Tokens kept."""
        return self._tree.used

    @property
    def tokens_evicted(self) -> int:
        """Tokens given up for others so far."""
        return self._tree.evicted

    @torch.inference_mode()
    def load(self, decoder: Decoder, prompt: Sequence[int], cache: KVCache) -> int:
        """Fills an empty cache of one row with the longest beginning of `prompt` kept, at least its last
        token left out; returns its length."""
        self.bind(decoder)
        slots = self._tree.match(prompt[:-1])
        if len(slots) < MIN_REUSED:
            self.misses += 1
            return 0
        length = len(slots)
        copies: dict[int, SlotCopies] = {}
        """By the first token that the layer's window still sees."""
        for layer, window in enumerate(decoder.config.windows):
            first = 0 if window is None else max(0, length - window)
            if first not in copies:
                copies[first] = SlotCopies(slots[first:], self._keys[layer].device)
            for store, buffers in ((self._keys, cache.keys), (self._values, cache.values)):
                # Nothing attends to what is before the window, but 0 · NaN would be NaN.
                buffers[layer][0, :, :first] = 0
                copies[first].load(store[layer], buffers[layer][0, :, first:length])
        cache.length = length
        if decoder.config.parts.smear:
            last = torch.tensor([[prompt[length - 1]]], device=decoder.model.device)
            cache.last_embedding = decoder.model.embed(last)
        self.hits += 1
        self.tokens_reused += length
        return length

    @torch.inference_mode()
    def keep_prompt(self, decoder: Decoder, prompt: Sequence[int], start: int, cache: KVCache) -> None:
        """Keeps what `cache` has read of `prompt`; its first `start` tokens came from here."""
        self.bind(decoder)
        first, slots = self._tree.insert(prompt, start)
        if not len(slots):
            return
        copies, part = SlotCopies(slots, self._keys[0].device), slice(first, first + len(slots))
        for layer in range(decoder.config.n_layer):
            copies.save(cache.keys[layer][0, :, part], self._keys[layer])
            copies.save(cache.values[layer][0, :, part], self._values[layer])

    @torch.inference_mode()
    def keep_row(self, decoder: Decoder, tokens: Sequence[int], start: int, row: int) -> None:
        """Keeps what a row of the running batch has read: `tokens`, of which the first `start` were kept
        before, and no window has yet left the others."""
        self.bind(decoder)
        first, slots = self._tree.insert(tokens, start)
        if not len(slots):
            return
        copies = SlotCopies(slots, self._keys[0].device)
        for window in decoder.cache.windows:
            rows = slice(row * window.heads, (row + 1) * window.heads)
            begin = window.end - (len(tokens) - first)
            part = slice(begin, begin + len(slots))
            keys, values = window.keys[:, rows, part], window.values[:, rows, part]  # (layers, H_kv, n, D)
            if not decoder.reads_interleaved:
                keys = deinterleave(keys)
            for i, layer in enumerate(window.layers):
                copies.save(keys[i], self._keys[layer])
                copies.save(values[i], self._values[layer])

    @torch.inference_mode()
    def bind(self, decoder: Decoder) -> None:
        """Takes the memory; forgets everything unless the weights are those of the last call.

        Raises `UserError` when there is not as much memory.
        """
        if decoder.weights_key == self._weights_key:
            return
        same_model = decoder.weights_key[0] is self._weights_key[0]
        self._weights_key = (None, 0)
        if same_model:
            self._tree.clear()
        else:
            self._allocate(decoder.model)
        self._weights_key = decoder.weights_key

    def _allocate(self, model: GPT) -> None:
        """Room for as many tokens of this model as `max_bytes` hold."""
        config, dtype = model.config, model.compute_dtype
        self._keys, self._values = [], []
        self._token_bytes = 2 * config.n_layer * config.kv_dim * dtype.itemsize
        try:
            self._tree = PrefixTree(self.max_bytes // self._token_bytes)
            shape = (config.n_kv_head, self._tree.capacity, config.head_dim)
            # All at once, so that memory never fragments; on a CPU it is taken as it is first written to.
            for store in (self._keys, self._values):
                for _ in range(config.n_layer):
                    store.append(torch.empty(shape, dtype=dtype, device=model.device))
        # A CPU's allocator raises a plain RuntimeError, and torch.OutOfMemoryError is one.
        except (RuntimeError, MemoryError) as error:
            raise UserError(
                f"a prefix cache of {size_bytes(self.max_bytes)} does not fit in the memory: {model.device}",
                "give it less",
            ) from error
