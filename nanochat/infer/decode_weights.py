"""A model's weights laid out for decoding."""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nanochat.model.architecture import VALUE_GATE_CHANNELS
from nanochat.model.gpt import GPT


@dataclass
class LayerWeights:
    """A block's matrices, (inputs, outputs) each."""

    qkv: Tensor
    """Queries, keys, values and, where the layer has them, one gate logit a key-value head."""
    out: Tensor
    up: Tensor
    down: Tensor
    value_embed: Tensor | None = None


@dataclass
class Weights:
    """A model's weights prepared for decoding; tables are the model's own."""

    layers: list[LayerWeights]
    wte: Tensor
    head: Tensor
    resid: list[float] = field(default_factory=list)
    first: Tensor | None = None
    """(layers, 1, 1): each layer's share of the first embedding."""
    smear: Tensor | None = None
    smear_scale: float = 0.0
    backout: float = 0.0


def interleave(x: Tensor) -> Tensor:
    """The last dimension (first half, second half) as pairs (first, second), (first, second), …"""
    return x.reshape(*x.shape[:-1], 2, -1).transpose(-1, -2).flatten(-2)


def prepare(model: GPT) -> Weights:
    """The decoding weights of a model as it is now, in its compute type."""
    config, dtype = model.config, model.compute_dtype
    dim = config.head_dim

    def matrix(weight: Tensor) -> Tensor:
        turned = weight.detach().to(dtype).t()
        # MKL reads a matrix of (inputs, outputs) up to 1.6 times as fast; cuBLAS does not mind.
        return turned.contiguous() if turned.device.type == "cpu" else turned

    def pairs(weight: Tensor) -> Tensor:
        return interleave(weight.view(-1, dim, weight.size(1)).transpose(1, 2)).transpose(1, 2).flatten(0, 1)

    layers = []
    for i, block in enumerate(model.blocks):
        attn = block.attn
        rows = [pairs(attn.c_q.weight), pairs(attn.c_k.weight), attn.c_v.weight]
        if attn.ve_gate is not None:
            gate = attn.ve_gate.weight
            rows.append(F.pad(gate, (0, config.n_embd - VALUE_GATE_CHANNELS, 0, gate.size(0) % 2)))
        embed = dict(model.value_embeds.items()).get(str(i))
        table = embed.weight.detach() if isinstance(embed, nn.Embedding) else None
        layers.append(
            LayerWeights(
                matrix(torch.cat(rows)), matrix(attn.c_proj.weight), matrix(block.mlp.c_fc.weight),
                matrix(block.mlp.c_proj.weight), table,
            )
        )  # fmt: skip
    weights = Weights(layers, model.wte.weight.detach(), matrix(model.lm_head.weight[: config.vocab_size]))
    if config.parts.layer_scales:
        weights.resid = model.resid_lambdas.detach().to(dtype).tolist()
        weights.first = model.x0_lambdas.detach().to(dtype)[:, None, None].clone()
    if config.parts.smear:
        weights.smear = matrix(model.smear_gate.weight)
        weights.smear_scale = model.smear_lambda.detach().to(dtype).item()
    if config.parts.backout:
        weights.backout = model.backout_lambda.detach().to(dtype).item()
    return weights
