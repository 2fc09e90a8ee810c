"""The stage that evaluates a checkpoint, and how its form is filled in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nanochat.config.options import Value, option_fields
from nanochat.config.stages import STAGES
from tui.data.chat.target import CheckpointTarget

if TYPE_CHECKING:
    from remote.store.evaluations import Kind
    from tui.data.chat.target import PaneTarget

STAGE_OF: dict[Kind, str] = {
    "core": "base_eval",
    "chat": "chat_eval",
    "bpb": "base_loss",
    "tokenizer": "tok_eval",
}
NOT_TAKEN = frozenset({"source", "model_tag", "step", "device_type", "nproc", "items", "eval", "bundle"})
"""Options that say which checkpoint, or where: not what was asked of it. An evaluation tells its bundle by a
digest, the option wants its folder."""

Request = tuple[str, str, dict[str, Value]]
"""Host, stage, options."""


def evaluation_request(
    kind: Kind, target: PaneTarget | None, settings: Mapping[str, Any], tasks: Sequence[str] = ()
) -> Request | None:
    """The launch that evaluates a checkpoint as `settings`, those of an evaluation of the same kind, tell: so
    the two can be compared. `tasks`: those of a chat evaluation that has fewer than its mean needs. None for
    a target that has no files."""
    if not isinstance(target, CheckpointTarget):
        return None
    stage = STAGE_OF[kind]
    values: dict[str, Value] = {}
    settings = _as_options(settings)
    for field in option_fields(STAGES[stage].options):
        told = settings.get(field.name)
        if field.name in NOT_TAKEN:
            continue
        if field.type is tuple and isinstance(told, list):
            values[field.name] = tuple(map(str, told))
        elif isinstance(told, bool | int | float | str) and type(told) is field.type:
            values[field.name] = told
    names = {field.name for field in option_fields(STAGES[stage].options)}
    step = -1 if target.name.step is None else target.name.step
    which: dict[str, Value] = {"source": target.name.source, "model_tag": target.name.tag, "step": step}
    values |= {name: value for name, value in which.items() if name in names}
    if stage == "base_eval":
        values["eval"] = ("core",)
    if stage == "chat_eval" and tasks:
        values["task_name"] = tuple(tasks)
    return target.host, stage, values


def _as_options(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings under the names, and in the form, that options have."""
    found = dict(settings)
    tasks, tokens, data = found.pop("tasks", ""), found.pop("tokens", None), found.pop("data", "")
    if isinstance(tasks, str) and tasks not in ("", "all"):
        found["tasks"] = tasks.split(",")
    if type(tokens) is int and tokens > 0:
        found["split_tokens"] = tokens
    if isinstance(data, str) and data:
        found["data_dir"] = data if data.startswith("/") else f"{{base}}/{data}"
    return found
