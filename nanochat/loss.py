"""Soft-capped cross-entropy over the head, a chunk of tokens at a time.

Logits of a whole batch in float32 would be the largest tensor of training (tokens × vocabulary). Here
each chunk's logits live only while its loss and its gradients are computed, in the forward pass.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nanochat.architecture import SOFTCAP

IGNORE = -1


def softcap(logits: Tensor) -> Tensor:
    """15·tanh(x/15): logits kept within ±15 (Gemma 2, arXiv 2408.00118, section 2)."""
    return SOFTCAP * torch.tanh(logits / SOFTCAP)


def capped_logits(x: Tensor, head: Tensor, vocab_size: int, in_float32: bool) -> Tensor:
    """Float32 logits (..., vocab_size) of x (..., C) under head weights (padded vocabulary, C)."""
    logits = F.linear(x, head[:vocab_size].to(x.dtype))
    return softcap(logits.float()) if in_float32 else softcap(logits).float()


def token_losses(x: Tensor, head: Tensor, targets: Tensor, vocab_size: int, in_float32: bool) -> Tensor:
    """Nats of each target, 0 where it is ignored (−1): x (N, C), targets (N,) → (N,) float32. No gradient."""
    losses = torch.empty(targets.shape, dtype=torch.float32, device=x.device)
    weight = head[:vocab_size].to(x.dtype)
    rows = chunk_rows(vocab_size, x.device)
    for start in range(0, len(targets), rows):
        part = slice(start, start + rows)
        logits = capped_logits(x[part], weight, vocab_size, in_float32)
        losses[part] = F.cross_entropy(logits, targets[part], ignore_index=IGNORE, reduction="none")
    return losses


def chunk_rows(vocab_size: int, device: torch.device) -> int:
    """Tokens in a chunk: what keeps its float32 logits in a CPU core's cache, or a GPU busy."""
    budget = 1 << 20 if device.type == "cpu" else 1 << 27
    return max(16, budget // vocab_size)


class _ChunkedLoss(torch.autograd.Function):
    """Mean nats over the targets that count, with the gradients of x and of the head found on the way."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, head: Tensor, targets: Tensor, vocab_size: int, in_float32: bool
    ) -> Tensor:
        weight = head[:vocab_size].to(x.dtype)
        count = (targets != IGNORE).sum().clamp(min=1)
        grad_x = torch.empty_like(x)
        grad_head = torch.zeros(head.shape, dtype=torch.float32, device=head.device)
        total = torch.zeros((), dtype=torch.float32, device=x.device)
        rows = chunk_rows(vocab_size, x.device)
        for start in range(0, len(targets), rows):
            part = slice(start, start + rows)
            total += _chunk(x[part], weight, targets[part], in_float32, grad_x[part], grad_head[:vocab_size])
        scale = count.float().reciprocal()
        ctx.save_for_backward(grad_x, grad_head, scale)
        ctx.head_dtype = head.dtype
        return total * scale

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_x, grad_head, scale = ctx.saved_tensors
        factor = grad * scale
        return (grad_x * factor.to(grad_x.dtype)), (grad_head * factor).to(ctx.head_dtype), None, None, None


def _chunk(
    x: Tensor, weight: Tensor, targets: Tensor, in_float32: bool, grad_x: Tensor, grad_head: Tensor
) -> Tensor:
    """Sum of nats of one chunk; writes its x gradient, adds its head gradient (both unscaled sums)."""
    raw = F.linear(x, weight)
    tanh = (raw.float() if in_float32 else raw).div_(SOFTCAP).tanh_().float()
    # Capped logits are at most 15, so their exponentials (at most 3.3e6) need no maximum taken off.
    slope = (tanh * SOFTCAP).exp_()
    normaliser = slope.sum(dim=-1, keepdim=True)
    valid = (targets != IGNORE)[:, None]
    index = targets.clamp(min=0)[:, None]
    losses = torch.where(valid, normaliser.log() - SOFTCAP * tanh.gather(1, index), 0.0)
    # d nats / d logits = softmax − one-hot; d softcap / d raw = 1 − tanh². The row's 1/normaliser is left
    # to the narrow side of both products.
    slope.scatter_add_(1, index, -normaliser)
    slope.addcmul_(slope, tanh.square_(), value=-1)
    row = torch.where(valid, normaliser.reciprocal(), 0.0).to(x.dtype)
    slope = slope.to(x.dtype)
    torch.mul(torch.mm(slope, weight), row, out=grad_x)
    grad_head.add_(torch.mm(slope.T, x * row))
    return losses.sum()


def chunked_loss(x: Tensor, head: Tensor, targets: Tensor, vocab_size: int, in_float32: bool) -> Tensor:
    """Mean nats (float32 scalar) of targets (N,) given x (N, C) and head (padded vocabulary, C).

    Targets of −1 do not count; with none that counts the loss is 0. First derivatives only.
    """
    loss: Tensor = _ChunkedLoss.apply(x, head, targets, vocab_size, in_float32)
    return loss
