"""Decoding and reading on a CPU: one call of the compiled kernel (`nanochat/infer/decode_kernel`, in Rust).

Torch takes some thirty operations a layer, which on a small model cost more to start than to compute. The
kernel takes float32 and computes in float32: of a model of another compute type the matrices are rounded to
that type, tables and everything between are exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nanochat.infer.decode_weights import DecodeWeights
from nanochat.infer.kvcache import BatchCache
from nanochat.infer.prompt_reader import PromptPart
from nanochat.model.architecture import SOFTCAP, ModelConfig, matmul_parameters

try:
    from rustbpe._rustbpe import DecodeKernel
except ImportError:  # a bare checkout without Rust: torch decodes
    DecodeKernel = None  # type: ignore[assignment,misc]

FLOPS_PER_THREAD = 3_000_000
"""Work that pays for one more thread: below it, waiting for the thread takes longer than the work it
saves."""
READ_TOKENS = 256
"""Tokens of prompts that a pass reads at most: what lies between two products stays in the cache."""
PANEL = 32
"""Columns of a matrix that the kernel computes together: a thread with fewer has nothing to do."""


def kernel_available() -> bool:
    """Whether the compiled kernel was built."""
    return DecodeKernel is not None


@dataclass
class _KernelLayer:
    """The arrays of a block as the kernel reads them by name; shapes as in `LayerWeights`."""

    qkv: Any
    out: Any
    up: Any
    down: Any
    value_table: Any
    mix: tuple[float, float]
    """Factors of the residual stream and of the first embedding."""
    place: tuple[int, int]
    """Number of the window cache, and of the layer in it."""


@dataclass
class _KernelWindow:
    """A window cache as the kernel reads it by name."""

    keys: Any
    """(layers, rows · H_kv, slots, D)."""
    values: Any
    """(layers, rows · H_kv, slots, D)."""
    end: int
    """The slot of the new token."""
    starts: list[int]
    """The first slot that each row attends to."""


@dataclass
class _KernelPrompt:
    """A prompt being read as the kernel reads it by name."""

    start: int
    """Tokens read before."""
    count: int
    """Tokens of this pass."""
    keys: list[Any]
    """(H_kv, slots, D) of each layer."""
    values: list[Any]
    last: Any
    """(C) smear's last embedding, None for a model without smear."""


def as_numpy(tensor: Tensor) -> Any:
    """The same memory as a numpy array of float32; a copy where the tensor has another type."""
    return tensor.detach().float().contiguous().numpy()


class CpuStep:
    """One token for every row of a batch, or prompts, by the kernel. Holds packed copies of the matrices."""

    def __init__(self, config: ModelConfig, weights: DecodeWeights) -> None:
        self.config = config
        smear = None if weights.smear_gate is None else weights.smear_gate.float().flatten().tolist()
        self._kernel = DecodeKernel(
            as_numpy(weights.wte),
            as_numpy(weights.head),
            self._layers(weights),
            heads=config.n_head,
            kv_heads=config.n_kv_head,
            dim=config.head_dim,
            scale=config.parts.qk_gain**2 / config.head_dim**0.5,
            softcap=SOFTCAP,
            mixes=weights.x0_scales is not None,
            smear=smear,
            smear_scale=weights.smear_scale,
            backout=weights.backout_scale if config.parts.backout else None,
        )

    def _layers(self, weights: DecodeWeights) -> list[_KernelLayer]:
        config = self.config
        windows = BatchCache(config, torch.empty(0)).windows
        places = {
            layer: (number, index)
            for number, window in enumerate(windows)
            for index, layer in enumerate(window.layers)
        }
        resid = weights.resid_scales or [1.0] * config.n_layer
        x0 = [1.0] * config.n_layer if weights.x0_scales is None else weights.x0_scales.flatten().tolist()
        return [
            _KernelLayer(
                qkv=as_numpy(layer.qkv),
                out=as_numpy(layer.out),
                up=as_numpy(layer.up),
                down=as_numpy(layer.down),
                value_table=None if layer.value_embed is None else as_numpy(layer.value_embed),
                mix=(resid[number], x0[number]),
                place=places[number],
            )
            for number, layer in enumerate(weights.layers)
        ]

    @property
    def instructions(self) -> str:
        """The instruction set it runs in, such as AVX-512."""
        return self._kernel.instructions

    def step(self, tokens: list[int], cache: BatchCache, rotations: Tensor, logits: Tensor) -> None:
        """Reads one token a row and fills `logits` (B, V) with those of the next; writes keys, values and
        embeddings to the cache. `rotations`: (positions, D/2) complex64."""
        windows = [
            _KernelWindow(
                keys=window.keys.numpy(),
                values=window.values.numpy(),
                end=window.end,
                starts=[window.end - window.lookback(length) for length in cache.lengths],
            )
            for window in cache.windows
        ]
        self._kernel.step(
            tokens,
            cache.lengths,
            windows,
            last=cache.last_embedding.numpy(),
            angles=torch.view_as_real(rotations).numpy(),
            logits=logits.numpy(),
            threads=self._threads(len(tokens)),
        )

    def read(self, parts: Sequence[PromptPart], rotations: Tensor) -> Tensor:
        """One pass over the tokens of all parts: the logits (parts, V) of each one's next token. Their caches
        hold keys with interleaved channels. `rotations` as in `step`."""
        tokens = [token for part in parts for token in part.tokens]
        logits = torch.empty(len(parts), self.config.vocab_size)
        wanted = any(part.each_chunk is not None for part in parts)
        hidden = torch.empty(len(tokens), self.config.n_embd) if wanted else None
        self._kernel.read(
            tokens,
            [self._prompt(part) for part in parts],
            windows=list(self.config.windows),
            angles=torch.view_as_real(rotations).numpy(),
            logits=logits.numpy(),
            hidden=None if hidden is None else hidden.numpy(),
            threads=self._threads(len(tokens)),
        )
        first = 0
        for part in parts:
            count = len(part.tokens)
            part.cache.advance(count)
            if part.each_chunk is not None and hidden is not None:
                part.each_chunk(hidden[first : first + count])
            first += count
        return logits

    def _prompt(self, part: PromptPart) -> _KernelPrompt:
        cache = part.cache
        if self.config.parts.smear and cache.last_embedding is None:
            cache.last_embedding = torch.zeros(1, 1, self.config.n_embd)
        last = cache.last_embedding
        return _KernelPrompt(
            start=cache.length,
            count=len(part.tokens),
            keys=[keys[0].numpy() for keys in cache.keys],
            values=[values[0].numpy() for values in cache.values],
            last=None if last is None else last.numpy(),
        )

    def _threads(self, rows: int) -> int:
        """How many threads `rows` tokens are worth; each takes some columns of every matrix."""
        flops = 2 * matmul_parameters(self.config) * rows
        return max(1, min(torch.get_num_threads(), flops // FLOPS_PER_THREAD, self.config.n_embd // PANEL))
