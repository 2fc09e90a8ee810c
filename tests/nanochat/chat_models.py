"""A base directory with small models that can be served, of both eras."""

import math
from dataclasses import replace
from pathlib import Path

from training_data import byte_tokenizer
from upstream_files import random_model

from nanochat.checkpoint.files import MODEL, Checkpoint
from nanochat.checkpoint.tokenizer import tokenizer_files, tokenizer_meta
from nanochat.checkpoint.write import save_checkpoint
from nanochat.common.paths import Layout
from nanochat.model.architecture import CLASSIC, ModelConfig, flags_to_meta

CONTEXT = 256
"""Tokens: beyond the window of the modern models' first layer."""
MODERN_CONFIG = ModelConfig(CONTEXT, byte_tokenizer().vocab_size, 2, 2, 1, 64, "SL")
CLASSIC_CONFIG = replace(MODERN_CONFIG, window_pattern="L", parts=CLASSIC)


def save_model(
    base: Path,
    source: str = "sft",
    tag: str = "d2",
    step: int = 5,
    config: ModelConfig = MODERN_CONFIG,
    seed: int = 1,
) -> Checkpoint:
    """Saves a random model with its tokenizer, as a training would."""
    tokenizer = byte_tokenizer()
    meta = {
        "model_config": config.to_meta(),
        "parts": flags_to_meta(config.parts),
        "user_config": {},
        "run_id": f"seed-{seed}",
        **tokenizer_meta(tokenizer),
    }
    weights = {name: value.detach() for name, value in random_model(config, seed).named_parameters()}
    tag_folder = Layout(base).checkpoints(source) / tag
    return save_checkpoint(
        tag_folder, step, {MODEL: weights}, meta, extra=tokenizer_files(tokenizer), replace_before=math.inf
    )


def make_chat_base(base: Path) -> Path:
    """Base and chat models, modern and classic: base/d2 at step 3, sft/d2 at 5 and 8, sft/classic at 4."""
    byte_tokenizer().save(base / "tokenizer")
    save_model(base, "base", step=3, seed=1)
    save_model(base, "sft", step=5, seed=2)
    save_model(base, "sft", step=8, seed=3)
    save_model(base, "sft", tag="classic", step=4, config=CLASSIC_CONFIG, seed=4)
    return base
