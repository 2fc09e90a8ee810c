"""Elementwise steps of the transformer with custom gradients for the CPU.

On a CPU these steps are bound by memory: autograd's generic chains read and write each activation many
times. Here every step passes over it as few times as torch's kernels allow. Elsewhere (and under
torch.compile, which fuses the chains itself) the plain formulas are used; both give the same numbers.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def use_custom_gradients(x: Tensor) -> bool:
    """Whether the custom forms are the faster ones for `x`."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def norm(x: Tensor) -> Tensor:
    """RMSNorm over the last dimension without parameters (arXiv 1910.07467), torch's default eps."""
    return _apply(_Norm, x) if use_custom_gradients(x) else F.rms_norm(x, (x.size(-1),))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates (B, T, H, D) by −θ in the half-split layout; cos and sin are (T, 1, D/2).

    Rotary positions (RoFormer, arXiv 2104.09864) turn by θ; upstream nanochat turns the other way, and its
    checkpoints want the same.
    """
    if use_custom_gradients(x):
        return _apply(_Rotate, x, cos, sin)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos + second * sin, second * cos - first * sin), dim=-1)


def rotary_tables(length: int, head_dim: int, base: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """cos and sin of position · base^(−2i/head_dim), each (length, head_dim/2) in float32 (RoFormer)."""
    channels = torch.arange(0, head_dim, 2, dtype=torch.float32, device=device)
    frequencies = 1.0 / base ** (channels / head_dim)
    angles = torch.outer(torch.arange(length, dtype=torch.float32, device=device), frequencies)
    return angles.cos(), angles.sin()


def relu_squared(x: Tensor) -> Tensor:
    """ReLU² (Primer, arXiv 2109.08668)."""
    return _apply(_ReluSquared, x) if use_custom_gradients(x) else F.relu(x).square()


def _apply(function: type[torch.autograd.Function], *inputs: Tensor) -> Tensor:
    out: Tensor = function.apply(*inputs)
    return out


class _Norm(torch.autograd.Function):
    """y = x / √(mean x² + ε) over the last dimension C."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        wide = torch.promote_types(x.dtype, torch.float32)
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=wide)  # (…, 1)
        # ε is torch's own default, the machine epsilon: F.rms_norm uses it on other devices.
        inverse = length.square_().div_(x.size(-1)).add_(torch.finfo(wide).eps).rsqrt_()  # (…, 1)
        y: Tensor = x * inverse.to(x.dtype)
        ctx.save_for_backward(y, inverse)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        y, inverse = ctx.saved_tensors
        # dx = (dy − y · mean(y · dy)) / √(mean x² + ε): what of dy points along y only changes x's length.
        along = torch.linalg.vecdot(y, grad).unsqueeze(-1).div_(-y.size(-1))
        return torch.addcmul(grad, y, along).mul_(inverse.to(y.dtype))


class _Rotate(torch.autograd.Function):
    """Rotation by −θ; its gradient is the rotation back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotated(x, cos, sin, 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _rotated(grad, cos, sin, -1), None, None


def _rotated(x: Tensor, cos: Tensor, sin: Tensor, sign: int) -> Tensor:
    """x (B, T, H, D) with channel i paired to channel i + D/2; cos, sin (T, 1, D/2)."""
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    (first, second), (low, high) = x.chunk(2, dim=-1), out.chunk(2, dim=-1)
    torch.mul(first, cos, out=low).addcmul_(second, sin, value=sign)
    torch.mul(second, cos, out=high).addcmul_(first, sin, value=-sign)
    return out


class _ReluSquared(torch.autograd.Function):
    """max(x, 0)², whose gradient 2·max(x, 0) needs the positive part only."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        positive = x.relu()
        if not ctx.needs_input_grad[0]:
            return positive.square_()
        ctx.save_for_backward(positive)
        return positive * positive

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (positive,) = ctx.saved_tensors
        # 0 + 2·grad·positive, in one pass.
        return torch.addcmul(grad.new_zeros(()), grad, positive, value=2)
