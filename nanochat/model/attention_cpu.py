"""Custom causal attention on a CPU: with its own gradient for training, and without one for reading.

Products are as large as the cache allows: torch's CPU kernel works in tiles of 64 queries, too small for its
matrix products to run at full speed. Here a block of queries of one row meets all the keys it may see at
once, for all heads. For training the attention weights are kept for the gradient, where FlashAttention (arXiv
2205.14135) computes them again: on a CPU memory is there and arithmetic is what costs. In bfloat16 scores and
softmax are in float32, as are sums over blocks; all other products are in bfloat16.

Shapes: B rows, T tokens, H heads, D channels of a head; a block has n queries and m keys.
"""

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nanochat.model.attention_blocks import blocks, kept_weights

# -- with a gradient -------------------------------------------------------------------------------


def custom_attention_supported(q: Tensor, k: Tensor, window: int | None) -> bool:
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


def custom_attention(q: Tensor, k: Tensor, v: Tensor, window: int | None, scale: float) -> Tensor:
    """q, k, v (B, T, H, D) → (B, T, H, D); a query sees itself and `window` keys before it (None: all)."""
    out: Tensor = _CausalAttention.apply(q, k, v, window, scale)
    return out


def _block_mask(low: int, start: int, stop: int, window: int | None) -> Tensor:
    """(queries, last keys) bool: True where a query of the block may not look; keys before are seen."""
    first = start if window is None else low
    query, key = torch.arange(start, stop)[:, None], torch.arange(first, stop)[None]
    masked = key > query
    return masked if window is None else masked | (query - key > window)


class _CausalAttention(torch.autograd.Function):
    """softmax(scale · q kᵀ + mask) v, block by block of queries."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, window: int | None, scale: float) -> Tensor:
        out = torch.empty_like(q, memory_format=torch.contiguous_format)  # (B, T, H, D)
        parts = blocks(q.size(1), window, _name(q.dtype))
        masks = [_block_mask(*part, window) for part in parts]
        kept = []
        for row, result in zip(range(len(q)), out, strict=True):
            # (H, T, D) views: the heads are the batch of every product.
            queries, keys, values = (x[row].transpose(0, 1) for x in (q, k, v))
            queries, keys = queries.float() * scale, keys.float()
            for (low, start, stop), mask in zip(parts, masks, strict=True):
                scores = torch.bmm(queries[:, start:stop], keys[:, low:stop].mT)  # (H, n, m)
                scores[..., -mask.size(1) :].masked_fill_(mask, float("-inf"))
                weights = scores.softmax(-1).to(q.dtype)  # (H, n, m)
                result[start:stop] = torch.bmm(weights, values[:, low:stop]).transpose(0, 1)  # (n, H, D)
                kept.append(weights)
        ctx.save_for_backward(q, k, v, out, *kept)
        ctx.window, ctx.scale = window, scale
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, *kept = ctx.saved_tensors
        batch, length, heads, dim = q.shape
        grad_q = torch.empty_like(q, memory_format=torch.contiguous_format)  # (B, T, H, D)
        grad_k, grad_v = (torch.zeros((batch, heads, length, dim)) for _ in "kv")  # float32
        # The softmax's gradient subtracts Σ_j weight_j · grad_weight_j, which is out · grad (FlashAttention,
        # appendix B.2): one product a query instead of one a weight.
        shared = torch.linalg.vecdot(out.float(), grad.float()).neg_().unsqueeze(-1)  # (B, T, H, 1)
        parts = blocks(length, ctx.window, _name(q.dtype))
        for row in range(batch):
            queries, keys, values, grad_out, minus = (
                x[row].transpose(0, 1) for x in (q, k, v, grad, shared)
            )  # (H, T, D), `minus` (H, T, 1)
            for number, (low, start, stop) in enumerate(parts):
                weights = kept[row * len(parts) + number]  # (H, n, m)
                part, seen = slice(start, stop), slice(low, stop)
                _add_product(grad_v[row][:, seen], weights.mT, grad_out[:, part])
                grad_weights = torch.bmm(grad_out[:, part], values[:, seen].mT)  # (H, n, m)
                grad_scores = grad_weights.add_(minus[:, part]).mul_(weights)
                grad_q[row][part] = torch.bmm(grad_scores, keys[:, seen]).mul_(ctx.scale).transpose(0, 1)
                _add_product(grad_k[row][:, seen], grad_scores.mT, queries[:, part], ctx.scale)
        grad_k, grad_v = (x.transpose(1, 2).to(q.dtype) for x in (grad_k, grad_v))  # (B, T, H, D)
        return grad_q, grad_k, grad_v, None, None


def _add_product(total: Tensor, a: Tensor, b: Tensor, scale: float = 1.0) -> None:
    """total (float32) += scale · a b, batches of matrices."""
    if a.dtype == total.dtype:
        total.baddbmm_(a, b, alpha=scale)
    else:
        total.add_(torch.bmm(a, b), alpha=scale)


# -- without a gradient ----------------------------------------------------------------------------

READ_BLOCK = 128
"""Queries at a time when nothing is kept."""
READ_TOKENS = 512
"""Tokens of tails at a time: their scores over a prefix of 2,048 for eight heads are 32 MB."""


def inference_attention_supported(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether attention of q (B, T, H, D) needs no gradient and this form is faster than torch's kernel."""
    learns = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v))
    return (
        q.device.type == "cpu"
        and q.dtype in (torch.float32, torch.bfloat16)
        and not learns
        and not torch.compiler.is_compiling()
    )


