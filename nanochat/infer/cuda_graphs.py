"""Decoding steps as CUDA graphs: a step is one launch, instead of some twenty kernels a layer.

A captured step has fixed shapes and addresses. So rows are rounded up to a bucket (the extra rows compute
what nobody reads), a batch reads its buffers from slot 0 to a rounded end, and the slot to write to comes
from a tensor. A graph is captured when its shape occurs for the second time, and all graphs are dropped when
a buffer has moved.
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from nanochat.infer.kvcache import BatchCache, LayerCacheView
from nanochat.model.architecture import ModelConfig

READ_BUCKET = 256
"""Slots that a captured read is rounded up to: one graph then serves that many steps."""
GRAPH_SPARE_SLOTS = 1024
"""Free slots added when a buffer grows: more than without graphs, since growing drops all of them."""


class CapturedStep(Protocol):
    """A computation that can run again on what its input buffers hold by then."""

    def replay(self) -> Tensor:
        """Runs it; the same result tensor each time, valid until the next run."""


Capture = Callable[[Callable[[], Tensor]], CapturedStep]
"""Makes a computation replayable. Its side effects happen with each replay, not with the capture."""


@dataclass
class _CapturedCudaGraph:
    graph: torch.cuda.CUDAGraph
    result: Tensor

    def replay(self) -> Tensor:
        self.graph.replay()
        return self.result


class CudaGraphCapture:
    """Captures on the CUDA device current in its thread; its graphs share one memory pool, as they never run
    at once."""

    def __init__(self) -> None:
        self._last: weakref.ref[torch.cuda.CUDAGraph] | None = None
        self._stream: torch.cuda.Stream | None = None

    def __call__(self, compute: Callable[[], Tensor]) -> CapturedStep:
        last = self._last() if self._last is not None else None
        graph = torch.cuda.CUDAGraph()
        # torch frees a pool with the last graph in it, and must not be given its id again: hence the weak
        # reference instead of the id.
        pool = None if last is None else last.pool()
        # A stream of its own: torch's is one for the process, on the device that captured first. And other
        # threads go on: a server loads a model, which allocates, while another one captures.
        self._stream = self._stream or torch.cuda.Stream()  # type: ignore[no-untyped-call]
        with torch.cuda.graph(graph, pool, self._stream, capture_error_mode="thread_local"):
            result = compute()
        self._last = weakref.ref(graph)
        return _CapturedCudaGraph(graph, result)


def row_bucket(rows: int) -> int:
    """The number that `rows` is rounded up to: a power of two, or from 12 on also 1.5 times one.

    1, 2, 4, 8, 12, 16, 24, 32, 48 …: few graphs are needed, and at most three rows in eight are padding.
    """
    power = 1 << (rows - 1).bit_length()
    between = power * 3 // 4
    return between if power >= 16 and rows <= between else power


class GraphableDecoder(Protocol):
    """What graphs need of a decoder: its buffers, and the computation of one step."""

    config: ModelConfig
    cache: BatchCache
    rotations: Tensor
    """(positions, D/2) complex64: the rotary embedding of each position."""
    like: Tensor
    """An empty tensor of the decoder's device and type."""

    @property
    def weights_version(self) -> int: ...

    def forward(self, ids: Tensor, views: list[LayerCacheView]) -> Tensor: ...


