"""Keys and values kept between calls: of one prompt being read, and of a running batch of rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nanochat.infer.decode_weights import interleave
from nanochat.model.architecture import ModelConfig
from nanochat.model.cache import AlignedRows, Attend, Rotary, Tables

SPARE_SLOTS = 64
"""Free slots added at least when a buffer is moved or grown, so that this happens once in that many steps."""


class KVCache(AlignedRows):
    """Keys and values of every layer for `rows` sequences of one length, and smear's last embedding.

    Those of a layer are (rows, H_kv, slots, D), a slot a token; slots grow by doubling. `interleaved`: the
    channels of keys are in the order of the decode kernel, not in the model's.
    """

    def __init__(
        self, config: ModelConfig, rows: int, capacity: int, like: Tensor, interleaved: bool = False
    ) -> None:
        super().__init__()
        shape = (rows, config.n_kv_head, capacity, config.head_dim)
        self.keys = [like.new_empty(shape) for _ in range(config.n_layer)]
        self.values = [like.new_empty(shape) for _ in range(config.n_layer)]
        self.interleaved = interleaved

    @property
    def slots(self) -> int:
        """Tokens that there is memory for."""
        return self.keys[0].size(2)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, attend: Attend) -> Tensor:
        """`attend(q, …)` over all keys and values of the layer, k and v (rows, T, H_kv, D) appended."""
        return attend(q, *self.extend(layer, k, v))

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Appends k and v (rows, T, H_kv, D); returns all of the layer's, (rows, length + T, H_kv, D).

        The model adds T to `length` once, after its last layer.
        """
        end = self.length + k.size(1)
        for buffers, new in ((self.keys, k), (self.values, v)):
            old = buffers[layer]
            if end > old.size(2):
                buffers[layer] = old.new_empty(*old.shape[:2], 2 * end, old.size(3))
                buffers[layer][:, :, : self.length] = old[:, :, : self.length]
            buffers[layer][:, :, self.length : end] = new.transpose(1, 2)
        keys, values = (buffers[layer][:, :, :end].transpose(1, 2) for buffers in (self.keys, self.values))
        return keys, values


class PackedCache:
    """Several prompts that are read in one pass, one behind the other in one row: matrices meet the tokens of
    all of them at once, while each attends to its own cache of one row alone.

    The pass takes counts[0] tokens of the first, and so on.
    """

    def __init__(self, caches: Sequence[KVCache], counts: Sequence[int]) -> None:
        self._caches = caches
        self._counts = list(counts)

    def rotary(self, tokens: int, rotary: Rotary) -> Tables:
        """As in `Cache`: each prompt goes on from its own length."""
        parts = zip(self._caches, self._counts, strict=True)
        cos, sin = zip(*(cache.rotary(count, rotary) for cache, count in parts), strict=True)
        return torch.cat(cos), torch.cat(sin)

    def predecessors(self, x: Tensor) -> Tensor:
        """As in `Cache`: each prompt has its own last embedding."""
        parts = zip(self._caches, torch.split(x, self._counts, dim=1), strict=True)
        return torch.cat([cache.predecessors(part) for cache, part in parts], dim=1)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, attend: Attend) -> Tensor:
        """As in `Cache`: q (1, ΣT, H, D), prompt by prompt."""
        parts = zip(self._caches, *(torch.split(x, self._counts, dim=1) for x in (q, k, v)), strict=True)
        return torch.cat([cache.attend(layer, *part, attend) for cache, *part in parts], dim=1)

    def advance(self, tokens: int) -> None:
        """As in `Cache`."""
        for cache, count in zip(self._caches, self._counts, strict=True):
            cache.advance(count)


