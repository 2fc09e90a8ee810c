"""How the Launch form is filled in to go on from a checkpoint: its training, the next stage, evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nanochat.common.errors import UserError
from nanochat.config.options import Value, option_fields
from nanochat.config.stages import STAGES
from remote.checkpoints.saved import SavedCheckpoint

Request = tuple[str, str, dict[str, Value]]
"""Host, stage, options."""

STAGE_OF = {"base": "base_train", "mid": "mid_train", "sft": "chat_sft", "rl": "chat_rl"}
NEXT = {"base": "chat_sft", "mid": "chat_sft", "sft": "chat_rl", "rl": "chat_rl"}
EVALUATION = {"base": "base_eval", "mid": "chat_eval", "sft": "chat_eval", "rl": "chat_eval"}


def resume_request(one: SavedCheckpoint) -> Request:
    """The launch that goes on with the training that saved `one`, with the options it had.

    Raises `UserError` where there is no optimizer state to go on with.
    """
    if one.upstream or not one.optimizer:
        raise UserError(
            f"{one.name} has no optimizer state that training could go on with",
            "train the next stage from it, or start from its weights",
        )
    stage = one.stage if one.stage in STAGES else STAGE_OF[one.name.source]
    values = _options(stage, one.options)
    if not one.options:
        values |= _options(stage, _shape(one))
    known = {field.name for field in option_fields(STAGES[stage].options)}
    target: dict[str, Value] = {"resume": False, "resume_from_step": one.name.step or 0}
    target["out_tag" if "out_tag" in known else "model_tag"] = one.name.tag
    return one.host, stage, values | target


def next_stage_request(one: SavedCheckpoint) -> Request:
    """The launch that trains the next stage from `one`."""
    stage = NEXT[one.name.source]
    known = {field.name: field for field in option_fields(STAGES[stage].options)}
    values: dict[str, Value] = {
        "source": one.name.source,
        "model_tag": one.name.tag,
        "model_step": -1 if one.name.step is None else one.name.step,
    }
    return one.host, stage, {name: value for name, value in values.items() if name in known}


def evaluation_request(one: SavedCheckpoint) -> Request:
    """The launch that evaluates `one`: CORE of a base model, the chat tasks of a chat model."""
    step = -1 if one.name.step is None else one.name.step
    which: dict[str, Value] = {"source": one.name.source, "model_tag": one.name.tag, "step": step}
    return one.host, EVALUATION[one.name.source], which


def _shape(one: SavedCheckpoint) -> dict[str, Any]:
    """What the metadata tell of the options, where the run's own are not there."""
    if one.config is None or one.name.source != "base":
        return {}
    return {"depth": one.config.n_layer, "max_seq_len": one.config.sequence_len, "era": one.era}


def _options(stage: str, told: Mapping[str, Any]) -> dict[str, Value]:
    """Options of another program's log as this program's, those that it knows and can take."""
    values: dict[str, Value] = {}
    for field in option_fields(STAGES[stage].options):
        value = told.get(field.name)
        if field.name in ("run", "overwrite", "init_from"):
            continue
        if field.type is tuple and isinstance(value, list):
            values[field.name] = tuple(map(str, value))
        elif isinstance(value, bool | int | float | str) and type(value) is field.type:
            values[field.name] = value
    return values