class StepGraphs:
    """The steps of one decoder's batch, captured by shape."""

    def __init__(self, decoder: GraphableDecoder, capture: Capture) -> None:
        self._decoder = decoder
        self._capture = capture
        device = decoder.like.device
        self._pinned = device.type == "cuda"
        self._ids = torch.zeros(0, dtype=torch.int64, device=device)  # (row capacity,)
        self._ends = torch.zeros(len(decoder.cache.windows), dtype=torch.int64, device=device)
        self._slots = torch.zeros(0, dtype=torch.int64, device=device)  # 0, 1, 2, …
        self._graphs: dict[tuple[int, ...], CapturedStep | None] = {}
        """By rows and the read length of each window; None for a shape that occurred once."""
        self._addresses: list[int] = []
        self.captured = 0
        """Graphs captured so far, including those dropped since."""

    def step(self, tokens: list[int]) -> Tensor:
        """Logits (B, V) float32 after one token a row: `Decoder.step` without advancing the cache."""
        cache = self._decoder.cache
        rows = row_bucket(len(tokens))
        cache.reserve_rows(rows)
        for window in cache.windows:
            window.compact(cache.max_lookback(window))
        read_lengths = [min(w.slots, -(-(w.end + 1) // READ_BUCKET) * READ_BUCKET) for w in cache.windows]
        self._write_inputs(tokens, rows, max(read_lengths))
        addresses = self._current_addresses()
        if addresses != self._addresses:
            self._graphs.clear()
            self._addresses = addresses
        shape = (rows, *read_lengths)

        def compute() -> Tensor:
            return self._decoder.forward(self._ids[:rows], self._cache_views(rows, read_lengths))

        if shape not in self._graphs:
            # Run eagerly the first time: it allocates what a capture must not, and a shape may never recur.
            self._graphs[shape] = None
            return compute()[: len(tokens)]
        graph = self._graphs[shape]
        if graph is None:
            graph = self._graphs[shape] = self._capture(compute)
            self.captured += 1
        return graph.replay()[: len(tokens)]

    def _write_inputs(self, tokens: list[int], rows: int, read_length: int) -> None:
        """Writes what changes with each step to the tensors that the graphs read."""
        if len(self._ids) < rows:
            self._ids = self._ids.new_zeros(rows)
        if len(self._slots) < read_length:
            self._slots = torch.arange(2 * read_length, device=self._slots.device)
        ends = [window.end for window in self._decoder.cache.windows]
        for buffer, numbers in ((self._ids[: len(tokens)], tokens), (self._ends, ends)):
            host = torch.tensor(numbers)
            # From pinned memory the copy does not make the host wait for the device.
            buffer.copy_(host.pin_memory() if self._pinned else host, non_blocking=self._pinned)

    def _current_addresses(self) -> list[int]:
        """The address of everything a captured step touches that may move."""
        decoder = self._decoder
        cache = decoder.cache
        buffers = [cache.positions, cache.last_embedding, decoder.rotations, self._ids, self._slots]
        for window in cache.windows:
            buffers += [window.keys, window.values, window.bias]
        return [decoder.weights_version, *(buffer.data_ptr() for buffer in buffers)]

    def _cache_views(self, rows: int, read_lengths: list[int]) -> list[LayerCacheView]:
        """The decoder's cache views in fixed shapes: only `rows` and `read_lengths` come from the host."""
        config, cache = self._decoder.config, self._decoder.cache
        height = rows * config.n_kv_head
        # The new key and value of a layer, copied to their slot by its number: an address would be captured.
        new = self._decoder.like.new_empty(2, rows, config.n_kv_head, config.head_dim)
        views: dict[int, LayerCacheView] = {}
        for number, (window, length) in enumerate(zip(cache.windows, read_lengths, strict=True)):
            end, slots = self._ends[number : number + 1], self._slots[:length]
            unseen = slots > end  # (length,)
            if window.window is not None:
                unseen |= slots < end - window.window
            # (B · H_kv, 1, length)
            bias = window.bias[:height, :, :length].masked_fill(unseen, float("-inf"))
            for i, layer in enumerate(window.layers):
                keys, values = window.keys[i, :height], window.values[i, :height]  # (B · H_kv, slots, D)
                views[layer] = LayerCacheView(
                    key=new[0],
                    value=new[1],
                    keys=keys[:, :length].transpose(1, 2),  # (B · H_kv, D, length)
                    values=values[:, :length],
                    bias=bias,
                    store=(end, keys, values),
                )
        return [views[layer] for layer in range(config.n_layer)]