class WindowCache:
    """Keys and values of the layers that share one attention window, for every row of a running batch.

    All rows write to the same slot in the same step: a row of n tokens occupies the slots end − n … end − 1,
    however long the others are. One slice then serves the whole batch, without the block tables of paged
    attention (arXiv 2309.06180); slots older than the window are dropped when the slice is moved to the front
    of the buffer. A row shorter than the slice has a `bias` of −∞ on the slots before its first, 0 elsewhere.

    keys, values: (layers, rows · H_kv, slots, D); bias: (rows · H_kv, 1, slots).
    """

    def __init__(
        self, window: int | None, layers: list[int], heads: int, like: Tensor, dim: int, spare_slots: int
    ) -> None:
        self.spare_slots = spare_slots
        self.window = window
        self.layers = layers
        self.heads = heads
        self.end = 0
        """The slot that the next token of every row is written to."""
        self.keys = like.new_zeros(len(layers), 0, 0, dim)
        self.values = self.keys.clone()
        self.bias = like.new_zeros(0, 1, 0)

    @property
    def slots(self) -> int:
        """Slots there is memory for."""
        return self.keys.size(2)

    def lookback(self, length: int) -> int:
        """How many earlier tokens the next token of a row of `length` tokens attends to."""
        return length if self.window is None else min(length, self.window)

    def grow(self, rows: int, slots: int) -> None:
        """Makes the buffers at least that large, keeping their content."""
        layers, old_rows, old_slots, dim = self.keys.shape
        height = max(rows * self.heads, old_rows)
        width = max(slots, old_slots)
        if (height, width) == (old_rows, old_slots):
            return
        for name in ("keys", "values"):
            # Zeros, not empty memory: a masked slot has weight 0, but 0 · NaN would be NaN.
            grown = self.keys.new_zeros(layers, height, width, dim)
            grown[:, :old_rows, :old_slots] = getattr(self, name)
            setattr(self, name, grown)
        bias = self.bias.new_zeros(height, 1, width)
        bias[:old_rows, :, :old_slots] = self.bias
        self.bias = bias

    def reserve(self, before: int, after: int, used: int) -> None:
        """Moves and grows the buffers until `before` slots precede `end` and `after` are free from it on.

        `used` slots before `end` hold what some row still attends to.
        """
        if self.end >= before and self.end + after <= self.slots:
            return
        target = max(before, used)
        # An eighth more than needed, so that moving costs a constant number of copies a token, amortised.
        self.grow(0, target + max(after, self.spare_slots, target // 8))
        if target != self.end:
            self._move(target, used)

    def compact(self, used: int) -> None:
        """Moves the used slots to the front once as many unused ones precede them, for reads from slot 0."""
        if self.end - used > max(used, 4 * SPARE_SLOTS):
            self._move(used, used)

    def _move(self, target: int, used: int) -> None:
        """Moves the last `used` slots so that they end at slot `target`."""
        source, destination = slice(self.end - used, self.end), slice(target - used, target)
        # The two may overlap, hence the copies.
        self.keys[:, :, destination] = self.keys[:, :, source].clone()
        self.values[:, :, destination] = self.values[:, :, source].clone()
        self.bias[:, :, destination] = self.bias[:, :, source].clone()
        self.bias[:, :, : target - used] = float("-inf")
        self.bias[:, :, target:] = 0
        self.end = target

    def write_prompt(self, row: int, prompt: KVCache) -> None:
        """Fills a row with the last slots of a prompt's cache."""
        rows = slice(row * self.heads, (row + 1) * self.heads)
        lookback = self.lookback(prompt.length)
        slots, seen = slice(self.end - lookback, self.end), slice(prompt.length - lookback, prompt.length)
        parts = [(prompt.keys[layer][0, :, seen], prompt.values[layer][0, :, seen]) for layer in self.layers]
        if prompt.interleaved:
            for number, (keys, values) in enumerate(parts):  # (H_kv, lookback, D) each
                self.keys[number, rows, slots] = keys
                self.values[number, rows, slots] = values
        else:
            keys, values = (torch.stack(tensors) for tensors in zip(*parts, strict=True))
            self.keys[:, rows, slots] = interleave(keys)
            self.values[:, rows, slots] = values
        self.bias[rows, :, : slots.start] = float("-inf")
        self.bias[rows, :, slots.start :] = 0

    def copy_row(self, source: int, row: int, used: int) -> None:
        """Copies the last `used` slots of row `source` over another row."""
        slots = slice(self.end - used, self.end)
        old, new = (slice(r * self.heads, (r + 1) * self.heads) for r in (source, row))
        self.keys[:, new, slots] = self.keys[:, old, slots]
        self.values[:, new, slots] = self.values[:, old, slots]
        self.bias[new] = self.bias[old]


class BatchCache:
    """What a running batch has read: a `WindowCache` for each distinct window, and of each row its length and
    last embedding, which smear reads.

    Rows are 0 … n−1; the last row takes the place of one that leaves.
    """

    def __init__(self, config: ModelConfig, like: Tensor, spare_slots: int = SPARE_SLOTS) -> None:
        self.spare_slots = spare_slots
        self.windows = [
            WindowCache(
                window,
                layers=[layer for layer, of in enumerate(config.windows) if of == window],
                heads=config.n_kv_head,
                like=like,
                dim=config.head_dim,
                spare_slots=spare_slots,
            )
            for window in dict.fromkeys(config.windows)
        ]
        self.lengths: list[int] = []
        self.positions = torch.zeros(0, dtype=torch.int64, device=like.device)
        """(row_capacity,): the position of each row's next token, on the device."""
        self.last_embedding = like.new_zeros(0, config.n_embd)
        """(row_capacity, C)."""
        self.row_capacity = 0

    def reserve_rows(self, rows: int) -> None:
        """Makes room for at least that many rows."""
        if rows <= self.row_capacity:
            return
        for window in self.windows:
            window.grow(rows, window.slots)
        for name in ("positions", "last_embedding"):
            old = getattr(self, name)
            grown = old.new_zeros(rows, *old.shape[1:])
            grown[: self.row_capacity] = old
            setattr(self, name, grown)
        self.row_capacity = rows

    def admit(self, prompt: KVCache, rows: int, expected_tokens: int) -> None:
        """Adds `rows` rows that have read `prompt`, a cache of one row.

        `expected_tokens` is how many tokens each row may still add: memory is made for some of them at once.
        """
        first, length = len(self.lengths), prompt.length
        if first + rows > self.row_capacity:
            self.reserve_rows(max(first + rows, min(2 * self.row_capacity, first + 4 * rows)))
        for window in self.windows:
            if not self.lengths:
                window.end = 0  # nothing is in use: start over at the front
            lookback = window.lookback(length)
            window.reserve(lookback, min(expected_tokens, 4 * self.spare_slots), self.max_lookback(window))
            window.write_prompt(first, prompt)
            for row in range(first + 1, first + rows):
                window.copy_row(first, row, lookback)
        self.positions[first : first + rows] = length
        if prompt.last_embedding is not None:
            self.last_embedding[first : first + rows] = prompt.last_embedding[0]
        self.lengths += [length] * rows

    def remove(self, row: int) -> None:
        """Takes a row out; the last row takes its number."""
        last = len(self.lengths) - 1
        if row != last:
            for window in self.windows:
                window.copy_row(last, row, window.lookback(self.lengths[last]))
            self.positions[row] = self.positions[last]
            self.last_embedding[row] = self.last_embedding[last]
            self.lengths[row] = self.lengths[last]
        self.lengths.pop()

    def max_lookback(self, window: WindowCache) -> int:
        """How many slots before `window.end` some row of the batch attends to."""
        return window.lookback(max(self.lengths, default=0))

    def reserve_step(self) -> None:
        """Makes a free slot for the next token in every window."""
        for window in self.windows:
            window.reserve(0, 1, self.max_lookback(window))

    def advance(self) -> None:
        """Counts the token that every row has just written."""
        for window in self.windows:
            window.end += 1
        self.lengths = [length + 1 for length in self.lengths]
        self.positions[: len(self.lengths)] += 1


@dataclass
class LayerCacheView:
    """For one layer of one step: where the new key and value are written, and what the queries attend to."""

    key: Tensor
    """(rows, H_kv, D)."""
    value: Tensor
    """(rows, H_kv, D)."""
    keys: Tensor
    """(rows · H_kv, D, slots): transposed, for the product with the queries."""
    values: Tensor
    """(rows · H_kv, slots, D)."""
    bias: Tensor | None
    """(rows · H_kv, 1, slots), added to the scores; None when every row is as long as the slice."""
    store: tuple[Tensor, Tensor, Tensor] | None = None
    """Set where `key` and `value` are not slots themselves but must be copied there: the slot's number (1,),
    and all keys and all values (rows · H_kv, slots, D)."""
