"""Causal attention with sliding windows: the one place where a kernel is chosen.

A window W is "left": the query at position p sees keys p−W … p (W + 1 of them), as FlashAttention counts it.
Shapes: B rows, Tq queries over Tk keys, H query heads, H_kv key-value heads, D channels of a head.
"""

import functools
import importlib
import importlib.util
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nanochat.common.errors import UserError, one_line
from nanochat.model.attention_cpu import (
    custom_attention,
    custom_attention_supported,
    inference_attention,
    inference_attention_supported,
)

MIN_CUSTOM_QUERIES = 32
"""Queries from which the custom CPU form pays: for fewer, copying the keys to float32 costs more than larger
products save."""
KERNELS = ("auto", "fa3", "flex", "sdpa")
ENVIRONMENT = "NANOCHAT_ATTENTION"
FLASH_REPOSITORIES = ("varunneal/flash-attention-3", "kernels-community/flash-attn3")
"""Builds of FlashAttention-3 (arXiv 2407.08608) on the Hugging Face hub, the faster on Hopper first."""


@dataclass(frozen=True)
class Kernel:
    """How attention is computed, and why that way."""

    name: str = "sdpa"
    reason: str = ""
    flash: Callable[..., Any] | None = None
    """FlashAttention-3's `flash_attn_func`, for `flash_dtype` only."""
    flash_dtype: torch.dtype = torch.bfloat16

    @property
    def label(self) -> str:
        """For people: the kernel's name and why it was chosen."""
        names = {
            "fa3": "FlashAttention-3",
            "flex": "FlexAttention for windows, SDPA for the whole context",
            "sdpa": "SDPA",
        }
        return names[self.name] + (f" ({self.reason})" if self.reason else "")


SDPA = Kernel()


def choose_kernel(device: torch.device, dtype: torch.dtype, wanted: str = "auto") -> Kernel:
    """The kernel for a model's device and compute type; `wanted` is one of `KERNELS`.

    `auto` follows the variable NANOCHAT_ATTENTION where it is set; else it is FlashAttention-3 on Hopper in
    bfloat16 when its package is there, FlexAttention for windows on other CUDA devices, SDPA elsewhere.
    Raises `UserError` when a kernel asked for by name is not available.
    """
    asked = "--attention"
    if wanted == "auto" and os.environ.get(ENVIRONMENT):
        wanted, asked = os.environ[ENVIRONMENT], ENVIRONMENT
    if wanted not in KERNELS:
        raise UserError(f"{asked}: no attention kernel '{wanted}'", "one of " + ", ".join(KERNELS))
    if wanted == "sdpa":
        return Kernel("sdpa", "asked for")
    cuda = device.type == "cuda"
    if wanted == "flex":
        if not cuda:
            raise UserError(f"{asked} flex: FlexAttention has gradients on CUDA only, not on {device.type}")
        return Kernel("flex", "asked for")
    flash, missing = load_flash(device, dtype)
    if flash is not None:
        return Kernel("fa3", missing, flash)
    if wanted == "fa3":
        raise UserError(f"{asked} fa3: {missing}", "use auto for the fastest one available")
    return Kernel("flex" if cuda else "sdpa", f"no FlashAttention-3: {missing}" if cuda else "")


