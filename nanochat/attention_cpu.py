"""Causal attention for training on a CPU, with a hand-written gradient.

Products are as large as the cache allows: torch's CPU kernel works in tiles of 64 queries, too small for its
matrix products to run at full speed. Here a block of queries of one row meets all the keys it may see at
once, for all heads; the weights are kept for the gradient. In bfloat16 scores and softmax are in float32,
as are sums over blocks; all other products are in bfloat16.
"""

from typing import Any

import torch
from torch import Tensor

from nanochat.attention_blocks import blocks, kept_weights


def fits_by_hand(q: Tensor, k: Tensor, window: int | None) -> bool:
    """Whether this form is the faster one for q (B, T, H, D) and k, and its memory bearable."""
    batch, length, heads, _ = q.shape
    return (
        q.device.type == "cpu"
        and q.requires_grad
        and q.shape == k.shape
        and kept_weights(batch, heads, length, window, _name(q.dtype)) > 0
        and not torch.compiler.is_compiling()
    )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def attend_by_hand(q: Tensor, k: Tensor, v: Tensor, window: int | None, scale: float) -> Tensor:
    """q, k, v (B, T, H, D) → (B, T, H, D); a query sees itself and `window` keys before it (None: all)."""
    out: Tensor = _Causal.apply(q, k, v, window, scale)
    return out


def _hidden(low: int, start: int, stop: int, window: int | None) -> Tensor:
    """(queries, last keys) bool: True where a query of the block may not look; keys before are seen."""
    first = start if window is None else low
    query, key = torch.arange(start, stop)[:, None], torch.arange(first, stop)[None]
    hidden = key > query
    return hidden if window is None else hidden | (query - key > window)


class _Causal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, window: int | None, scale: float) -> Tensor:
        out = torch.empty_like(q, memory_format=torch.contiguous_format)
        parts = blocks(q.size(1), window, _name(q.dtype))
        masks = [_hidden(*part, window) for part in parts]
        kept = []
        for row, result in zip(range(len(q)), out, strict=True):
            # (H, T, D) views: the heads are the batch of every product.
            queries, keys, values = (x[row].transpose(0, 1) for x in (q, k, v))
            queries, keys = queries.float() * scale, keys.float()
            for (low, start, stop), hidden in zip(parts, masks, strict=True):
                scores = torch.bmm(queries[:, start:stop], keys[:, low:stop].mT)
                scores[..., -hidden.size(1) :].masked_fill_(hidden, float("-inf"))
                weights = scores.softmax(-1).to(q.dtype)
                result[start:stop] = torch.bmm(weights, values[:, low:stop]).transpose(0, 1)
                kept.append(weights)
        ctx.save_for_backward(q, k, v, out, *kept)
        ctx.window, ctx.scale = window, scale
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, *kept = ctx.saved_tensors
        batch, length, heads, dim = q.shape
        of_q = torch.empty_like(q, memory_format=torch.contiguous_format)
        of_k, of_v = (torch.zeros((batch, heads, length, dim)) for _ in "kv")
        # Σ_j weight · (its gradient), which the softmax takes off, is out · grad.
        shared = torch.linalg.vecdot(out.float(), grad.float()).neg_().unsqueeze(-1)
        parts = blocks(length, ctx.window, _name(q.dtype))
        for row in range(batch):
            queries, keys, values, upstream, less = (x[row].transpose(0, 1) for x in (q, k, v, grad, shared))
            for number, (low, start, stop) in enumerate(parts):
                weights = kept[row * len(parts) + number]
                part, seen = slice(start, stop), slice(low, stop)
                _add_product(of_v[row][:, seen], weights.mT, upstream[:, part])
                slope = torch.bmm(upstream[:, part], values[:, seen].mT).add_(less[:, part]).mul_(weights)
                of_q[row][part] = torch.bmm(slope, keys[:, seen]).mul_(ctx.scale).transpose(0, 1)
                _add_product(of_k[row][:, seen], slope.mT, queries[:, part], ctx.scale)
        of_k, of_v = (x.transpose(1, 2).to(q.dtype) for x in (of_k, of_v))
        return of_q, of_k, of_v, None, None


def _add_product(total: Tensor, a: Tensor, b: Tensor, scale: float = 1.0) -> None:
    """total (float32) += scale · a b, batches of matrices."""
    if a.dtype == total.dtype:
        total.baddbmm_(a, b, alpha=scale)
    else:
        total.add_(torch.bmm(a, b), alpha=scale)
