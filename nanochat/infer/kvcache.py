"""Keys and values kept between calls: of one prompt being read, and of a running batch of rows."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nanochat.model.architecture import ModelConfig

SLACK = 64
"""Free slots made when a buffer is moved or grown, at the least: it is done once in as many steps."""


class KVCache:
    """Keys and values of every layer for `rows` sequences of one length, and smear's last embedding.

    Buffers are (rows, capacity, H_kv, D) and grow by doubling.
    """

    def __init__(self, config: ModelConfig, rows: int, capacity: int, like: Tensor) -> None:
        shape = (rows, capacity, config.n_kv_head, config.head_dim)
        self.keys = [like.new_empty(shape) for _ in range(config.n_layer)]
        self.values = [like.new_empty(shape) for _ in range(config.n_layer)]
        self.length = 0
        self.last_embedding: Tensor | None = None

    def attend(
        self, layer: int, q: Tensor, k: Tensor, v: Tensor,
        attend: Callable[[Tensor, Tensor, Tensor], Tensor],
    ) -> Tensor:  # fmt: skip
        """`attend(q, …)` over all keys and values of the layer, k and v (rows, T, H_kv, D) the last."""
        return attend(q, *self.extend(layer, k, v))

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Stores k and v (rows, T, H_kv, D) after the present length; returns all of the layer's so far.

        The length itself moves once, when the model has passed its last layer.
        """
        end = self.length + k.size(1)
        for buffers, new in ((self.keys, k), (self.values, v)):
            if end > buffers[layer].size(1):
                old = buffers[layer]
                grown = old.new_empty(old.size(0), 2 * end, *old.shape[2:])
                grown[:, : self.length] = old[:, : self.length]
                buffers[layer] = grown
            buffers[layer][:, self.length : end] = new
        return self.keys[layer][:, :end], self.values[layer][:, :end]