def inference_attention(q: Tensor, k: Tensor, v: Tensor, window: int | None, scale: float) -> Tensor:
    """q (B, Tq, H, D), the last of k, v (B, Tk, H_kv, D) → (B, Tq, H, D), without a gradient.

    Only the keys that a block of queries can see are multiplied, and only their edges are masked.
    """
    batch, length, heads, _ = q.shape
    before, kv_heads = k.size(1) - length, k.size(2)
    group = heads // kv_heads
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    for row in range(batch):
        keys, values = k[row].transpose(0, 1).float(), v[row].transpose(0, 1)  # (H_kv, Tk, D)
        for start in range(0, length, READ_BLOCK):
            stop = min(start + READ_BLOCK, length)
            count = stop - start
            low = 0 if window is None else max(0, before + start - window)
            seen = slice(low, before + stop)
            queries = _group_queries(q[row, start:stop], kv_heads, scale)  # (H_kv, group · n, D)
            scores = torch.bmm(queries, keys[:, seen].mT)  # (H_kv, group · n, m)
            square = scores.view(kv_heads, group, count, -1)
            square[..., -count:].masked_fill_(_future_mask(count), float("-inf"))
            if window is not None:
                _mask_beyond_window(square, window, count)
            part = torch.bmm(scores.softmax(-1).to(v.dtype), values[:, seen])  # (H_kv, group · n, D)
            _ungroup(part, out[row, start:stop])
    return out


