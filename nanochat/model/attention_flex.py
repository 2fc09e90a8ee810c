"""FlexAttention over a sliding window, for CUDA. Imported where it is used: with it come sympy and 0.3 s."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

# Training asks for the same masks at every step.
_block_masks: dict[tuple[int, int, torch.device], BlockMask] = {}


def block_mask(length: int, window: int, device: torch.device) -> BlockMask:
    """Which blocks of a (length, length) square a left window touches; made once for a shape."""
    key = (length, window, device)
    if key not in _block_masks:

        def allowed(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return (key <= query) & (query - key <= window)

        _block_masks[key] = create_block_mask(allowed, None, None, length, length, device=str(device))
    return _block_masks[key]


@functools.cache
def _compiled_flex() -> Callable[..., Any]:
    compiled: Callable[..., Any] = torch.compile(flex_attention, dynamic=False)
    return compiled


def flex_window(q: Tensor, k: Tensor, v: Tensor, window: int, scale: float) -> Tensor:
    """FlexAttention (arXiv 2412.05496) over a left window: blocks outside it are skipped. (B, H, T, D).

    On a CPU it is computed plainly and has no gradient.
    """
    mask = block_mask(q.size(2), window, q.device)
    plain = q.device.type == "cpu" or torch.compiler.is_compiling()
    attention: Any = flex_attention if plain else _compiled_flex()
    y: Tensor = attention(q, k, v, block_mask=mask, scale=scale, enable_gqa=q.size(1) != k.size(1))
    return y
