"""Configuration of a modern nanochat model, for transformers' `trust_remote_code`."""

from typing import Any

from transformers import PretrainedConfig


class NanochatModernConfig(PretrainedConfig):
    """Sizes and optional parts of a modern nanochat model.

    `windows` are the windows of the layers: a query sees so many earlier keys and itself, None all of them.
    `value_embed_layers` are the layers with a table of value embeddings.
    """

    model_type = "nanochat_modern"
    keys_to_ignore_at_inference = ("cache", "past_key_values")

    def __init__(
        self,
        vocab_size: int = 32_768,
        hidden_size: int = 1280,
        num_hidden_layers: int = 20,
        num_attention_heads: int = 10,
        num_key_value_heads: int = 10,
        max_position_embeddings: int = 2048,
        rope_theta: float = 100_000.0,
        qk_gain: float = 1.2,
        final_logit_softcapping: float = 15.0,
        softcap_float32: bool = True,
        rotary_bfloat16: bool = False,
        layer_scales: bool = True,
        smear_channels: int = 24,
        value_gate_channels: int = 12,
        backout: bool = True,
        value_embed_layers: Any = (),
        windows: Any = (),
        use_cache: bool = True,
        **kwargs: Any,
    ) -> None:
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.num_key_value_heads = num_key_value_heads
        self.max_position_embeddings = max_position_embeddings
        self.rope_theta = rope_theta
        self.qk_gain = qk_gain
        self.final_logit_softcapping = final_logit_softcapping
        self.softcap_float32 = softcap_float32
        self.rotary_bfloat16 = rotary_bfloat16
        self.layer_scales = layer_scales
        self.smear_channels = smear_channels
        self.value_gate_channels = value_gate_channels
        self.backout = backout
        self.value_embed_layers = list(value_embed_layers)
        self.windows = list(windows) or [None] * num_hidden_layers
        self.use_cache = use_cache
        super().__init__(**{"tie_word_embeddings": False, **kwargs})
