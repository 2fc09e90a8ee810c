"""Decoding steps as CUDA graphs: a step is launched as one thing, instead of some twenty kernels a layer.

A captured step has fixed shapes and addresses. So rows are rounded up to a bucket (rows too many compute
what nobody reads), a batch reads its buffers from slot 0 to a rounded end, and where the clock stands comes
from a tensor. A graph is captured when its shape is met for the second time, and all are dropped when a
buffer has moved.
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from nanochat.infer.kvcache import BatchCache, LayerReads
from nanochat.model.architecture import ModelConfig

REACH_STEP = 256
"""Slots that a captured read is rounded up to: a graph serves as many steps of one row."""
SLACK_OF_GRAPHS = 1024
"""Free slots made when a buffer is grown: growing drops every graph."""


class Captured(Protocol):
    """A computation that can be run again on what its input buffers hold by then."""

    def replay(self) -> Tensor:
        """Runs it; the same result tensor each time, good until the next run."""


Capture = Callable[[Callable[[], Tensor]], Captured]
"""Makes a computation replayable. Its side effects happen with each replay, not with the capture."""


@dataclass
class _CudaGraph:
    graph: torch.cuda.CUDAGraph
    result: Tensor

    def replay(self) -> Tensor:
        self.graph.replay()
        return self.result


class CudaCapture:
    """Captures on the current CUDA device; its graphs share one memory pool, as they run in turn."""

    def __init__(self) -> None:
        self._last: weakref.ref[torch.cuda.CUDAGraph] | None = None

    def __call__(self, compute: Callable[[], Tensor]) -> Captured:
        last = self._last() if self._last is not None else None
        graph = torch.cuda.CUDAGraph()
        # A pool goes with the last of its graphs, and must not be named again.
        with torch.cuda.graph(graph, pool=None if last is None else last.pool()):
            result = compute()
        self._last = weakref.ref(graph)
        return _CudaGraph(graph, result)


def bucket(rows: int) -> int:
    """The rows that `rows` are rounded up to: a power of two, or from 12 on also one and a half times one."""
    power = 1 << (rows - 1).bit_length()
    between = power * 3 // 4
    return between if power >= 16 and rows <= between else power


class GraphedDecoder(Protocol):
    """What graphs need of a decoder: its buffers, and the computation of one step."""

    config: ModelConfig
    cache: BatchCache
    angles: Tensor
    """Rotary angles (positions, head_dim / 2), complex64."""
    like: Tensor
    """An empty tensor of the decoder's device and type."""

    @property
    def weights_version(self) -> int: ...

    def forward(self, ids: Tensor, reads: list[LayerReads]) -> Tensor: ...


class StepGraphs:
    """The steps of one decoder's batch, captured by shape."""

    def __init__(self, decoder: GraphedDecoder, capture: Capture) -> None:
        self._decoder = decoder
        self._capture = capture
        device = decoder.like.device
        self._pinned = device.type == "cuda"
        self._ids = torch.zeros(0, dtype=torch.int64, device=device)
        self._ends = torch.zeros(len(decoder.cache.tracks), dtype=torch.int64, device=device)
        self._slots = torch.zeros(0, dtype=torch.int64, device=device)
        self._graphs: dict[tuple[int, ...], Captured | None] = {}
        self._made_from: list[int] = []
        self.captured = 0
        """Graphs captured so far, those dropped since included."""

    def step(self, tokens: list[int]) -> Tensor:
        """Logits (n, V) float32 after one token a row: `Decoder.step` without moving the clock."""
        cache = self._decoder.cache
        rows = bucket(len(tokens))
        cache.make_rows(rows)
        for track in cache.tracks:
            track.settle(cache.live(track))
        reaches = [min(t.slots, -(-(t.end + 1) // REACH_STEP) * REACH_STEP) for t in cache.tracks]
        self._fill(tokens, rows, max(reaches))
        made_from = self._addresses()
        if made_from != self._made_from:
            self._graphs.clear()
            self._made_from = made_from
        key = (rows, *reaches)

        def compute() -> Tensor:
            return self._decoder.forward(self._ids[:rows], self._reads(rows, reaches))

        if key not in self._graphs:
            # Run plainly the first time: it makes what is made once, and a shape may not come again.
            self._graphs[key] = None
            return compute()[: len(tokens)]
        graph = self._graphs[key]
        if graph is None:
            graph = self._graphs[key] = self._capture(compute)
            self.captured += 1
        return graph.replay()[: len(tokens)]

    def _fill(self, tokens: list[int], rows: int, reach: int) -> None:
        """Puts what changes with each step where the graphs read it."""
        if len(self._ids) < rows:
            self._ids = self._ids.new_zeros(rows)
        if len(self._slots) < reach:
            self._slots = torch.arange(2 * reach, device=self._slots.device)
        ends = [track.end for track in self._decoder.cache.tracks]
        for buffer, numbers in ((self._ids[: len(tokens)], tokens), (self._ends, ends)):
            host = torch.tensor(numbers)
            buffer.copy_(host.pin_memory() if self._pinned else host, non_blocking=self._pinned)

    def _addresses(self) -> list[int]:
        """Where everything lies that a captured step touches and that may move."""
        decoder = self._decoder
        cache = decoder.cache
        buffers = [cache.positions, cache.last_embedding, decoder.angles, self._ids, self._slots]
        for track in cache.tracks:
            buffers += [track.keys, track.values, track.bias]
        return [decoder.weights_version, *(buffer.data_ptr() for buffer in buffers)]

    def _reads(self, rows: int, reaches: list[int]) -> list[LayerReads]:
        """`Decoder.reads` of fixed shape: nothing but `rows` and `reaches` is taken from the host."""
        config, cache = self._decoder.config, self._decoder.cache
        height = rows * config.n_kv_head
        new = self._decoder.like.new_empty(2, rows, config.n_kv_head, config.head_dim)
        reads: dict[int, LayerReads] = {}
        for number, (track, reach) in enumerate(zip(cache.tracks, reaches, strict=True)):
            end, slots = self._ends[number : number + 1], self._slots[:reach]
            hidden = slots > end
            if track.window is not None:
                hidden |= slots < end - track.window
            bias = track.bias[:height, :, :reach].masked_fill(hidden, float("-inf"))
            for i, layer in enumerate(track.layers):
                keys, values = track.keys[i, :height], track.values[i, :height]
                reads[layer] = LayerReads(
                    new[0], new[1], keys[:, :reach].transpose(1, 2), values[:, :reach], bias,
                    (end, keys, values),
                )  # fmt: skip
        return [reads[i] for i in range(config.n_layer)]
