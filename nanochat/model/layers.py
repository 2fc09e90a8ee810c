"""Matrices and tables of the model: torch's, which draw no weights when they are made."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nanochat.model.fp8 import float8_linear


class Linear(nn.Linear):
    """A matrix (outputs, inputs) kept in its own dtype and multiplied in its input's, or in float8.

    Weights in float32 under products in bfloat16: small updates would be lost in bfloat16's eight bits.
    """

    float8 = False

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)

    def reset_parameters(self) -> None:
        """Draws nothing: `GPT.init_weights` does."""

    def forward(self, x: Tensor) -> Tensor:
        if self.float8 and torch.is_grad_enabled():
            return float8_linear(x, self.weight)
        return F.linear(x, self.weight.to(x.dtype))


class Embedding(nn.Embedding):
    """A table (rows, width)."""

    def reset_parameters(self) -> None:
        """Draws nothing: `GPT.init_weights` does."""
