"""Every stage of the pipeline by name: its options, its module, a summary.

A stage is a module with `run(options, run) -> results`. It runs directly as `nanochat STAGE` or
`python -m nanochat.stages.STAGE`, and under an agent that gives it a run directory.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nanochat.common.errors import UserError, nearest

if TYPE_CHECKING:
    from nanochat.config.options import Options

Results = Mapping[str, float | int | str]


@dataclass(frozen=True)
class StageSpec:
    """One stage: where its options dataclass is, a one-line summary, the unit its progress counts in."""

    name: str
    options_at: str
    """The dataclass, as a module of this folder and a name. Only the options of a stage in use are loaded:
    making all the dataclasses takes 20 ms, more than all else a list of the stages needs."""
    summary: str
    unit: str

    @property
    def options(self) -> type[Options]:
        """The stage's options dataclass."""
        module, _, name = self.options_at.partition(".")
        found: type[Options] = getattr(importlib.import_module(f"nanochat.config.{module}"), name)
        return found

    @property
    def module(self) -> str:
        return f"nanochat.stages.{self.name}"

    def load(self) -> Callable[[Any, Any], Results]:
        """The stage's `run`. Imports the stage's module, and torch with it where the stage needs torch."""
        run: Callable[[Any, Any], Results] = importlib.import_module(self.module).run
        return run


STAGES: dict[str, StageSpec] = {
    spec.name: spec
    for spec in (
        StageSpec(
            "data_build",
            "data_options.DataBuildOptions",
            "pack files and folders into training shards",
            "docs",
        ),
        StageSpec(
            "data_download", "data_options.DataDownloadOptions", "download a published set of shards", "files"
        ),
        StageSpec("tok_train", "data_options.TokTrainOptions", "train the byte-level BPE tokenizer", "chars"),
        StageSpec(
            "tok_eval",
            "data_options.TokEvalOptions",
            "compare the tokenizer with GPT-2's and GPT-4's",
            "text",
        ),
        StageSpec("base_train", "train_options.BaseTrainOptions", "pretrain a base model", "step"),
        StageSpec(
            "base_loss", "eval_options.BaseLossOptions", "bits per byte and samples of a checkpoint", "row"
        ),
        StageSpec(
            "base_eval",
            "eval_options.BaseEvalOptions",
            "CORE, bits per byte and samples of a base model",
            "item",
        ),
        StageSpec(
            "mid_train",
            "chat_options.MidTrainOptions",
            "midtrain a base model on conversations and tool use",
            "step",
        ),
        StageSpec("chat_sft", "chat_options.ChatSftOptions", "fine-tune a model on conversations", "step"),
        StageSpec(
            "chat_rl",
            "chat_options.ChatRlOptions",
            "reinforcement learning on questions with known answers",
            "step",
        ),
        StageSpec("chat_eval", "eval_options.ChatEvalOptions", "evaluate a chat model on its tasks", "item"),
    )
}


def stage_spec(name: str) -> StageSpec:
    """The stage `name`; raises `UserError` with the nearest names when there is none."""
    spec = STAGES.get(name.replace("-", "_"))
    if spec is None:
        raise UserError(f"no stage is called '{name}'", nearest(name, STAGES))
    return spec