def load_flash(device: torch.device, dtype: torch.dtype) -> tuple[Callable[..., Any] | None, str]:
    """FlashAttention-3's function and where it came from, or None and what is missing."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device)[0] != 9:
        return None, "it runs on Hopper GPUs"
    if dtype != torch.bfloat16:
        return None, "it is used in bfloat16"
    if importlib.util.find_spec("kernels") is None:
        return None, "the package kernels is not installed"
    return _fetch_flash()


@functools.cache
def _fetch_flash() -> tuple[Callable[..., Any] | None, str]:
    get_kernel = importlib.import_module("kernels").get_kernel
    # Since 0.15 the package wants a version named; before it knew none.
    versioned = {"version": 1} if "version" in inspect.signature(get_kernel).parameters else {}
    problems = []
    for repository in FLASH_REPOSITORIES:
        for arguments in (versioned, {}) if versioned else ({},):
            try:
                module = get_kernel(repository, **arguments)
                flash = getattr(module, "flash_attn_interface", module).flash_attn_func
            except Exception as error:
                # No network, no build for this torch, a broken cache: any of many types.
                problems.append(f"{repository}: {one_line(str(error))}")
            else:
                return flash, repository
    return None, "; ".join(problems)


def attend(
    q: Tensor, k: Tensor, v: Tensor, window: int | None = None, gain: float = 1.0, kernel: Kernel = SDPA
) -> Tensor:
    """Causal attention of the last `Tq` positions of a sequence over all `Tk ≥ Tq` of it.

    q: (B, Tq, H, D); k, v: (B, Tk, H_kv, D) with H a multiple of H_kv; any float dtype.
    Returns (B, Tq, H, D). Scores are gain/√D · q·k. `window` None: every earlier key.
    """
    queries, keys = q.size(1), k.size(1)
    scale = gain / q.size(-1) ** 0.5  # 1/√D as in arXiv 1706.03762, section 3.2.1
    if window is not None and window + 1 >= keys:
        window = None  # it reaches every key, and kernels are faster without one
    if kernel.flash is not None and q.dtype == kernel.flash_dtype:
        return _flash(kernel.flash, q, k, v, window, scale)
    if custom_attention_supported(q, k, window):
        return custom_attention(q, k, v, window, scale)
    if queries >= MIN_CUSTOM_QUERIES and inference_attention_supported(q, k, v):
        return inference_attention(q, k, v, window, scale)
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # (B, H, T, D), as SDPA takes them
    if window is not None and queries < keys:
        # Keys that not even the first query can reach need not be read.
        reach = max(0, keys - queries - window)
        k, v = k[:, :, reach:], v[:, :, reach:]
    if window is None and queries == keys:
        y = _sdpa(q, k, v, scale, causal=True)
    elif queries == 1:
        y = _sdpa(q, k, v, scale)
    elif window is not None and queries == keys and kernel.name == "flex":
        from nanochat.model.attention_flex import flex_window

        y = flex_window(q, k, v, window, scale)
    elif window is not None and queries == keys and 0 < 2 * window <= keys:
        y = _blocked(q, k, v, window, scale)
    else:
        y = _sdpa(q, k, v, scale, mask=causal_mask(queries, k.size(2), window, q.device))
    return y.transpose(1, 2)  # (B, Tq, H, D)


def causal_mask(queries: int, keys: int, window: int | None, device: torch.device) -> Tensor:
    """(queries, keys) bool: True where the query, aligned to the end of the keys, may look."""
    query = torch.arange(keys - queries, keys, device=device)[:, None]
    key = torch.arange(keys, device=device)[None, :]
    allowed = key <= query
    return allowed if window is None else allowed & (query - key <= window)


def _flash(
    flash: Callable[..., Any], q: Tensor, k: Tensor, v: Tensor, window: int | None, scale: float
) -> Tensor:
    """FlashAttention-3: (B, T, H, D) as it is, queries aligned to the end, a left window as ours."""
    left = -1 if window is None else window
    y = flash(q, k, v, softmax_scale=scale, causal=True, window_size=(left, 0))
    # Some builds give the log-sum-exp too.
    out: Tensor = y[0] if isinstance(y, tuple) else y
    return out


def _sdpa(
    q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor | None = None, causal: bool = False
) -> Tensor:
    """torch's scaled_dot_product_attention: q (B, H, Tq, D), k, v (B, H_kv, Tk, D) → (B, H, Tq, D)."""
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
        """(B, heads, T, D) → (B, heads, blocks, W, D)."""
        return F.pad(x, (0, 0, 0, pad)).view(batch, x.size(1), blocks, window, dim)

    def with_previous(x: Tensor) -> Tensor:
        """Each block behind the one before it, zeros before the first: (B · blocks, heads, 2W, D)."""
        own = split(x)
        before = F.pad(own[:, :, :-1], (0, 0, 0, 0, 1, 0))
        return torch.cat((before, own), dim=3).transpose(1, 2).reshape(batch * blocks, -1, 2 * window, dim)

    rows = split(q).transpose(1, 2).reshape(batch * blocks, heads, window, dim)  # (B · blocks, H, W, D)
    mask = causal_mask(window, 2 * window, window, q.device).repeat(blocks, 1, 1)  # (blocks, W, 2W)
    mask[0, :, :window] = False  # the zeros before the first block are no keys
    mask = mask.repeat(batch, 1, 1)[:, None]  # (B · blocks, 1, W, 2W)
    y = _sdpa(rows, with_previous(k), with_previous(v), scale, mask=mask)  # (B · blocks, H, W, D)
    y = y.view(batch, blocks, heads, window, dim).transpose(1, 2).reshape(batch, heads, blocks * window, dim)
    return y[:, :, :length]
