"""The decoding step of a CPU: one call of the compiled kernel (`nanochat/infer/decode_kernel`, in Rust).

Torch takes some thirty operations a layer, which on a small model cost more to start than to compute. The
kernel takes float32 and works in float32: of a model of another compute type the matrices are those it rounds
to, tables and everything between are exact.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nanochat.infer.decode_weights import Weights
from nanochat.infer.kvcache import BatchCache
from nanochat.model.architecture import SOFTCAP, ModelConfig, matmul_parameters

try:
    from rustbpe._rustbpe import DecodeKernel
except ImportError:  # a bare checkout without Rust: torch decodes
    DecodeKernel = None  # type: ignore[assignment,misc]

THREAD_FLOPS = 3_000_000
"""Work of a step that pays for one more thread."""
PANEL = 32
"""Columns of a matrix that the kernel computes together."""


def kernel_there() -> bool:
    """Whether the compiled kernel was built."""
    return DecodeKernel is not None


@dataclass
class _Layer:
    """What the kernel takes of a block: arrays, (inputs, outputs) each."""

    qkv: Any
    out: Any
    up: Any
    down: Any
    value_table: Any
    mix: tuple[float, float]
    place: tuple[int, int]


@dataclass
class _Track:
    """What the kernel takes of a track: keys and values (layers, rows · H_kv, slots, D), the slot of the new
    token, and the first slot that each row sees."""

    keys: Any
    values: Any
    end: int
    starts: list[int]


def array(tensor: Tensor) -> Any:
    """The same memory as a numpy array of float32; a copy where it is of another type."""
    return tensor.detach().float().contiguous().numpy()


class CpuStep:
    """One token for every row of a batch, by the kernel. Holds packed copies of the matrices."""

    def __init__(self, config: ModelConfig, weights: Weights) -> None:
        self.config = config
        cache = BatchCache(config, torch.empty(0))
        places = {
            layer: (number, index)
            for number, track in enumerate(cache.tracks)
            for index, layer in enumerate(track.layers)
        }
        first = [1.0] * config.n_layer if weights.first is None else weights.first.flatten().tolist()
        layers = [
            _Layer(
                array(layer.qkv), array(layer.out), array(layer.up), array(layer.down),
                None if layer.value_embed is None else array(layer.value_embed),
                (weights.resid[i] if weights.resid else 1.0, first[i]), places[i],
            )
            for i, layer in enumerate(weights.layers)
        ]  # fmt: skip
        self._kernel = DecodeKernel(
            array(weights.wte), array(weights.head), layers,
            heads=config.n_head, kv_heads=config.n_kv_head, dim=config.head_dim,
            scale=config.parts.qk_gain**2 / config.head_dim**0.5, softcap=SOFTCAP,
            mixes=weights.first is not None,
            smear=None if weights.smear is None else weights.smear.float().flatten().tolist(),
            smear_scale=weights.smear_scale, backout=weights.backout if config.parts.backout else None,
        )  # fmt: skip

    @property
    def instructions(self) -> str:
        """The instruction set it runs in."""
        return self._kernel.instructions

    def step(self, tokens: list[int], cache: BatchCache, angles: Tensor, logits: Tensor) -> None:
        """Fills `logits` (rows, V) with those of the tokens that follow; writes keys, values and embeddings
        to the cache. `angles`: (positions, D/2) complex."""
        tracks = [
            _Track(
                track.keys.numpy(), track.values.numpy(), track.end,
                [track.end - track.kept(length) for length in cache.lengths],
            )
            for track in cache.tracks
        ]  # fmt: skip
        self._kernel.step(
            tokens, cache.lengths, tracks, last=cache.last_embedding.numpy(),
            angles=torch.view_as_real(angles).numpy(), logits=logits.numpy(),
            threads=self._threads(len(tokens)),
        )  # fmt: skip

    def _threads(self, rows: int) -> int:
        """Threads that a step of `rows` rows is worth; each has some columns of every matrix."""
        flops = 2 * matmul_parameters(self.config) * rows
        return max(1, min(torch.get_num_threads(), flops // THREAD_FLOPS, self.config.n_embd // PANEL))