class Track:
    """The decode buffers of the layers that share one window.

    All rows write on one clock: each step fills slot `end` of every row, so a row of n tokens holds the
    slots end − n … end − 1 whatever the others' lengths. A step then reads one slice for the whole batch,
    and what a window has left behind is dropped when the slice is moved back to the front. Slots before a
    row's first hold `bias` −∞, the rest 0.

    keys, values: (layers, rows·H_kv, slots, D); bias: (rows·H_kv, 1, slots).
    """

    def __init__(
        self, window: int | None, layers: list[int], heads: int, like: Tensor, dim: int, slack: int
    ) -> None:
        self.slack = slack
        self.window = window
        self.layers = layers
        self.heads = heads
        self.end = 0
        self.keys = like.new_zeros(len(layers), 0, 0, dim)
        self.values = self.keys.clone()
        self.bias = like.new_zeros(0, 1, 0)

    @property
    def slots(self) -> int:
        return self.keys.size(2)

    def kept(self, length: int) -> int:
        """Slots that the next token of a row of `length` tokens can look back on."""
        return length if self.window is None else min(length, self.window)

    def resize(self, rows: int, slots: int) -> None:
        """Larger buffers with the same content."""
        layers, old_rows, old_slots, dim = self.keys.shape
        height = max(rows * self.heads, old_rows)
        width = max(slots, old_slots)
        if (height, width) == (old_rows, old_slots):
            return
        for name in ("keys", "values"):
            # Zeros: a masked slot weighs nothing, but nothing times a NaN of fresh memory is a NaN.
            grown = self.keys.new_zeros(layers, height, width, dim)
            grown[:, :old_rows, :old_slots] = getattr(self, name)
            setattr(self, name, grown)
        bias = self.bias.new_zeros(height, 1, width)
        bias[:old_rows, :, :old_slots] = self.bias
        self.bias = bias

    def make_room(self, before: int, after: int, live: int) -> None:
        """Moves and grows so that `before` slots precede the clock and `after` are free from it on.

        `live` slots before the clock are in use.
        """
        if self.end >= before and self.end + after <= self.slots:
            return
        target = max(before, live)
        self.resize(0, target + max(after, self.slack, target // 8))
        if target != self.end:
            self._move(target, live)

    def settle(self, live: int) -> None:
        """Moves what is in use to the front when as much before it is not: for reads from slot 0 on."""
        if self.end - live > max(live, 4 * SLACK):
            self._move(live, live)

    def _move(self, target: int, live: int) -> None:
        source, destination = slice(self.end - live, self.end), slice(target - live, target)
        self.keys[:, :, destination] = self.keys[:, :, source].clone()
        self.values[:, :, destination] = self.values[:, :, source].clone()
        self.bias[:, :, destination] = self.bias[:, :, source].clone()
        self.bias[:, :, : target - live] = float("-inf")
        self.bias[:, :, target:] = 0
        self.end = target

    def put(self, row: int, length: int, keys: Tensor, values: Tensor) -> None:
        """Fills a row with the last slots of its prompt: keys, values (layers, H_kv, kept, D)."""
        rows = slice(row * self.heads, (row + 1) * self.heads)
        start = self.end - keys.size(2)
        self.keys[:, rows, start : self.end] = keys
        self.values[:, rows, start : self.end] = values
        self.bias[rows, :, :start] = float("-inf")
        self.bias[rows, :, start:] = 0

    def move_row(self, source: int, row: int, live: int) -> None:
        """Copies a row over another."""
        slots = slice(self.end - live, self.end)
        old, new = (slice(r * self.heads, (r + 1) * self.heads) for r in (source, row))
        self.keys[:, new, slots] = self.keys[:, old, slots]
        self.values[:, new, slots] = self.values[:, old, slots]
        self.bias[new] = self.bias[old]


class BatchCache:
    """What a running batch has read: tracks, and for each row its length and smear's last embedding.

    Rows are 0 … n−1; a row that leaves is replaced by the last one.
    """

    def __init__(self, config: ModelConfig, like: Tensor, slack: int = SLACK) -> None:
        windows, heads, dim = config.windows, config.n_kv_head, config.head_dim
        self.slack = slack
        self.tracks = [
            Track(w, [i for i, of in enumerate(windows) if of == w], heads, like, dim, slack)
            for w in dict.fromkeys(windows)
        ]
        self.lengths: list[int] = []
        self.positions = torch.zeros(0, dtype=torch.int64, device=like.device)
        self.last_embedding = like.new_zeros(0, config.n_embd)
        self.room = 0

    def make_rows(self, rows: int) -> None:
        """Room for at least that many rows."""
        if rows <= self.room:
            return
        for track in self.tracks:
            track.resize(rows, track.slots)
        for name in ("positions", "last_embedding"):
            old = getattr(self, name)
            grown = old.new_zeros(rows, *old.shape[1:])
            grown[: self.room] = old
            setattr(self, name, grown)
        self.room = rows

    def admit(self, prompt: KVCache, rows: int, to_come: int) -> None:
        """Adds `rows` rows that have read `prompt` (a cache of one row, keys laid out as ours are).

        `to_come`: tokens each is expected to add, to make room at once.
        """
        first, length = len(self.lengths), prompt.length
        if first + rows > self.room:
            self.make_rows(max(first + rows, min(2 * self.room, first + 4 * rows)))
        for track in self.tracks:
            if not self.lengths:
                track.end = 0
            kept = track.kept(length)
            track.make_room(kept, min(to_come, 4 * self.slack), self.live(track))
            part = slice(length - kept, length)
            keys = torch.stack([prompt.keys[i][0, part].transpose(0, 1) for i in track.layers])
            values = torch.stack([prompt.values[i][0, part].transpose(0, 1) for i in track.layers])
            for row in range(first, first + rows):
                track.put(row, length, keys, values)
        self.positions[first : first + rows] = length
        if prompt.last_embedding is not None:
            self.last_embedding[first : first + rows] = prompt.last_embedding[0]
        self.lengths += [length] * rows

    def remove(self, row: int) -> None:
        """Takes a row out; the last row takes its number."""
        last = len(self.lengths) - 1
        if row != last:
            for track in self.tracks:
                track.move_row(last, row, track.kept(self.lengths[last]))
            self.positions[row] = self.positions[last]
            self.last_embedding[row] = self.last_embedding[last]
            self.lengths[row] = self.lengths[last]
        self.lengths.pop()

    def live(self, track: Track) -> int:
        """Slots before the clock that some row of the batch looks back on."""
        return track.kept(max(self.lengths, default=0))

    def make_step(self) -> None:
        """A free slot on every track."""
        for track in self.tracks:
            track.make_room(0, 1, self.live(track))

    def advance(self) -> None:
        """The clock moves: every row has one token more."""
        for track in self.tracks:
            track.end += 1
        self.lengths = [length + 1 for length in self.lengths]
        self.positions[: len(self.lengths)] += 1


@dataclass
class LayerReads:
    """For one layer of one step: where the new key and value go, and what the queries see.

    key, value: (rows, H_kv, D); keys: (rows·H_kv, D, slots); values: (rows·H_kv, slots, D).
    """

    key: Tensor
    value: Tensor
    keys: Tensor
    values: Tensor
    bias: Tensor | None
    """(rows·H_kv, 1, slots), added to the scores."""
    store: tuple[Tensor, Tensor, Tensor] | None = None
    """Set where key and value are not slots themselves: the slot's number (1,), all keys and all values
    (rows·H_kv, slots, D)."""
