"""From a file of weights to a model: our checkpoints, upstream nanochat's of both eras, plain safetensors."""

import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from nanochat.checkpoint.files import MODEL, Checkpoint, find_checkpoint
from nanochat.checkpoint.tokenizer import check_tokenizer, find_tokenizer
from nanochat.common.errors import UserError, one_line
from nanochat.common.paths import Layout
from nanochat.model.architecture import ArchitectureFlags, ModelConfig, config_from_checkpoint
from nanochat.model.gpt import GPT, build_model
from nanochat.tokenizer.tokenizer import Tokenizer

_COMPILED = "_orig_mod."
_LAYER = re.compile(r"transformer\.h\.([0-9]{1,6})\.")
_GLOBAL = re.compile(r"GLOBAL (\S+)")


@dataclass(frozen=True)
class OpenedModel:
    """A checkpoint ready to be used, with the tokenizer its ids belong to."""

    checkpoint: Checkpoint
    model: GPT
    tokenizer: Tokenizer


def open_model(
    layout: Layout,
    source: str,
    *,
    tag: str = "",
    step: int = -1,
    tokenizer_dir: str = "",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> OpenedModel:
    """Opens the checkpoint of `source` (base, mid, sft, rl) in a base directory of ours or upstream's.

    No tag: the deepest model; no step: the last saved; no `tokenizer_dir`: the tokenizer it was trained with.
    Nothing is written. Raises `UserError` when there is no such checkpoint, and as `open_checkpoint`.
    """
    checkpoint = find_checkpoint(layout.checkpoints(source), tag, step)
    return open_checkpoint(checkpoint, layout, tokenizer_dir, device, dtype)


def open_checkpoint(
    checkpoint: Checkpoint,
    layout: Layout,
    tokenizer_dir: str = "",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> OpenedModel:
    """Opens a checkpoint that was found, ready to be used.

    Raises `UserError` when a file is damaged, or the tokenizer is not the one it was trained with.
    """
    tokenizer = find_tokenizer(checkpoint, layout, tokenizer_dir)
    model = load_model(checkpoint, device, dtype)
    check_tokenizer(checkpoint, model.config, tokenizer)
    return OpenedModel(checkpoint, model.eval(), tokenizer)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The state dict in a `.safetensors` file or upstream's `.pt`, on the CPU.

    Only tensors are unpickled. The prefix that torch.compile adds to names is removed.
    Raises `UserError` when the file is missing, damaged, or holds more than weights.
    """
    if not path.is_file():
        raise UserError(f"no weights file {path}")
    try:
        loaded = _read_pt(path) if path.suffix == ".pt" else load_file(path)
    except pickle.UnpicklingError as error:
        wanted = _GLOBAL.search(str(error))
        what = f"it asks for {wanted[1]}" if wanted else "it holds more than tensors, or is damaged"
        raise UserError(
            f"{path} is refused: {what}", "nothing in it was run; download it again from a trusted source"
        ) from error
    except Exception as error:  # torch raises many kinds for a damaged file
        detail = one_line(str(error))[:160] or type(error).__name__
        raise UserError(f"{path} is not a complete weights file: {detail}") from error
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise UserError(f"{path} does not hold a state dict of tensors")
    return {str(name).replace(_COMPILED, ""): value for name, value in loaded.items()}


def _read_pt(path: Path) -> object:
    """What `torch.save` wrote, tensors only. torch does not verify the archive's checksums, so this does."""
    if not zipfile.is_zipfile(path):
        return torch.load(path, map_location="cpu", weights_only=True)
    with zipfile.ZipFile(path) as archive:
        if (damaged := archive.testzip()) is not None:
            raise OSError(f"{damaged} in it does not match its checksum")
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def load_weights(model: GPT, weights: Mapping[str, Tensor], source: Path | str) -> None:
    """Copies `weights` into `model`, each into its parameter's type.

    Checkpoints from between the two eras (Nov 2025 – Jan 2026) may lack layer scales: those are 1 and 0.
    Raises `UserError` that names the first parameter that is missing, unknown or of another shape.
    """
    defaults = {"resid_lambdas": 1.0, "x0_lambdas": 0.0}
    own = dict(model.named_parameters())
    if unknown := sorted(set(weights) - set(own)):
        raise UserError(f"{source} has weights that this model lacks: {', '.join(unknown[:4])}")
    with torch.no_grad():
        for name, parameter in own.items():
            saved = weights.get(name)
            if saved is None and name in defaults:
                parameter.fill_(defaults[name])
                continue
            if saved is None or saved.shape != parameter.shape:
                found = "is missing" if saved is None else f"has shape {tuple(saved.shape)}"
                wanted = tuple(parameter.shape)
                raise UserError(
                    f"{source}: {name} {found}, this model's has {wanted}",
                    "is it of another depth, width or vocabulary?",
                )
            parameter.copy_(saved)


def load_model(
    checkpoint: Checkpoint, device: torch.device | str = "cpu", compute_dtype: torch.dtype = torch.float32
) -> GPT:
    """The model of a checkpoint of ours or of upstream, either era, parameters in float32."""
    weights = read_weights(checkpoint.path) if checkpoint.is_upstream else checkpoint.tensors(MODEL)
    config = config_of(checkpoint, weights)
    model = build_model(config, device, compute_dtype)
    load_weights(model, weights, checkpoint.path)
    return model


def config_of(checkpoint: Checkpoint, weights: Mapping[str, Tensor]) -> ModelConfig:
    """The configuration in the metadata, checked against the weights before a model is allocated."""
    model_config, parts = checkpoint.meta.get("model_config"), checkpoint.meta.get("parts")
    if not isinstance(model_config, dict):
        raise UserError(f"the metadata of {checkpoint.path} has no model_config")
    config = config_from_checkpoint(model_config, weights)
    if isinstance(parts, dict):
        try:
            config = replace(config, parts=ArchitectureFlags(**parts))
        except TypeError as error:
            raise UserError(
                f"the metadata of {checkpoint.path} names model parts that this version lacks",
                "update nanochat to read it",
            ) from error
    layers = {int(match[1]) for name in weights if (match := _LAYER.match(name))}
    table = weights.get("transformer.wte.weight")
    found = (len(layers), *(table.shape if table is not None and table.dim() == 2 else (0, 0)))
    wanted = (config.n_layer, config.padded_vocab, config.n_embd)
    if found != wanted:
        raise UserError(
            f"{checkpoint.path} holds {found[0]} layers and an embedding of {found[1]} × {found[2]}, "
            f"its metadata says {wanted[0]} and {wanted[1]} × {wanted[2]}",
            "is the file damaged, or the metadata another model's?",
        )
    return config
