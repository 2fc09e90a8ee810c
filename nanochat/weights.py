"""From a file of weights to a model: ours, the reference's of both eras, or a bare safetensors file."""

import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from nanochat.architecture import Parts, config_from_checkpoint
from nanochat.checkpoint import MODEL, Checkpoint
from nanochat.errors import UserError, one_line
from nanochat.model import GPT, build_model

_COMPILED = "_orig_mod."


def read_weights(path: Path) -> dict[str, Tensor]:
    """The state dict in a `.safetensors` file or the reference's `.pt`; nothing but tensors is unpickled.

    The prefix torch.compile leaves in names is taken off. Raises `UserError` when the file is missing,
    damaged, or holds more than weights.
    """
    if not path.is_file():
        raise UserError(f"no weights file {path}")
    try:
        if path.suffix == ".pt":
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        else:
            loaded = load_file(path)
    except (OSError, SafetensorError, pickle.UnpicklingError, RuntimeError, ValueError) as error:
        detail = one_line(str(error))[:160]
        raise UserError(f"{path} is not a whole file of weights: {detail}") from error
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise UserError(f"{path} does not hold a state dict of tensors")
    return {str(name).removeprefix(_COMPILED): value for name, value in loaded.items()}


def load_weights(model: GPT, weights: Mapping[str, Tensor], source: Path | str) -> None:
    """Copies `weights` into `model`, each into its parameter's type.

    Layer scales missing in files of the months between the eras are 1 and 0.
    Raises `UserError` that names the first parameter that is missing, foreign or of another shape.
    """
    defaults = {"resid_lambdas": 1.0, "x0_lambdas": 0.0}
    own = dict(model.named_parameters())
    if foreign := sorted(set(weights) - set(own)):
        raise UserError(f"{source} has weights this model has not: {', '.join(foreign[:4])}")
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
    """The model of a checkpoint of ours or of the reference, either era, parameters in float32."""
    weights = read_weights(checkpoint.path) if checkpoint.is_reference else checkpoint.tensors(MODEL)
    config = config_from_checkpoint(checkpoint.meta.get("model_config", {}), weights)
    if "parts" in checkpoint.meta:
        config = replace(config, parts=Parts(**checkpoint.meta["parts"]))
    model = build_model(config, device, compute_dtype)
    load_weights(model, weights, checkpoint.path)
    return model
