"""The weights of an export: in transformers' names, in shards, of the type asked for."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from torch import Tensor

from nanochat.commands.huggingface.tensor_file import float32_places, write_tensors
from nanochat.common.errors import UserError
from nanochat.model.architecture import ModelConfig
from nanochat.model.gpt import GPT

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")

_LAYER = re.compile(r"transformer\.h\.(\d+)\.(.+)\.weight")
_LAYER_NAMES = {
    "attn.c_q": "self_attn.q_proj",
    "attn.c_k": "self_attn.k_proj",
    "attn.c_v": "self_attn.v_proj",
    "attn.c_proj": "self_attn.o_proj",
    "attn.ve_gate": "self_attn.ve_gate",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_SCALES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_SIZE = re.compile(r"\s*([0-9]{1,9})\s*([KMGT]?)B\s*", re.IGNORECASE)


def hf_weights(weights: Mapping[str, Tensor], config: ModelConfig, where: Path) -> dict[str, Tensor]:
    """A checkpoint's weights in transformers' names, tables without their padding rows. Nothing is copied.

    Raises `UserError` when they are not those of a model of that configuration.
    """
    with torch.device("meta"):
        expected = {name: tensor.shape for name, tensor in GPT(config).state_dict().items()}
    found = {name: tensor.shape for name, tensor in weights.items()}
    if wrong := sorted(
        name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)
    ):
        raise UserError(f"{where}: {wrong[0]} is missing, unknown, or of another shape than its metadata say")
    return {hf_name(name): _unpadded(name, tensor, config) for name, tensor in weights.items()}


def hf_name(name: str) -> str:
    """A parameter's name in the export."""
    if match := _LAYER.fullmatch(name):
        return f"model.layers.{match[1]}.{_LAYER_NAMES[match[2]]}.weight"
    if name == "transformer.wte.weight":
        return "model.embed_tokens.weight"
    return name if name == "lm_head.weight" else f"model.{name}"


def _unpadded(name: str, tensor: Tensor, config: ModelConfig) -> Tensor:
    is_table = name in ("transformer.wte.weight", "lm_head.weight") or name.startswith("value_embeds.")
    return tensor.detach()[: config.vocab_size] if is_table else tensor.detach()


def write_weights(
    weights: Mapping[str, Tensor], folder: Path, dtype: str, max_shard_size: str, source: Path | None = None
) -> None:
    """Writes safetensors files of that type, each of at most `max_shard_size`; more than one get an index.

    `source` is the safetensors file that the weights lie in, under our names: what need not be converted is
    copied from there. Raises `OSError`.
    """
    kind = {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]
    plan = split_torch_state_dict_into_shards(
        {name: torch.empty(tensor.shape, dtype=kind, device="meta") for name, tensor in weights.items()},
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=shard_bytes(max_shard_size),
    )
    places: dict[str, int] = {}
    if source is not None:
        with source.open("rb") as origin:
            places = {hf_name(name): at for name, at in float32_places(origin).items()}
    for file, names in plan.filename_to_tensors.items():
        write_tensors(folder / file, {name: weights[name] for name in names}, kind, source, places)
    if plan.is_sharded:
        index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
        (folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def shard_bytes(text: str) -> int:
    """`5GB`, `500MB`, as transformers reads it: powers of 1000. Raises `UserError` for what is no size."""
    match = _SIZE.fullmatch(text)
    size = int(match[1]) * _SCALES[match[2].upper()] if match is not None else 0
    if size < 1:
        raise UserError(f"--max-shard-size: '{text}' is no size", "write it as 5GB or 500MB")
    return size
