"""The JSON documents of an export: transformers' own NanoChat for classic models, our code for the others."""

from pathlib import Path
from typing import Any

from nanochat.model.architecture import SMEAR_CHANNELS, SOFTCAP, VALUE_GATE_CHANNELS, ModelConfig
from nanochat.tokenizer.tokenizer import Tokenizer

CODE = ("configuration_nanochat.py", "modeling_nanochat.py")
"""Files of this folder that go into the export of a modern model."""


def code_files() -> dict[str, str]:
    """The code that a modern model is loaded with, by its file's name."""
    folder = Path(__file__).parent
    return {name: (folder / name).read_text(encoding="utf-8") for name in CODE}


def lacking(config: ModelConfig) -> list[str]:
    """The parts of a model that transformers' NanoChat, the classic architecture, lacks."""
    parts = config.parts
    short = any(window is not None and window < config.sequence_len for window in config.windows)
    found = {
        "layer scales": parts.layer_scales,
        "value embeddings": parts.value_embeds,
        "smear": parts.smear,
        "backout": parts.backout,
        "short windows": short,
        "a gain on queries and keys": parts.qk_gain != 1.0,
    }
    return [name for name, present in found.items() if present]


def hf_config(config: ModelConfig, tokenizer: Tokenizer, *, chat: bool) -> dict[str, Any]:
    """The content of `config.json`. RMSNorm's eps is float32's, as torch takes it when none is given."""
    common = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.n_embd,
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_head,
        "num_key_value_heads": config.n_kv_head,
        "max_position_embeddings": config.sequence_len,
        "final_logit_softcapping": SOFTCAP,
        "tie_word_embeddings": False,
        "use_cache": True,
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": _ends(tokenizer, chat),
        "pad_token_id": tokenizer.special_id("assistant_end"),
    }
    return common | (_modern(config) if lacking(config) else _classic(config))


def _classic(config: ModelConfig) -> dict[str, Any]:
    return {
        "architectures": ["NanoChatForCausalLM"],
        "model_type": "nanochat",
        "intermediate_size": 4 * config.n_embd,
        "hidden_act": "relu2",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "rms_norm_eps": 2.0**-23,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.parts.rotary_base},
    }


def _modern(config: ModelConfig) -> dict[str, Any]:
    parts = config.parts
    return {
        "architectures": ["NanochatModernForCausalLM"],
        "auto_map": {
            "AutoConfig": "configuration_nanochat.NanochatModernConfig",
            "AutoModel": "modeling_nanochat.NanochatModernModel",
            "AutoModelForCausalLM": "modeling_nanochat.NanochatModernForCausalLM",
        },
        "model_type": "nanochat_modern",
        "rope_theta": parts.rotary_base,
        "rotary_bfloat16": parts.rotary_bfloat16,
        "qk_gain": parts.qk_gain,
        "softcap_float32": parts.softcap_float32,
        "layer_scales": parts.layer_scales,
        "smear_channels": SMEAR_CHANNELS if parts.smear else 0,
        "value_gate_channels": VALUE_GATE_CHANNELS,
        "backout": parts.backout,
        "value_embed_layers": [layer for layer in range(config.n_layer) if config.has_value_embed(layer)],
        "windows": config.windows,
    }


def generation_config(tokenizer: Tokenizer, *, chat: bool) -> dict[str, Any]:
    """The content of `generation_config.json`."""
    return {
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": _ends(tokenizer, chat),
        "pad_token_id": tokenizer.special_id("assistant_end"),
        "do_sample": True,
        "temperature": 0.6 if chat else 1.0,
        "top_k": 50,
    }


def _ends(tokenizer: Tokenizer, chat: bool) -> int | list[int]:
    return [tokenizer.special_id("assistant_end"), tokenizer.bos_id] if chat else tokenizer.bos_id
