"""Soft-capped cross-entropy over the head, a chunk of tokens at a time.

Logits of a whole batch in float32 would be the largest tensor of training (tokens × vocabulary). Here
each chunk's logits live only while its loss and its gradients are computed, in the forward pass, as in Liger
Kernel's fused linear cross-entropy (arXiv 2410.10989).

Shapes: N tokens of a batch, n of a chunk, C width, V vocabulary (the head has rows for a padded vocabulary).
"""

import functools
from collections.abc import Callable
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from nanochat.data.packing import IGNORE_INDEX
from nanochat.model.architecture import SOFTCAP
from nanochat.model.fp8 import Float8Head

CPU_CHUNK, GPU_CHUNK = 1 << 20, 1 << 27
"""Logits in a chunk: 4 MiB of float32, which a CPU core's cache holds, or 512 MiB, which keep a GPU busy."""
MIN_CHUNK_TOKENS = 16
"""With fewer rows the head's product would be as slow as reading the head itself."""


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
        logits = capped_logits(x[part], weight, vocab_size, in_float32)  # (n, V)
        losses[part] = F.cross_entropy(logits, targets[part], ignore_index=IGNORE_INDEX, reduction="none")
    return losses


def chunk_rows(vocab_size: int, device: torch.device) -> int:
    """Tokens in a chunk."""
    budget = CPU_CHUNK if device.type == "cpu" else GPU_CHUNK
    return max(MIN_CHUNK_TOKENS, budget // vocab_size)


def chunked_loss(
    x: Tensor,
    head: Tensor,
    targets: Tensor,
    vocab_size: int,
    in_float32: bool,
    float8: bool = False,
    weights: Tensor | None = None,
    *,
    compiled: bool = False,
) -> Tensor:
    """Mean nats (float32 scalar) of targets (N,) given x (N, C) and head (padded vocabulary, C).

    Targets of −1 do not count; with none that counts the loss is 0. First derivatives only. `float8`: the
    head's products run in float8. `weights` (N,) multiply each target's nats, not their number. `compiled`:
    what lies between the products is compiled into two passes, which pays on a GPU.
    """
    loss: Tensor = _ChunkedLoss.apply(x, head, targets, vocab_size, in_float32, float8, weights, compiled)
    return loss


# -- the head's products ---------------------------------------------------------------------------


class HeadProducts(Protocol):
    """The products of x (N, C) with the head: logits forward, two gradients backward, a chunk at a time."""

    grad_scale: float
    """`grad_x` is written this many times too large, so that small values survive its type."""

    gradient_dtype: torch.dtype
    """The type `grad_logits` may come in."""

    def logits(self, part: slice) -> Tensor:
        """(n, V) of the tokens in `part`."""
        ...

    def gradients(
        self, grad_logits: Tensor, row: Tensor | None, part: slice, grad_x: Tensor, grad_head: Tensor
    ) -> None:
        """Writes the gradient of x and adds that of the head, from the gradient of a chunk's logits.

        That is `grad_logits · row` (`row` None: 1). grad_logits: (n, V) float32 or `gradient_dtype`, may be
        overwritten; row: (n, 1) float32.
        """
        ...


class _PlainHead:
    """In the type of x, float32 or bfloat16."""

    grad_scale = 1.0

    def __init__(self, x: Tensor, weight: Tensor, vocab_size: int) -> None:
        self.x, self.weight, self.vocab_size = x, weight[:vocab_size].to(x.dtype), vocab_size
        self.gradient_dtype = x.dtype

    def logits(self, part: slice) -> Tensor:
        return F.linear(self.x[part], self.weight)

    def gradients(
        self, grad_logits: Tensor, row: Tensor | None, part: slice, grad_x: Tensor, grad_head: Tensor
    ) -> None:
        x = self.x[part]  # (n, C)
        grad_logits = grad_logits.to(x.dtype)
        if row is None:
            torch.mm(grad_logits, self.weight, out=grad_x[part])
        else:
            # The rows' factors go to the narrow side of both products: C columns instead of V.
            row = row.to(x.dtype)
            torch.mul(torch.mm(grad_logits, self.weight), row, out=grad_x[part])
            x = x * row
        grad_head[: self.vocab_size].add_(torch.mm(grad_logits.T, x))


class _HalfHead(_PlainHead):
    """In float16, whose numbers span 6e-8 to 65,504: gradients are kept clear of both ends."""

    grad_scale = 256.0
    shrink = 2.0**-12

    def __init__(self, x: Tensor, weight: Tensor, vocab_size: int) -> None:
        super().__init__(x, weight, vocab_size)
        self.gradient_dtype = torch.float32

    def gradients(
        self, grad_logits: Tensor, row: Tensor | None, part: slice, grad_x: Tensor, grad_head: Tensor
    ) -> None:
        # Normalised before it is rounded, so that probabilities of 1e-7 are not lost.
        half = grad_logits.mul_(self.grad_scale if row is None else row * self.grad_scale).half()
        torch.mm(half, self.weight, out=grad_x[part])
        # Summed over a chunk, what one frequent token collects would pass float16's largest number.
        partial = torch.mm(half.T, self.x[part] * self.shrink)
        grad_head[: self.vocab_size].add_(partial, alpha=1 / (self.grad_scale * self.shrink))


# -- the loss and its gradient ---------------------------------------------------------------------


class _ChunkedLoss(torch.autograd.Function):
    """Mean nats over the targets that count, with the gradients of x and of the head computed on the way."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        head: Tensor,
        targets: Tensor,
        vocab_size: int,
        in_float32: bool,
        float8: bool,
        weights: Tensor | None,
        compiled: bool,
    ) -> Tensor:
        products: HeadProducts
        if float8:
            products = Float8Head(x, head, vocab_size, compiled)
        else:
            products = (_HalfHead if x.dtype == torch.float16 else _PlainHead)(x, head, vocab_size)
        count = (targets != IGNORE_INDEX).sum().clamp(min=1)
        grad_x = torch.empty_like(x)  # (N, C)
        grad_head = torch.zeros(head.shape, dtype=torch.float32, device=head.device)
        total = torch.zeros((), dtype=torch.float32, device=x.device)
        rows = chunk_rows(vocab_size, x.device)
        loss_and_gradient = _compiled_loss_and_gradient() if compiled else _loss_and_gradient_in_place
        for start in range(0, len(targets), rows):
            part = slice(start, start + rows)
            factors = None if weights is None else weights[part, None]  # (n, 1)
            raw = products.logits(part)  # (n, V), not capped yet
            nats, grad_logits, row = loss_and_gradient(
                raw, targets[part], factors, in_float32, products.gradient_dtype
            )
            products.gradients(grad_logits, row, part, grad_x, grad_head)
            total += nats
        scale = count.float().reciprocal()
        ctx.save_for_backward(grad_x, grad_head, scale)
        ctx.head_dtype, ctx.grad_scale = head.dtype, products.grad_scale
        return total * scale

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        # All is computed already: what comes from above is one factor.
        grad_x, grad_head, scale = ctx.saved_tensors
        factor = grad * scale
        of_x = grad_x * (factor / ctx.grad_scale).to(grad_x.dtype)
        return of_x, (grad_head * factor).to(ctx.head_dtype), None, None, None, None, None, None


def _loss_and_gradient_in_place(
    raw: Tensor, targets: Tensor, factors: Tensor | None, in_float32: bool, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Nats of targets (n,) under raw logits (n, V), summed; and the gradient of the raw logits as
    (`grad_logits` (n, V), `row` (n, 1)), whose product it is.

    Works in as few buffers as possible without fusion. Ignored targets have 0 nats and row 0. `factors`
    (n, 1) multiply the nats of each. `dtype` is that of `_loss_and_gradient`: here it is float32.
    """
    # With r = 1 / (1 + exp(2x/15)) a capped logit is 15 − 30r: two exponentials cost less than a tanh.
    if in_float32:
        r = raw.float().mul_(2 / SOFTCAP).exp_().add_(1).reciprocal_()
    else:
        r = raw.div_(SOFTCAP).tanh_().float().neg_().add_(1).mul_(0.5)
    # The largest possible logit, 15, is subtracted in place of the row's largest, which saves a pass:
    # exp(−30r) is at least 9e-14, so no sum of a row underflows.
    exponentials = (r * (-2 * SOFTCAP)).exp_()  # (n, V)
    normaliser = exponentials.sum(dim=-1, keepdim=True)  # (n, 1)
    index = targets.clamp(min=0)[:, None]  # (n, 1)
    below = r.gather(1, index) * (2 * SOFTCAP)  # how far the target's logit is under 15
    nats, row = _row_terms(normaliser, normaliser.log() + below, targets, factors)
    # d nats / d logits = softmax − one-hot; d softcap / d raw = 1 − tanh² = 4r(1 − r).
    grad_logits = exponentials
    grad_logits.scatter_add_(1, index, -normaliser)
    grad_logits.mul_(r.addcmul_(r, r, value=-1))
    return nats, grad_logits, row.mul_(4)


def _loss_and_gradient(
    raw: Tensor, targets: Tensor, factors: Tensor | None, in_float32: bool, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor | None]:
    """`_loss_and_gradient_in_place` for a compiler to fuse: raw is read twice; the gradient, with the rows'
    factors in it, is written once, in `dtype`."""
    tanh = torch.tanh((raw.float() if in_float32 else raw) / SOFTCAP).float()
    exponentials = torch.exp(SOFTCAP * tanh)  # at most e¹⁵: the cap makes subtracting a maximum needless
    normaliser = exponentials.sum(dim=-1, keepdim=True)
    index = targets.clamp(min=0)[:, None]
    nats = normaliser.log() - SOFTCAP * tanh.gather(1, index)
    total, row = _row_terms(normaliser, nats, targets, factors)
    hot = torch.arange(raw.size(1), device=raw.device) == index  # (n, V)
    grad_logits = torch.where(hot, exponentials - normaliser, exponentials) * (1 - tanh.square())
    return total, (grad_logits * row).to(dtype), None


def _row_terms(
    normaliser: Tensor, nats: Tensor, targets: Tensor, factors: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The nats that count, summed, and each row's factor of its gradient: all in (n, 1) but targets (n,)."""
    valid = (targets != IGNORE_INDEX)[:, None]
    nats = torch.where(valid, nats, 0.0)
    row = torch.where(valid, normaliser.reciprocal(), 0.0)
    if factors is not None:
        nats, row = nats * factors, row * factors
    return nats.sum(), row


@functools.cache
def _compiled_loss_and_gradient() -> Callable[..., tuple[Tensor, Tensor, Tensor | None]]:
    compiled: Callable[..., tuple[Tensor, Tensor, Tensor | None]] = torch.compile(
        _loss_and_gradient, dynamic=False
    )
    return compiled
