"""Linear layers whose three products run in float8, for GPUs from Hopper on.

Tensorwise dynamic scaling (arXiv 2209.05433): a tensor's largest magnitude is scaled to the largest number
of its type just before the product, and the product scaled back. Inputs and weights are e4m3, gradients of
outputs e5m2 (fewer digits, more range). Weights stay what they are; only products change.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nanochat.common.errors import UserError

AMAX_FLOOR = 1e-12
"""A tensor of zeros is scaled as if its largest magnitude were this: no division by 0."""
MULTIPLE = 16
"""torch._scaled_mm takes only inner and outer sizes that are multiples of this."""
SMALLEST = 128
"""Matrices with a smaller side lose more to scaling than the faster product gains."""


class Float8(NamedTuple):
    """A tensor as `data · inverse_scale`."""

    data: Tensor
    inverse_scale: Tensor

    def columns(self) -> "Float8":
        """The same matrix, laid out column by column: what a product wants on its right."""
        return Float8(self.data.t().contiguous().t(), self.inverse_scale)

    def transposed(self) -> "Float8":
        """The transposed matrix, row by row: what a product wants on its left."""
        return Float8(self.data.t().contiguous(), self.inverse_scale)


def quantize(x: Tensor, dtype: torch.dtype) -> Float8:
    """`x` scaled to the whole range of a float8 type. What is not finite stays so.

    Dynamic scaling: the scale is of this very tensor, where delayed scaling would take an earlier step's and
    may overflow. It costs one more pass over the tensor.
    """
    largest = torch.finfo(dtype).max
    scale = largest / x.abs().amax().float().clamp(min=AMAX_FLOOR)  # ()
    data = (x.float() * scale).clamp(-largest, largest).to(dtype)
    return Float8(data, scale.reciprocal())


def product(a: Float8, b: Float8, dtype: torch.dtype, fast: bool = False) -> Tensor:
    """a (n, k) times b (k, m) in `dtype`. `fast`: sums in less than float32, as forward passes may."""
    out: Tensor = torch._scaled_mm(
        a.data, b.data, scale_a=a.inverse_scale, scale_b=b.inverse_scale, out_dtype=dtype, use_fast_accum=fast
    )
    return out


def over_rows(a: Float8, b: Float8, dtype: torch.dtype) -> Tensor:
    """aᵀb of a (n, p) and b (n, q): zero rows are added until n divides by 16."""
    short = -len(a.data) % MULTIPLE
    if short:
        a, b = _padded(a, short), _padded(b, short)
    return product(a.transposed(), b.columns(), dtype)


def _padded(x: Float8, rows: int) -> Float8:
    """`x` with `rows` rows of zeros below; F.pad takes no float8, but its bytes."""
    padded = F.pad(x.data.view(torch.uint8), (0, 0, 0, rows))
    return Float8(padded.view(x.data.dtype), x.inverse_scale)


class _Float8Linear(torch.autograd.Function):
    """x (N, inputs) times weight (outputs, inputs) transposed.

    Only the forward product accumulates `fast`, as in torchao's Float8Linear: a weight's gradient sums over
    thousands of tokens, where roundings would add up.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        # e4m3: three mantissa bits, range 448; activations and weights need the digits.
        inputs, matrix = quantize(x, torch.float8_e4m3fn), quantize(weight, torch.float8_e4m3fn)
        ctx.save_for_backward(*inputs, *matrix)
        ctx.weight_dtype = weight.dtype
        return product(inputs, Float8(matrix.data.t(), matrix.inverse_scale), x.dtype, fast=True)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        saved = ctx.saved_tensors
        inputs, matrix = Float8(*saved[:2]), Float8(*saved[2:])
        # e5m2: two mantissa bits, range 57,344; gradients spread over many orders of magnitude.
        outer = quantize(grad.contiguous(), torch.float8_e5m2)  # (N, outputs)
        return product(outer, matrix.columns(), grad.dtype), over_rows(outer, inputs, ctx.weight_dtype)


def float8_linear(x: Tensor, weight: Tensor) -> Tensor:
    """x (…, inputs) times weight (outputs, inputs) transposed, in float8 forward and backward."""
    out: Tensor = _Float8Linear.apply(x.reshape(-1, x.size(-1)), weight)
    return out.view(*x.shape[:-1], -1)


class Float8Head:
    """The head's three products in float8, a chunk of tokens at a time (see `nanochat.model.loss`).

    x (N, C) and weight (padded vocabulary, C) are scaled as wholes, a chunk's gradient by itself. `compiled`:
    scaling and transposing are compiled.
    """

    grad_scale = 1.0

    def __init__(self, x: Tensor, weight: Tensor, vocab_size: int, compiled: bool = False) -> None:
        self.dtype, self.gradient_dtype, self.vocab_size = x.dtype, x.dtype, vocab_size
        self.x, self.weight = quantize(x, torch.float8_e4m3fn), quantize(weight, torch.float8_e4m3fn)
        self.weight_columns = self.weight.columns()
        self._products = _compiled_head_gradients() if compiled else _head_gradients

    def logits(self, part: slice) -> Tensor:
        """(n, V) of the tokens in `part`."""
        x = Float8(self.x.data[part], self.x.inverse_scale)
        weight = Float8(self.weight.data.t(), self.weight.inverse_scale)
        return product(x, weight, self.dtype, fast=True)[:, : self.vocab_size]

    def gradients(
        self, grad_logits: Tensor, row: Tensor | None, part: slice, grad_x: Tensor, grad_head: Tensor
    ) -> None:
        """See `nanochat.model.loss.HeadProducts`."""
        x = Float8(self.x.data[part], self.x.inverse_scale)
        padding = len(self.weight.data) - self.vocab_size
        grad_x[part], of_head = self._products(grad_logits, row, x, self.weight_columns, padding, self.dtype)
        grad_head.add_(of_head)


def _head_gradients(
    grad_logits: Tensor,
    row: Tensor | None,
    x: Float8,
    weight_columns: Float8,
    padding: int,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """Gradients of one chunk's x (n, C) and of the head (padded vocabulary, C), float32."""
    whole = grad_logits if row is None else grad_logits * row  # (n, V)
    outer = quantize(F.pad(whole, (0, padding)), torch.float8_e5m2)
    return product(outer, weight_columns, dtype), over_rows(outer, x, torch.float32)


@functools.cache
def _compiled_head_gradients() -> Callable[..., tuple[Tensor, Tensor]]:
    compiled: Callable[..., tuple[Tensor, Tensor]] = torch.compile(_head_gradients, dynamic=False)
    return compiled


def fits_float8(weight: Tensor) -> bool:
    """Whether a matrix is of a shape that float8 kernels take and that is worth it."""
    return all(size >= SMALLEST and size % MULTIPLE == 0 for size in weight.shape)


def require_float8(device: torch.device, dtype: torch.dtype = torch.bfloat16) -> None:
    """Raises `UserError` unless the device multiplies float8 natively and all else is in bfloat16."""
    hint = "leave --fp8 out"
    if device.type != "cuda":
        raise UserError(
            f"--fp8 needs an NVIDIA GPU of the Hopper generation or newer, not {device.type}", hint
        )
    if torch.cuda.get_device_capability(device) < (9, 0):
        name = torch.cuda.get_device_name(device)
        raise UserError(f"--fp8 needs a GPU of the Hopper generation or newer, and {name} is older", hint)
    if dtype != torch.bfloat16:
        raise UserError("--fp8 goes with --dtype bfloat16", hint)
