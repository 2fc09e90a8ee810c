"""Causal attention with sliding windows: the one place where a kernel is chosen.

A window W is "left": the query at position p sees keys p−W … p (W + 1 of them).
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def attend(q: Tensor, k: Tensor, v: Tensor, window: int | None = None, gain: float = 1.0) -> Tensor:
    """Causal attention of the last `Tq` positions of a sequence over all `Tk ≥ Tq` of it.

    q: (B, Tq, H, D); k, v: (B, Tk, H_kv, D) with H a multiple of H_kv; any float dtype.
    Returns (B, Tq, H, D). Scores are gain/√D · q·k. `window` None: every earlier key.
    """
    queries, keys = q.size(1), k.size(1)
    scale = gain / q.size(-1) ** 0.5
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    if window is not None and window + 1 >= keys:
        window = None
    if window is not None and queries < keys:
        # Keys that not even the first query can reach need not be read.
        reach = max(0, keys - queries - window)
        k, v = k[:, :, reach:], v[:, :, reach:]
    if window is None and queries == keys:
        y = _sdpa(q, k, v, scale, causal=True)
    elif queries == 1:
        y = _sdpa(q, k, v, scale)
    elif window is not None and queries == keys and keys >= 2 * window:
        y = _blocked(q, k, v, window, scale)
    else:
        y = _sdpa(q, k, v, scale, mask=causal_mask(queries, k.size(2), window, q.device))
    return y.transpose(1, 2)


def causal_mask(queries: int, keys: int, window: int | None, device: torch.device) -> Tensor:
    """(queries, keys) bool: True where the query, aligned to the end of the keys, may look."""
    query = torch.arange(keys - queries, keys, device=device)[:, None]
    key = torch.arange(keys, device=device)[None, :]
    allowed = key <= query
    return allowed if window is None else allowed & (query - key <= window)


def _sdpa(
    q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor | None = None, causal: bool = False
) -> Tensor:
    grouped = q.size(1) != k.size(1)
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=causal, scale=scale, enable_gqa=grouped
    )


def _blocked(q: Tensor, k: Tensor, v: Tensor, window: int, scale: float) -> Tensor:
    """Window attention in blocks of `window` queries, each over its own and the block before.

    Work grows with T·2W where a mask over the whole square would grow with T². (B, H, T, D) in and out.
    """
    batch, heads, length, dim = q.shape
    blocks = -(-length // window)
    pad = blocks * window - length

    def split(x: Tensor) -> Tensor:
        return F.pad(x, (0, 0, 0, pad)).view(batch, x.size(1), blocks, window, dim)

    def with_previous(x: Tensor) -> Tensor:
        own = split(x)
        before = F.pad(own[:, :, :-1], (0, 0, 0, 0, 1, 0))
        return torch.cat((before, own), dim=3).transpose(1, 2).reshape(batch * blocks, -1, 2 * window, dim)

    rows = split(q).transpose(1, 2).reshape(batch * blocks, heads, window, dim)
    mask = causal_mask(window, 2 * window, window, q.device).repeat(blocks, 1, 1)
    mask[0, :, :window] = False
    mask = mask.repeat(batch, 1, 1)[:, None]
    y = _sdpa(rows, with_previous(k), with_previous(v), scale, mask=mask)
    y = y.view(batch, blocks, heads, window, dim).transpose(1, 2).reshape(batch, heads, blocks * window, dim)
    return y[:, :, :length]
