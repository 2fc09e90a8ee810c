"""Writes models of ours as a user of upstream nanochat has them on disk, of either era."""

import json
import pickle
from pathlib import Path
from typing import Any

import tiktoken
import torch
from torch import Tensor

from nanochat.model.architecture import ModelConfig
from nanochat.model.gpt import GPT, build_model
from nanochat.tokenizer.tokenizer import Tokenizer


def random_model(config: ModelConfig, seed: int = 0) -> GPT:
    """A model of which every parameter matters: no matrix is zero, no scale is neutral."""
    model = build_model(config, "cpu")
    model.init_weights(seed)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
        model.lm_head.weight *= 8
    return model


def write_upstream_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    """`tokenizer.pkl` and `token_bytes.pt`."""
    folder.mkdir(parents=True)
    encoding = tiktoken.Encoding(
        "rustbpe", pat_str=tokenizer.pattern, mergeable_ranks=tokenizer.ranks,
        special_tokens=tokenizer.special_ids,
    )  # fmt: skip
    (folder / "tokenizer.pkl").write_bytes(pickle.dumps(encoding))
    torch.save(torch.tensor(tokenizer.token_bytes, dtype=torch.int32), folder / "token_bytes.pt")


def write_upstream_checkpoint(
    tag: Path, config: ModelConfig, weights: dict[str, Tensor], step: int = 7, **how: Any
) -> Path:
    """`model_SSSSSS.pt` and `meta_SSSSSS.json` in a tag folder; `how` goes to torch.save."""
    tag.mkdir(parents=True, exist_ok=True)
    path = tag / f"model_{step:06d}.pt"
    torch.save(weights, path, **how)
    meta = {"step": step, "model_config": config.to_meta(), "user_config": {}, "val_bpb": 1.0}
    (tag / f"meta_{step:06d}.json").write_text(json.dumps(meta))
    return path
