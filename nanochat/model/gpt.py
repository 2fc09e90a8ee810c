"""The transformer: one module with optional parts, for the modern and the classic era.

Pre-norm blocks, parameter-free RMSNorm, rotary positions with QK norm, ReLU² MLP, untied embedding and
head, no biases. Shapes: B rows, T tokens, C width, H heads, D channels of a head, V vocabulary.
Parameter names are the reference's, so state dicts go both ways.
"""

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nanochat.model.architecture import SMEAR_CHANNELS, VALUE_GATE_CHANNELS, ModelConfig
from nanochat.model.attention import SDPA, Kernel, attend, block_mask, choose_kernel
from nanochat.model.fp8 import fits_float8, float8_linear
from nanochat.model.loss import capped_logits, chunked_loss, token_losses
from nanochat.model.ops import norm, relu_squared, rotate

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""A layer's attention: q (B, T, H, D), keys and values (B, T or more, H_kv, D) → (B, T, H, D)."""


class Cache(Protocol):
    """What decoding keeps between calls: keys and values of each layer, and smear's last embedding."""

    length: int
    last_embedding: Tensor | None

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, attend: Attend) -> Tensor:
        """Keeps k and v, and gives `attend(q, …)` over all that is kept of the layer, or what equals it."""
        ...


Mixing = tuple[Tensor, Tensor, Tensor]
"""A layer's λs of the stream and of the first embedding (0-d), and that embedding (B, T, C)."""


class Linear(nn.Linear):
    """A matrix kept in its own dtype and multiplied in its input's, or in float8 where it trains so."""

    float8 = False

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.float8 and torch.is_grad_enabled():
            return float8_linear(x, self.weight)
        return F.linear(x, self.weight.to(x.dtype))


