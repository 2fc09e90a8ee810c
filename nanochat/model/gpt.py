"""The transformer: one module with optional parts, for the modern and the classic era.

Pre-norm blocks, parameter-free RMSNorm, rotary positions with QK norm, ReLU² MLP, untied embedding and
head, no biases. Shapes: B rows, T tokens, C width, H heads, D channels of a head, V vocabulary.
Parameter names are those of upstream nanochat (karpathy/nanochat), so state dicts go both ways.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nanochat.model.architecture import SMEAR_CHANNELS, VALUE_GATE_CHANNELS, ModelConfig
from nanochat.model.attention import SDPA, Kernel, attend, choose_kernel
from nanochat.model.cache import Cache, Tables
from nanochat.model.fp8 import fits_float8
from nanochat.model.layers import Embedding, Linear
from nanochat.model.loss import capped_logits, chunked_loss, token_losses
from nanochat.model.ops import norm, relu_squared, rotary_tables, rotate

ResidualMix = tuple[Tensor, Tensor, Tensor]
"""A layer's λs of the stream and of the first embedding (0-d), and that embedding (B, T, C)."""


class Attention(nn.Module):
    """Causal self-attention with rotary positions, grouped key-value heads (arXiv 2305.13245), QK norm (arXiv
    2010.04245) and, on some layers, a gated value embedding."""

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

    def forward(self, x: Tensor, value: Tensor | None, tables: Tables, cache: Cache | None) -> Tensor:
        """x (B, T, C), `value` (B, T, H_kv · D) or None → (B, T, C)."""
        B, T, C = x.shape
        q = self.c_q(x).view(B, T, self.heads, self.head_dim)  # (B, T, H, D)
        k = self.c_k(x).view(B, T, self.kv_heads, self.head_dim)  # (B, T, H_kv, D)
        v = self.c_v(x).view(B, T, self.kv_heads, self.head_dim)  # (B, T, H_kv, D)
        if value is not None and self.ve_gate is not None:
            # One gate a key-value head, between 0 and 3 and at 3/2 where its logit is 0.
            gate = 3 * torch.sigmoid(self.ve_gate(x[..., :VALUE_GATE_CHANNELS]))  # (B, T, H_kv)
            v = v + gate[..., None] * value.view_as(v)
        # Rotation keeps lengths, so norm after it equals norm before: scores depend on angles alone.
        q, k = norm(rotate(q, *tables)), norm(rotate(k, *tables))
        y = self.attend(q, k, v) if cache is None else cache.attend(self.layer, q, k, v, self.attend_eagerly)
        out: Tensor = self.c_proj(y.reshape(B, T, C))  # (B, T, C)
        return out

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention with the layer's window and kernel."""
        # The gain on q and on k is one factor on their products.
        return attend(q, k, v, self.window, self.gain**2, self.kernel)

    def attend_eagerly(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """As `attend`, never compiled: FlexAttention would be, again for every prompt of another length."""
        kernel = SDPA if self.kernel.name == "flex" else self.kernel
        return attend(q, k, v, self.window, self.gain**2, kernel)


class MLP(nn.Module):
    """C → 4C → C with ReLU² between (arXiv 2109.08668)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.c_fc = Linear(config.n_embd, 4 * config.n_embd)
        self.c_proj = Linear(4 * config.n_embd, config.n_embd)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.c_proj(relu_squared(self.c_fc(x)))
        return out


class Block(nn.Module):
    """Pre-norm attention and MLP, each added to the residual stream."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.attn = Attention(config, layer)
        self.mlp = MLP(config)

    def forward(
        self,
        x: Tensor,
        mix: ResidualMix | None,
        value: Tensor | None,
        tables: Tables,
        cache: Cache | None,
    ) -> Tensor:
        """x (B, T, C) → (B, T, C); `tables` are cos and sin (T, 1, D/2)."""
        if mix is not None:
            # Within the block, so that compiled code reads the stream once for this and the norm after it.
            resid, x0, first = mix
            x = resid * x + x0 * first
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
            {"wte": Embedding(rows, width), "h": nn.ModuleList(Block(config, i) for i in layers)}
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
        tables = {str(i): Embedding(rows, config.kv_dim) for i in layers if config.has_value_embed(i)}
        self.value_embeds = nn.ModuleDict(tables)
        self._tables: Tables | None = None

    def use_attention(self, kernel: Kernel) -> None:
        """Computes attention with `kernel` from now on."""
        for block in self.blocks:
            block.attn.kernel = kernel

    @property
    def attention(self) -> Kernel:
        return self.blocks[0].attn.kernel

    def use_float8(self) -> int:
        """Trains every matrix whose shape allows it in float8, and returns how many do.

        Without gradients (evaluations, decoding) they multiply in the compute type.
        """
        matrices = [m for m in self.modules() if isinstance(m, Linear) and fits_float8(m.weight)]
        for matrix in matrices:
            matrix.float8 = True
        return len(matrices)

    @property
    def kernels(self) -> str:
        """For people: how attention and matrices are computed."""
        float8 = sum(isinstance(m, Linear) and m.float8 for m in self.modules())
        return f"attention: {self.attention.label}" + (f"; {float8} matrices in float8" if float8 else "")

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

    def rotary(self, start: int, length: int) -> Tables:
        """cos and sin for positions start … start+length−1, (length, 1, D/2) in the compute type."""
        needed = start + length
        tables = self._tables
        if (
            tables is None
            or tables[0].size(0) < needed
            or tables[0].device != self.device
            or tables[0].dtype != self.compute_dtype
        ):
            size = max(2 * needed, self.config.sequence_len)  # doubled, so that decoding rarely grows it
            # Not as inference tensors, even when a sampler asks first: training saves them for backward.
            with torch.inference_mode(False):
                base = self.config.parts.rotary_base
                cos, sin = rotary_tables(size, self.config.head_dim, base, self.device)
                if self.config.parts.rotary_bfloat16:
                    # Classic checkpoints were trained so, on every device: float32 is off by up to 6e-4.
                    cos, sin = cos.bfloat16(), sin.bfloat16()
                tables = (cos.to(self.compute_dtype)[:, None], sin.to(self.compute_dtype)[:, None])
            self._tables = tables
        return tables[0][start:needed], tables[1][start:needed]

    def smear(self, x: Tensor, before: Tensor | None) -> Tensor:
        """x_t + λ·sigmoid(gate(x_t))·x_{t−1} of x (B, T, C); `before` (B, T, C) is each one's predecessor.

        It gives each token its predecessor without an attention head that would have to look for it. Without
        `before` the rows begin sequences, and the first token is unchanged.
        """
        current, previous = (x[:, 1:], x[:, :-1]) if before is None else (x, before)
        gate = self.smear_lambda.to(x.dtype) * torch.sigmoid(self.smear_gate(current[..., :SMEAR_CHANNELS]))
        smeared = current + gate * previous
        return smeared if before is not None else torch.cat((x[:, :1], smeared), dim=1)

    def embed(self, ids: Tensor) -> Tensor:
        """The normed embeddings of ids (B, T), before smear: (B, T, C) in the compute type."""
        return norm(self.wte(ids).to(self.compute_dtype))

    def hidden(
        self, ids: Tensor, cache: Cache | None = None, each_layer: Callable[[Tensor], object] | None = None
    ) -> Tensor:
        """The normed residual stream before the head: ids (B, T) → (B, T, C) in the compute type.

        `each_layer` is called with the stream (B, T, C) after each layer.
        """
        parts = self.config.parts
        tables = self.rotary(0, ids.size(1)) if cache is None else cache.rotary(ids.size(1), self.rotary)
        x = self.embed(ids)
        if parts.smear:
            x = self.smear(x, None if cache is None else cache.predecessors(x))
        if self.attention.name == "flex" and cache is None:
            from nanochat.model.attention_flex import block_mask

            # Built here, ahead of compiled blocks, which only look them up.
            for window in {w for w in self.config.windows if w is not None and w + 1 < ids.size(1)}:
                block_mask(ids.size(1), window, x.device)
        mixes, middle = self._residual_mixes(x), None
        for i, block in enumerate(self.blocks):
            value = self.value_embeds[str(i)](ids).to(x.dtype) if str(i) in self.value_embeds else None
            # Decoding bypasses a compiled block: its shapes change with every token.
            run = block if cache is None else block.forward
            x = run(x, mixes[i], value, tables, cache)  # (B, T, C)
            if i == self.config.n_layer // 2:
                middle = x
            if each_layer is not None:
                each_layer(x)
        if parts.backout and middle is not None:
            # Takes back what the first half wrote only for the second half to read.
            x = x - self.backout_lambda.to(x.dtype) * middle
        if cache is not None:
            cache.advance(ids.size(1))
        return norm(x)

    def _residual_mixes(self, first: Tensor) -> list[ResidualMix | None]:
        """Of every layer; None in a model without λs."""
        if not self.config.parts.layer_scales:
            return [None] * self.config.n_layer
        lambdas = (table.to(first.dtype).unbind() for table in (self.resid_lambdas, self.x0_lambdas))
        return [(resid, x0, first) for resid, x0 in zip(*lambdas, strict=True)]

    def forward(
        self,
        ids: Tensor,
        targets: Tensor | None = None,
        cache: Cache | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Float32 logits (B, T, V), or the mean loss in nats when `targets` (B, T; −1 ignored) is given.

        `weights` (B, T) multiply each target's loss; the mean is still over the number of targets.
        """
        x = self.hidden(ids, cache)  # (B, T, C)
        if targets is None:
            return self.logits(x)
        return chunked_loss(
            x.flatten(0, 1),  # (B · T, C)
            self.lm_head.weight,
            targets.flatten(),  # (B · T,)
            self.config.vocab_size,
            self.config.parts.softcap_float32,
            float8=self.lm_head.float8 and torch.is_grad_enabled(),
            weights=None if weights is None else weights.flatten(),
            compiled=self.compiled_loss,
        )

    def logits(self, x: Tensor) -> Tensor:
        """Float32 logits (…, V) of a hidden state (…, C), soft-capped."""
        config = self.config
        return capped_logits(x, self.lm_head.weight, config.vocab_size, config.parts.softcap_float32)

    @torch.no_grad()
    def losses(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Nats of every target (B, T) float32, 0 where ignored; no gradient."""
        x = self.hidden(ids).flatten(0, 1)  # (B · T, C)
        vocab_size, in_float32 = self.config.vocab_size, self.config.parts.softcap_float32
        losses = token_losses(x, self.lm_head.weight, targets.flatten(), vocab_size, in_float32)
        return losses.view_as(targets)

    @torch.no_grad()
    def init_weights(self, seed: int) -> None:
        """Fills every parameter from `seed`, drawn on the CPU in float32 so that devices agree."""
        generator = torch.Generator().manual_seed(seed)
        if self.config.parts.layer_scales:
            _init_modern(self, generator)
        else:
            _init_classic(self, generator)


# -- initialisation --------------------------------------------------------------------------------


def _normal(parameter: Tensor, std: float, generator: torch.Generator) -> None:
    parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)


def _uniform(parameter: Tensor, low: float, high: float, generator: torch.Generator) -> None:
    parameter.copy_(torch.rand(parameter.shape, generator=generator) * (high - low) + low)


def _init_modern(model: GPT, generator: torch.Generator) -> None:
    """Upstream nanochat's. Uniform, not normal: a matrix then starts without outliers."""
    config = model.config
    bound = (3.0 / config.n_embd) ** 0.5  # a uniform of ±√3·σ has standard deviation σ = 1/√width
    _normal(model.wte.weight, 0.8, generator)
    _normal(model.lm_head.weight, 0.001, generator)  # near 0: the first loss is that of a uniform guess
    for block in model.blocks:
        for matrix in (block.attn.c_q, block.attn.c_k, block.attn.c_v):
            _uniform(matrix.weight, -bound, bound, generator)
        _uniform(block.mlp.c_fc.weight, -0.4 * bound, 0.4 * bound, generator)
        # Projections into the stream start at 0, so that a block starts as the identity.
        nn.init.zeros_(block.attn.c_proj.weight)
        nn.init.zeros_(block.mlp.c_proj.weight)
        if block.attn.ve_gate is not None:
            _uniform(block.attn.ve_gate.weight, 0.0, 0.02, generator)  # near 0: gates start half open
    for table in model.value_embeds.values():
        assert isinstance(table, nn.Embedding)
        _uniform(table.weight, -bound, bound, generator)
    # Early layers are weighted more, and get more of the first embedding, than late ones.
    model.resid_lambdas.copy_(torch.linspace(1.15, 1.05 if config.n_layer > 1 else 1.15, config.n_layer))
    model.x0_lambdas.copy_(torch.linspace(0.20, 0.05 if config.n_layer > 1 else 0.20, config.n_layer))
    if config.parts.smear:
        _uniform(model.smear_gate.weight, 0.0, 0.02, generator)
        nn.init.zeros_(model.smear_lambda)  # off until it is learned
    if config.parts.backout:
        nn.init.constant_(model.backout_lambda, 0.2)


def _init_classic(model: GPT, generator: torch.Generator) -> None:
    """Upstream nanochat's of autumn 2025: the spectral condition of arXiv 2310.17813 for matrices."""
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
    """An uninitialised model on `device`: no weight is drawn before `init_weights`.

    `attention` names a kernel of `nanochat.model.attention.KERNELS`.
    """
    with torch.device(device):
        model = GPT(config, compute_dtype)
    model.use_attention(choose_kernel(torch.device(device), compute_dtype, attention))
    return model
