"""Caches of prompts that are used again: on a CPU fresh memory is handed over page by page as it is first
written to, which for a small model takes as long as copying a conversation there."""

from nanochat.infer.decoder import Decoder
from nanochat.infer.kvcache import KVCache

POOL_BYTES = 64 << 20
"""Of all caches kept; of a model whose prompts take more, reading takes many times as long."""
ROUND = 1024
"""Slots are made in multiples of this, so that the next turn of a conversation fits, too."""


class CachePool:
    """Empty caches of one row for a decoder's prompts."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        config, dtype = decoder.config, decoder.model.compute_dtype
        self._token_bytes = 2 * config.n_layer * config.kv_dim * dtype.itemsize
        self._spare: list[KVCache] = []

    def take(self, tokens: int) -> KVCache:
        """An empty cache for at most that many tokens."""
        for number, cache in enumerate(self._spare):
            if cache.slots >= tokens:
                del self._spare[number]
                return cache
        rounded = -(-tokens // ROUND) * ROUND
        return self._decoder.prompt_cache(rounded if self._is_kept(rounded) else tokens)

    def give(self, cache: KVCache) -> None:
        """Takes back a cache that nobody reads any more."""
        if not self._is_kept(cache.slots):
            return
        cache.length, cache.last_embedding = 0, None
        self._spare.append(cache)
        while not self._is_kept(sum(cache.slots for cache in self._spare)):
            del self._spare[0]

    def _is_kept(self, slots: int) -> bool:
        """Whether so many slots are within the bound. A GPU's allocator keeps memory by itself."""
        return self._decoder.model.device.type == "cpu" and slots * self._token_bytes <= POOL_BYTES