def shared_prefix_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    prefix_k: Tensor,
    prefix_v: Tensor,
    counts: Sequence[int],
    window: int | None,
    scale: float,
) -> Tensor:
    """Attention of tails q (R, T, H, D), k, v (R, T, H_kv, D) that continue prefixes (I, P, H_kv, D).

    The first counts[0] tails continue prefix 0, and so on: they meet its keys as the rows of one product, so
    that each prefix is read once however many tails it has.
    """
    length = q.size(1)
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    together = max(1, READ_TOKENS // length)
    last = 0
    for number, tails in enumerate(counts):
        # (H_kv, P, D)
        old_keys, old_values = prefix_k[number].transpose(0, 1).float(), prefix_v[number].transpose(0, 1)
        first, last = last, last + tails
        for top in range(first, last, together):
            rows = slice(top, min(top + together, last))
            for start in range(0, length, READ_TOKENS):
                stop = min(start + READ_TOKENS, length)
                out[rows, start:stop] = _after_prefix(
                    q[rows, start:stop],
                    k[rows, :stop],
                    v[rows, :stop],
                    old_keys,
                    old_values,
                    window,
                    scale,
                )
    return out


def _after_prefix(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    old_keys: Tensor,
    old_values: Tensor,
    window: int | None,
    scale: float,
) -> Tensor:
    """Attention of the last n tokens of r tails over their one prefix and themselves.

    q: (r, n, H, D); k, v: (r, t, H_kv, D); old_keys (float32), old_values: (H_kv, P, D) → (r, n, H, D).
    """
    tails, count, heads, dim = q.shape
    kv_heads, prefix = k.size(2), old_keys.size(1)
    shape = (kv_heads, heads // kv_heads, tails, count)
    queries = _group_queries(q.reshape(-1, heads, dim), kv_heads, scale)  # (H_kv, group · r · n, D)
    old = torch.bmm(queries, old_keys.mT)  # (H_kv, group · r · n, P)
    # The tails' own keys differ from row to row: (H_kv, 1, r, D, t) meets (H_kv, group, r, n, D).
    own = k.permute(2, 0, 3, 1)[:, None].float()
    new = torch.matmul(queries.view(*shape, dim), own)  # (H_kv, group, r, n, t)
    new[..., -count:].masked_fill_(_future_mask(count), float("-inf"))
    scores = torch.cat((old.view(*shape, prefix), new), dim=-1)  # (H_kv, group, r, n, P + t)
    if window is not None:
        _mask_beyond_window(scores, window, count)
    weights = scores.softmax(-1).to(v.dtype)
    attended = torch.matmul(weights[..., prefix:], v.permute(2, 0, 1, 3)[:, None])
    over_old = weights[..., :prefix].reshape(kv_heads, -1, prefix)
    attended = attended.reshape(kv_heads, -1, dim).baddbmm_(over_old, old_values)  # (H_kv, group · r · n, D)
    target = torch.empty(tails * count, heads, dim, dtype=q.dtype)
    _ungroup(attended, target)
    return target.view_as(q)


def _group_queries(q: Tensor, kv_heads: int, scale: float) -> Tensor:
    """(T, H, D) scaled, as (H_kv, H/H_kv · T, D) float32: heads that share keys are rows of one product."""
    length, heads, dim = q.shape
    turned = (q.float() * scale).view(length, kv_heads, heads // kv_heads, dim).permute(1, 2, 0, 3)
    return turned.reshape(kv_heads, -1, dim)


def _ungroup(part: Tensor, out: Tensor) -> None:
    """(H_kv, H/H_kv · T, D) into `out` (T, H, D)."""
    length, heads, dim = out.shape
    kv_heads = part.size(0)
    out.view(length, kv_heads, heads // kv_heads, dim).copy_(
        part.view(kv_heads, heads // kv_heads, length, dim).permute(2, 0, 1, 3)
    )


@functools.lru_cache(maxsize=8)
def _future_mask(count: int) -> Tensor:
    """(count, count) bool: True where a query would see a later key."""
    return torch.ones(count, count, dtype=torch.bool).triu_(1)


def _mask_beyond_window(scores: Tensor, window: int, count: int) -> None:
    """Masks keys more than `window` before their query: scores (…, count, keys up to the last query)."""
    # The first query sees the last window + count keys but count − 1, each later one a key less to the left.
    first = scores.size(-1) - count - window
    if first > 0:
        scores[..., :first] = float("-inf")
    left = max(0, first)
    width = count - 1 - (left - first)
    if width > 0:
        beyond = torch.ones(count, count - 1, dtype=torch.bool).tril_(-1)[:, left - first :]
        scores[..., left : left + width].masked_fill_(beyond, float("-inf"))
