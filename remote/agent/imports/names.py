"""The names that other programs give to figures, and ours for the same figure."""

from __future__ import annotations

import re

WANDB = {
    "total_training_flops": "train/total_flops",
    "total_training_time": "train/total_time",
    "core_metric": "core/core",
    "centered_results": "",
    "chatcore_metric": "chat/ChatCORE",
    "chatcore_cat": "chat/ChatCORE_cat",
    "mmlu_acc": "chat/MMLU",
    "arc_easy_acc": "chat/ARC-Easy",
    "train_loss": "train/loss",
    "val_loss": "val/loss",
    "val_bpb": "val/bpb",
    "lrm": "train/lrm",
    "num_tokens": "train/trained_tokens",
    "reward": "rl/reward",
    "sequence_length": "rl/sequence_length",
}
"""What upstream nanochat sends to W&B; "" is told by its parts."""
CONSOLE = {
    "loss": "train/loss",
    "training loss": "train/loss",
    "grad norm": "train/grad_norm",
    "lrm": "train/lrm",
    "tok/sec": "train/tok_per_sec",
    "mfu": "train/mfu",
    "bf16_mfu": "train/mfu",
    "num_tokens": "train/trained_tokens",
    "validation bpb": "val/bpb",
    "validation loss": "val/loss",
    "core metric": "core/core",
    "chatcore": "chat/ChatCORE",
    "chatcore_cat": "chat/ChatCORE_cat",
    "mmlu_acc": "chat/MMLU",
    "arc_easy_acc": "chat/ARC-Easy",
    "average reward": "rl/reward",
    "average sequence length": "rl/sequence_length",
}
"""What stands before the colons of its console lines, in lower case."""
EVALUATED = ("val/", "core/", "chat/", "rl/pass@", "eval/", "test/", "validation/")
_PASS = re.compile(r"pass@\d{1,4}", re.IGNORECASE)
_LONGEST = 120


def of_wandb(name: str) -> str:
    """Our name of a figure that W&B holds; its own where we have none, "" for W&B's bookkeeping."""
    if name.startswith("_"):
        return ""
    known = WANDB.get(name)
    if known is not None:
        return known
    if name.startswith("chatcore/"):
        return "chat/" + name[9:][:_LONGEST]
    if _PASS.fullmatch(name):
        return "rl/" + name.lower()
    return name[:_LONGEST]


def of_console(name: str) -> str:
    """Our name of a figure in a console line, "" where it is none of ours."""
    key = " ".join(name.lower().split())
    if _PASS.fullmatch(key):
        return "rl/" + key
    return CONSOLE.get(key, "")


def is_evaluation(name: str) -> bool:
    """Whether a figure judges the model and is no measurement of a step."""
    return name.startswith(EVALUATED)


def stage_of_project(project: str) -> str:
    """The stage that upstream sends to the W&B project of that name; "" for any other project."""
    found = {
        "nanochat": "base_train",
        "nanochat-mid": "mid_train",
        "nanochat-sft": "chat_sft",
        "nanochat-rl": "chat_rl",
    }
    return found.get(project, "")