def rotary_tables(length: int, head_dim: int, base: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """cos and sin of position · base^(−2i/head_dim), each (length, head_dim/2) in float32 (RoFormer)."""
    channels = torch.arange(0, head_dim, 2, dtype=torch.float32, device=device)
    frequencies = 1.0 / base ** (channels / head_dim)
    angles = torch.outer(torch.arange(length, dtype=torch.float32, device=device), frequencies)
    return angles.cos(), angles.sin()


class Attention(nn.Module):
    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.heads, self.kv_heads, self.head_dim = config.n_head, config.n_kv_head, config.head_dim
        self.window = config.windows[layer]
        self.gain = config.parts.qk_gain
        self.kernel = SDPA
        self.c_q = Linear(config.n_embd, config.n_embd)
        self.c_k = Linear(config.n_embd, config.kv_dim)
        self.c_v = Linear(config.n_embd, config.kv_dim)
        self.c_proj = Linear(config.n_embd, config.n_embd)
        gated = config.has_value_embed(layer)
        self.ve_gate = Linear(VALUE_GATE_CHANNELS, config.n_kv_head) if gated else None

    def forward(
        self, x: Tensor, value: Tensor | None, tables: tuple[Tensor, Tensor], cache: Cache | None
    ) -> Tensor:
        B, T, C = x.shape
        q = self.c_q(x).view(B, T, self.heads, self.head_dim)
        k = self.c_k(x).view(B, T, self.kv_heads, self.head_dim)
        v = self.c_v(x).view(B, T, self.kv_heads, self.head_dim)
        if value is not None and self.ve_gate is not None:
            # The gate is open by 3/2 where its logit is 0; one gate a key-value head.
            gate = 3 * torch.sigmoid(self.ve_gate(x[..., :VALUE_GATE_CHANNELS]))
            v = v + gate[..., None] * value.view_as(v)
        q, k = norm(rotate(q, *tables)), norm(rotate(k, *tables))
        y = self.attend(q, k, v) if cache is None else cache.attend(self.layer, q, k, v, self.attend)
        out: Tensor = self.c_proj(y.reshape(B, T, C))
        return out

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention by the layer's window and kernel."""
        # The gain on q and on k is one factor on their products.
        return attend(q, k, v, self.window, self.gain**2, self.kernel)


class MLP(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.c_fc = Linear(config.n_embd, 4 * config.n_embd)
        self.c_proj = Linear(4 * config.n_embd, config.n_embd)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.c_proj(relu_squared(self.c_fc(x)))
        return out


class Block(nn.Module):
    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.attn = Attention(config, layer)
        self.mlp = MLP(config)

    def forward(
        self, x: Tensor, mixing: Mixing | None, value: Tensor | None, tables: tuple[Tensor, Tensor],
        cache: Cache | None,
    ) -> Tensor:  # fmt: skip
        if mixing is not None:
            # Within the block, so that compiled code reads the stream once for this and the norm after it.
            keep, share, first = mixing
            x = keep * x + share * first
        x = x + self.attn(norm(x), value, tables, cache)
        out: Tensor = x + self.mlp(norm(x))
        return out


class GPT(nn.Module):
    """The language model. Parameters are uninitialised until `init_weights` or a state dict is loaded.

    `compute_dtype` is the type of activations and matmuls; parameters keep theirs.
    """

    def __init__(self, config: ModelConfig, compute_dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.config = config
        self.compute_dtype = compute_dtype
        self.compiled_loss = False
        """Whether the elementwise part of the training loss is compiled (see `nanochat.model.loss`)."""
        parts, width, rows = config.parts, config.n_embd, config.padded_vocab
        layers = range(config.n_layer)
        self.transformer = nn.ModuleDict(
            {"wte": nn.Embedding(rows, width), "h": nn.ModuleList(Block(config, i) for i in layers)}
        )
        self.lm_head = Linear(width, rows)
        if parts.layer_scales:
            self.resid_lambdas = nn.Parameter(torch.empty(config.n_layer))
            self.x0_lambdas = nn.Parameter(torch.empty(config.n_layer))
        if parts.smear:
            self.smear_gate = Linear(SMEAR_CHANNELS, 1)
            self.smear_lambda = nn.Parameter(torch.empty(1))
        if parts.backout:
            self.backout_lambda = nn.Parameter(torch.empty(1))
        tables = {str(i): nn.Embedding(rows, config.kv_dim) for i in layers if config.has_value_embed(i)}
        self.value_embeds = nn.ModuleDict(tables)
        self._tables: tuple[Tensor, Tensor] | None = None

    def use_attention(self, kernel: Kernel) -> None:
        """Computes attention with `kernel` from now on."""
        for block in self.blocks:
            block.attn.kernel = kernel

    @property
    def attention(self) -> Kernel:
        return self.blocks[0].attn.kernel

    def use_float8(self) -> int:
        """Trains in float8 every matrix whose shape allows it, and returns how many do.

        Without gradients (evaluations, decoding) they multiply in the compute type.
        """
        fit = [m for m in self.modules() if isinstance(m, Linear) and fits_float8(m.weight)]
        for matrix in fit:
            matrix.float8 = True
        return len(fit)

    @property
    def kernels(self) -> str:
        """For people: how attention and matrices are computed."""
        float8 = sum(isinstance(m, Linear) and m.float8 for m in self.modules())
        return f"attention: {self.attention.label}" + (f"; {float8} matrices in float8" if float8 else "")

    @property
    def _cap32(self) -> bool:
        return self.config.parts.softcap_float32

    @property
    def device(self) -> torch.device:
        return self.lm_head.weight.device

    @property
    def wte(self) -> nn.Embedding:
        table = self.transformer["wte"]
        assert isinstance(table, nn.Embedding)
        return table

    @property
    def blocks(self) -> list[Block]:
        layers = self.transformer["h"]
        assert isinstance(layers, nn.ModuleList)
        return [block for block in layers if isinstance(block, Block)]

    def rotary(self, start: int, length: int) -> tuple[Tensor, Tensor]:
        """cos and sin for positions start … start+length−1, (length, 1, D/2) in the compute type."""
        needed = start + length
        tables = self._tables
        if (
            tables is None
            or tables[0].size(0) < needed
            or tables[0].device != self.device
            or tables[0].dtype != self.compute_dtype
        ):
            size = max(2 * needed, self.config.sequence_len)
            # Not as inference tensors, even when a sampler asks first: training saves them for backward.
            with torch.inference_mode(False):
                base = self.config.parts.rotary_base
                cos, sin = rotary_tables(size, self.config.head_dim, base, self.device)
                if self.config.parts.rotary_bfloat16:
                    cos, sin = cos.bfloat16(), sin.bfloat16()
                tables = (cos.to(self.compute_dtype)[:, None], sin.to(self.compute_dtype)[:, None])
            self._tables = tables
        return tables[0][start:needed], tables[1][start:needed]

    def smear(self, x: Tensor, before: Tensor | None) -> Tensor:
        """x_t + λ·sigmoid(gate(x_t))·x_{t−1}; `before` (B, 1, C) precedes the first token, if any does."""
        if before is None:
            current, previous = x[:, 1:], x[:, :-1]
        else:
            current, previous = x, torch.cat((before, x[:, :-1]), dim=1)
        gate = self.smear_lambda.to(x.dtype) * torch.sigmoid(self.smear_gate(current[..., :SMEAR_CHANNELS]))
        smeared = current + gate * previous
        return smeared if before is not None else torch.cat((x[:, :1], smeared), dim=1)

    def hidden(self, ids: Tensor, cache: Cache | None = None) -> Tensor:
        """The normed residual stream before the head: ids (B, T) → (B, T, C) in the compute type."""
        parts = self.config.parts
        start = 0 if cache is None else cache.length
        tables = self.rotary(start, ids.size(1))
        x = norm(self.wte(ids).to(self.compute_dtype))
        if parts.smear:
            before = None if cache is None else cache.last_embedding
            if cache is not None:
                cache.last_embedding = x[:, -1:]
            x = self.smear(x, before)
        if self.attention.name == "flex" and cache is None:
            # Made here, ahead of compiled blocks, which only look them up.
            for window in {w for w in self.config.windows if w is not None and w + 1 < ids.size(1)}:
                block_mask(ids.size(1), window, x.device)
        mixings, middle = self._mixings(x), None
        for i, block in enumerate(self.blocks):
            value = self.value_embeds[str(i)](ids).to(x.dtype) if str(i) in self.value_embeds else None
            # Decoding goes round a compiled block: its shapes change with every token.
            run = block if cache is None else block.forward
            x = run(x, mixings[i], value, tables, cache)
            if i == self.config.n_layer // 2:
                middle = x
        if parts.backout and middle is not None:
            x = x - self.backout_lambda.to(x.dtype) * middle
        if cache is not None:
            cache.length += ids.size(1)
        return norm(x)

    def _mixings(self, first: Tensor) -> list[Mixing | None]:
        """Of every layer; None in a model without λs."""
        if not self.config.parts.layer_scales:
            return [None] * self.config.n_layer
        lambdas = (table.to(first.dtype).unbind() for table in (self.resid_lambdas, self.x0_lambdas))
        return [(keep, share, first) for keep, share in zip(*lambdas, strict=True)]

    def forward(
        self, ids: Tensor, targets: Tensor | None = None, cache: Cache | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Float32 logits (B, T, V), or the mean loss in nats when `targets` (B, T; −1 ignored) is given.

        `weights` (B, T) multiply each target's loss; the mean is still over the number of targets.
        """
        x = self.hidden(ids, cache)
        if targets is None:
            return self.logits(x)
        flat, labels = x.flatten(0, 1), targets.flatten()
        float8 = self.lm_head.float8 and torch.is_grad_enabled()
        factors = None if weights is None else weights.flatten()
        return chunked_loss(
            flat, self.lm_head.weight, labels, self.config.vocab_size, self._cap32, float8, factors,
            compiled=self.compiled_loss,
        )  # fmt: skip

    def logits(self, x: Tensor) -> Tensor:
        """Float32 logits (…, V) of a hidden state (…, C), soft-capped."""
        return capped_logits(x, self.lm_head.weight, self.config.vocab_size, self._cap32)

    @torch.no_grad()
    def losses(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Nats of every target (B, T) float32, 0 where ignored; no gradient."""
        x = self.hidden(ids).flatten(0, 1)
        labels = targets.flatten()
        flat = token_losses(x, self.lm_head.weight, labels, self.config.vocab_size, self._cap32)
        return flat.view_as(targets)

    @torch.no_grad()
    def init_weights(self, seed: int) -> None:
        """Fills every parameter from `seed`, drawn on the CPU in float32 so that devices agree."""
        generator = torch.Generator().manual_seed(seed)
        if self.config.parts.layer_scales:
            _init_modern(self, generator)
        else:
            _init_classic(self, generator)


def _normal(parameter: Tensor, std: float, generator: torch.Generator) -> None:
    parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)


def _uniform(parameter: Tensor, low: float, high: float, generator: torch.Generator) -> None:
    parameter.copy_(torch.rand(parameter.shape, generator=generator) * (high - low) + low)


def _init_modern(model: GPT, generator: torch.Generator) -> None:
    config = model.config
    bound = (3.0 / config.n_embd) ** 0.5  # a uniform of ±√3·σ has standard deviation σ = 1/√width
    _normal(model.wte.weight, 0.8, generator)
    _normal(model.lm_head.weight, 0.001, generator)
    for block in model.blocks:
        for matrix in (block.attn.c_q, block.attn.c_k, block.attn.c_v):
            _uniform(matrix.weight, -bound, bound, generator)
        _uniform(block.mlp.c_fc.weight, -0.4 * bound, 0.4 * bound, generator)
        nn.init.zeros_(block.attn.c_proj.weight)
        nn.init.zeros_(block.mlp.c_proj.weight)
        if block.attn.ve_gate is not None:
            _uniform(block.attn.ve_gate.weight, 0.0, 0.02, generator)
    for table in model.value_embeds.values():
        assert isinstance(table, nn.Embedding)
        _uniform(table.weight, -bound, bound, generator)
    model.resid_lambdas.copy_(torch.linspace(1.15, 1.05 if config.n_layer > 1 else 1.15, config.n_layer))
    model.x0_lambdas.copy_(torch.linspace(0.20, 0.05 if config.n_layer > 1 else 0.20, config.n_layer))
    if config.parts.smear:
        _uniform(model.smear_gate.weight, 0.0, 0.02, generator)
        nn.init.zeros_(model.smear_lambda)
    if config.parts.backout:
        nn.init.constant_(model.backout_lambda, 0.2)


def _init_classic(model: GPT, generator: torch.Generator) -> None:
    _normal(model.wte.weight, 1.0, generator)
    nn.init.zeros_(model.lm_head.weight)
    for block in model.blocks:
        for matrix in (block.attn.c_q, block.attn.c_k, block.attn.c_v, block.mlp.c_fc):
            outputs, inputs = matrix.weight.shape
            _normal(matrix.weight, min(1.0, (outputs / inputs) ** 0.5) / inputs**0.5, generator)
        nn.init.zeros_(block.attn.c_proj.weight)
        nn.init.zeros_(block.mlp.c_proj.weight)


def build_model(
    config: ModelConfig,
    device: torch.device | str,
    compute_dtype: torch.dtype = torch.float32,
    attention: str = "auto",
) -> GPT:
    """An uninitialised model on `device`: made without data first, so no weight is drawn twice.

    `attention` names a kernel of `nanochat.model.attention.KERNELS`.
    """
    with torch.device("meta"):
        model = GPT(config, compute_dtype)
    model.to_empty(device=device)
    model.use_attention(choose_kernel(torch.device(device), compute_dtype, attention))
    return model
