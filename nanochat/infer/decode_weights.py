"""A model's weights laid out for decoding."""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nanochat.model.architecture import VALUE_GATE_CHANNELS
from nanochat.model.gpt import GPT, Block


@dataclass
class LayerWeights:
    """A block's matrices, (inputs, outputs) each: a row vector is multiplied from the left."""

    qkv: Tensor
    """(C, C + 2 · H_kv · D), and with value embeddings one more column a key-value head, the gate's logit;
    their number is padded to be even."""
    out: Tensor
    """(C, C)."""
    up: Tensor
    """(C, 4 C)."""
    down: Tensor
    """(4 C, C)."""
    value_embed: Tensor | None = None
    """(V, H_kv · D), the model's own table."""


@dataclass
class DecodeWeights:
    """A model's weights prepared for decoding; tables are the model's own."""

    layers: list[LayerWeights]
    wte: Tensor
    """(padded V, C)."""
    head: Tensor
    """(C, V)."""
    resid_scales: list[float] = field(default_factory=list)
    """Each layer's factor of the residual stream; empty where the model has none."""
    x0_scales: Tensor | None = None
    """(layers, 1, 1): each layer's factor of the first embedding."""
    smear_gate: Tensor | None = None
    """(SMEAR_CHANNELS, 1)."""
    smear_scale: float = 0.0
    backout_scale: float = 0.0


def interleave(x: Tensor) -> Tensor:
    """The last dimension (first half, second half) as pairs (first, second), (first, second), …"""
    return x.reshape(*x.shape[:-1], 2, -1).transpose(-1, -2).flatten(-2)


def deinterleave(x: Tensor) -> Tensor:
    """The inverse of `interleave`."""
    return x.reshape(*x.shape[:-1], -1, 2).transpose(-1, -2).flatten(-2)


def prepare_weights(model: GPT) -> DecodeWeights:
    """The decoding weights of a model as it is now, in its compute type."""
    config, dtype = model.config, model.compute_dtype
    layers = [_layer_weights(model, number, block) for number, block in enumerate(model.blocks)]
    weights = DecodeWeights(
        layers,
        wte=model.wte.weight.detach(),
        head=_transposed(model.lm_head.weight[: config.vocab_size], dtype),
    )
    if config.parts.layer_scales:
        weights.resid_scales = model.resid_lambdas.detach().to(dtype).tolist()
        weights.x0_scales = model.x0_lambdas.detach().to(dtype)[:, None, None].clone()
    if config.parts.smear:
        weights.smear_gate = _transposed(model.smear_gate.weight, dtype)
        weights.smear_scale = model.smear_lambda.detach().to(dtype).item()
    if config.parts.backout:
        weights.backout_scale = model.backout_lambda.detach().to(dtype).item()
    return weights


def _layer_weights(model: GPT, number: int, block: Block) -> LayerWeights:
    config, dtype, attn = model.config, model.compute_dtype, block.attn
    rows = [
        _interleave_heads(attn.c_q.weight, config.head_dim),  # (C, C)
        _interleave_heads(attn.c_k.weight, config.head_dim),  # (H_kv · D, C)
        attn.c_v.weight,  # (H_kv · D, C)
    ]
    if attn.ve_gate is not None:
        gate = attn.ve_gate.weight  # (H_kv, VALUE_GATE_CHANNELS)
        # Zeros for the channels the gate does not read. An even number of rows, as torch.view_as_complex
        # needs an even stride between the rows of the product.
        rows.append(F.pad(gate, (0, config.n_embd - VALUE_GATE_CHANNELS, 0, gate.size(0) % 2)))
    embed = dict(model.value_embeds.items()).get(str(number))
    return LayerWeights(
        qkv=_transposed(torch.cat(rows), dtype),
        out=_transposed(attn.c_proj.weight, dtype),
        up=_transposed(block.mlp.c_fc.weight, dtype),
        down=_transposed(block.mlp.c_proj.weight, dtype),
        value_embed=embed.weight.detach() if isinstance(embed, nn.Embedding) else None,
    )


def _transposed(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """(outputs, inputs) → (inputs, outputs)."""
    transposed = weight.detach().to(dtype).t()
    # MKL reads a matrix of (inputs, outputs) up to 1.6 times as fast; cuBLAS does not mind.
    return transposed.contiguous() if transposed.device.type == "cpu" else transposed


def _interleave_heads(weight: Tensor, dim: int) -> Tensor:
    """(heads · D, C) with the channels that rotate together side by side in each head."""
    heads = weight.view(-1, dim, weight.size(1)).transpose(1, 2)  # (heads, C, D)
    return interleave(heads).transpose(1, 2).flatten(0, 1)
