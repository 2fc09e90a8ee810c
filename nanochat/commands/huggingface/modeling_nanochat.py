"""A modern nanochat model for transformers' `trust_remote_code`: one file, nothing of nanochat is needed.

Shapes: B rows, T new tokens, S tokens with those in the cache, C width, H heads, G heads of keys and values,
D channels of a head.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DynamicCache, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from .configuration_nanochat import NanochatModernConfig


def norm(x: Tensor) -> Tensor:
    """RMSNorm without parameters; the epsilon is that of float32, or of a wider type."""
    return F.rms_norm(x, (x.size(-1),))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x (B, H, T, D) turned by −θ; cos and sin are (B, 1, T, D/2)."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos + second * sin, second * cos - first * sin), dim=-1)


class NanochatAttention(nn.Module):
    """Causal attention in a window, with gated value embeddings in some layers."""

    def __init__(self, config: NanochatModernConfig, layer: int) -> None:
        super().__init__()
        width, self.heads, self.groups = (
            config.hidden_size,
            config.num_attention_heads,
            config.num_key_value_heads,
        )
        self.layer, self.head_dim = layer, width // self.heads
        self.window, self.scale = config.windows[layer], config.qk_gain**2 / self.head_dim**0.5
        self.gate_channels = config.value_gate_channels
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, self.groups * self.head_dim, bias=False)
        self.v_proj = nn.Linear(width, self.groups * self.head_dim, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)
        if layer in config.value_embed_layers:
            self.ve_gate = nn.Linear(self.gate_channels, self.groups, bias=False)

    def forward(
        self, x: Tensor, value: Tensor | None, cos: Tensor, sin: Tensor, mask: Tensor, cache: Any
    ) -> Tensor:
        """x (B, T, C); `value` (B, T, G · D) value embeddings; `mask` (B, 1, T, S) what may be seen."""
        rows, tokens, width = x.shape

        def split(projected: Tensor, heads: int) -> Tensor:
            return projected.view(rows, tokens, heads, self.head_dim)

        q, k = split(self.q_proj(x), self.heads), split(self.k_proj(x), self.groups)
        v = split(self.v_proj(x), self.groups)
        if value is not None:
            gate = 3 * torch.sigmoid(self.ve_gate(x[..., : self.gate_channels]))  # (B, T, G)
            v = v + gate[..., None] * value.view_as(v)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))  # (B, H, T, D)
        q, k = norm(rotate(q, cos, sin)), norm(rotate(k, cos, sin))
        if cache is not None:
            k, v = cache.update(k, v, self.layer)
        if self.window is not None:
            keys, queries = k.size(2), q.size(2)
            at = torch.arange(keys, device=x.device)
            near = at[keys - queries :, None] - at <= self.window  # (T, S)
            mask = mask & near
        groups = self.heads // self.groups
        k, v = (part.repeat_interleave(groups, dim=1) for part in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=self.scale)
        return self.o_proj(y.transpose(1, 2).reshape(rows, tokens, width))


class NanochatMLP(nn.Module):
    """C → 4C → C with ReLU² between."""

    def __init__(self, config: NanochatModernConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, 4 * config.hidden_size, bias=False)
        self.fc2 = nn.Linear(4 * config.hidden_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.relu(self.fc1(x)).square())


class NanochatBlock(nn.Module):
    """Attention and MLP, each added to the residual stream."""

    def __init__(self, config: NanochatModernConfig, layer: int) -> None:
        super().__init__()
        self.self_attn = NanochatAttention(config, layer)
        self.mlp = NanochatMLP(config)

    def forward(self, x: Tensor, *more: Any) -> Tensor:
        x = x + self.self_attn(norm(x), *more)
        return x + self.mlp(norm(x))


class NanochatModernPreTrainedModel(PreTrainedModel):
    """What both models share."""

    config_class = NanochatModernConfig
    base_model_prefix = "model"
    _no_split_modules = ("NanochatBlock",)
    _supports_sdpa = True


class NanochatModernModel(NanochatModernPreTrainedModel):
    """Token ids to the normed residual stream before the head."""

    def __init__(self, config: NanochatModernConfig) -> None:
        super().__init__(config)
        layers, width = range(config.num_hidden_layers), config.hidden_size
        kv = config.num_key_value_heads * (width // config.num_attention_heads)
        self.embed_tokens = nn.Embedding(config.vocab_size, width)
        self.layers = nn.ModuleList(NanochatBlock(config, layer) for layer in layers)
        tables = {str(layer): nn.Embedding(config.vocab_size, kv) for layer in config.value_embed_layers}
        self.value_embeds = nn.ModuleDict(tables)
        if config.layer_scales:
            self.resid_lambdas = nn.Parameter(torch.ones(config.num_hidden_layers))
            self.x0_lambdas = nn.Parameter(torch.zeros(config.num_hidden_layers))
        if config.smear_channels:
            self.smear_gate = nn.Linear(config.smear_channels, 1, bias=False)
            self.smear_lambda = nn.Parameter(torch.zeros(1))
        if config.backout:
            self.backout_lambda = nn.Parameter(torch.zeros(1))
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.embed_tokens = value

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Any = None,
        past_key_values: Any = None,
        use_cache: bool | None = None,
        previous_ids: Tensor | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """ids (B, T). `attention_mask` (B, S) is 0 at padding, which stands at the left.

        `previous_ids` (B, 1) is the token before the first one, where a cache holds tokens: smear reads its
        embedding. `generate` gives it; else the last one that was read with the cache counts.
        """
        if input_ids is None:
            raise ValueError("a nanochat model reads input_ids: value embeddings and smear need the tokens")
        # `generate` of transformers 5.24 says `cache`; callers may still use the name that it had before.
        cache = cache if cache is not None else past_key_values
        if (
            cache is None
            and (self.config.use_cache if use_cache is None else use_cache)
            and not self.training
        ):
            cache = DynamicCache()
        seen = cache.get_seq_length() if cache is not None else 0
        rows, tokens = input_ids.shape
        mask, real = self._mask(attention_mask, rows, tokens, seen, input_ids.device)
        if position_ids is None:
            counted = real.long().cumsum(-1) - 1
            position_ids = counted.clamp(min=0)[:, seen:]
        x = norm(self.embed_tokens(input_ids))
        if self.config.smear_channels:
            if seen and previous_ids is None:
                previous_ids = getattr(cache, "nanochat_last_ids", None)
                if previous_ids is None:
                    raise ValueError("the cache holds tokens: give previous_ids, the token before input_ids")
            x = self._smear(x, previous_ids if seen else None, real, seen)
        if cache is not None:
            cache.nanochat_last_ids = input_ids[:, -1:]
        cos, sin = self._rotary(position_ids, x.dtype)
        first, middle, streams = x, None, [x]
        for layer, block in enumerate(self.layers):
            if self.config.layer_scales:
                x = self.resid_lambdas[layer].to(x.dtype) * x + self.x0_lambdas[layer].to(x.dtype) * first
            has_values = str(layer) in self.value_embeds
            value = self.value_embeds[str(layer)](input_ids).to(x.dtype) if has_values else None
            x = block(x, value, cos, sin, mask, cache)
            if layer == self.config.num_hidden_layers // 2:
                middle = x
            streams.append(x)
        if self.config.backout and middle is not None:
            x = x - self.backout_lambda.to(x.dtype) * middle
        hidden = tuple(streams) if output_hidden_states else None
        return BaseModelOutputWithPast(last_hidden_state=norm(x), cache=cache, hidden_states=hidden)

    def _mask(
        self, attention_mask: Tensor | None, rows: int, tokens: int, seen: int, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """What each query may see (B, 1, T, S), and which of all tokens are real (B, S)."""
        total = seen + tokens
        if attention_mask is None:
            real = torch.ones(rows, total, dtype=torch.bool, device=device)
        elif attention_mask.dim() == 2 and attention_mask.size(1) == total:
            real = attention_mask.to(device=device, dtype=torch.bool)
        else:
            raise ValueError(
                f"attention_mask must be (rows, {total}): a nanochat model takes a growing cache"
            )
        at = torch.arange(total, device=device)
        causal = at <= at[seen:, None]  # (T, S)
        itself = at == at[seen:, None]  # a query of padding sees itself, or its row would be NaN
        return (causal & (real[:, None, None, :] | itself)), real

    def _smear(self, x: Tensor, previous_ids: Tensor | None, real: Tensor, seen: int) -> Tensor:
        """x_t + λ · sigmoid(gate(x_t)) · x_{t−1}; the first token of a row is as it was."""
        before = torch.zeros_like(x[:, :1]) if previous_ids is None else norm(self.embed_tokens(previous_ids))
        previous = torch.cat((before.to(x.dtype), x[:, :-1]), dim=1)
        known = torch.cat((torch.zeros_like(real[:, :1]), real[:, :-1]), dim=1)[:, seen:]
        channels = self.config.smear_channels
        gate = self.smear_lambda.to(x.dtype) * torch.sigmoid(self.smear_gate(x[..., :channels]))
        return torch.where(known[..., None], x + gate * previous, x)

    def _rotary(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """cos and sin of positions (B, T), each (B, 1, T, D/2)."""
        head_dim = self.config.hidden_size // self.config.num_attention_heads
        channels = torch.arange(0, head_dim, 2, dtype=torch.float32, device=positions.device)
        angles = positions[:, None, :, None].float() * (1.0 / self.config.rope_theta ** (channels / head_dim))
        cos, sin = angles.cos(), angles.sin()
        if self.config.rotary_bfloat16:
            cos, sin = cos.bfloat16(), sin.bfloat16()
        return cos.to(dtype), sin.to(dtype)


class NanochatModernForCausalLM(NanochatModernPreTrainedModel, GenerationMixin):
    """The language model."""

    def __init__(self, config: NanochatModernConfig) -> None:
        super().__init__(config)
        self.model = NanochatModernModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def set_output_embeddings(self, value: nn.Module) -> None:
        self.lm_head = value

    def prepare_inputs_for_generation(self, input_ids: Tensor, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As every model, with the token before the new ones: rows may have changed places (beam search)."""
        found = super().prepare_inputs_for_generation(input_ids, *args, **kwargs)
        new = found["input_ids"].size(1)
        if new < input_ids.size(1):
            found["previous_ids"] = input_ids[:, -new - 1 : -new]
        return found

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Any = None,
        past_key_values: Any = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        previous_ids: Tensor | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Float32 logits (B, T, vocabulary), within ±15; the loss where `labels` are given."""
        out = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            cache=cache if cache is not None else past_key_values,
            use_cache=use_cache,
            previous_ids=previous_ids,
            output_hidden_states=output_hidden_states,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(out.last_hidden_state[:, kept])
        cap = self.config.final_logit_softcapping
        logits = logits.float() if self.config.softcap_float32 else logits
        logits = (cap * torch.tanh(logits / cap)).float()
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.vocab_size)
        return CausalLMOutputWithPast(
            loss=loss, logits=logits, cache=out.cache, hidden_states=out.hidden_states
        )
