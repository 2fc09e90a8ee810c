"""The table of commands: from the first word of a command line to the function that runs it.

Targets are named as text and loaded when needed: the table refers to every package and imports none.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HEADLESS = "remote.cli.headless:main"
CONTROL_ROOM = "tui.cli:main"

KEYMAP_PROBLEMS = "tui.keymap:problems"
"""What is wrong with a keymap file, for `nanochat doctor`."""

PICTURES = "tui.plots.export.report:pictures"
"""Draws the curves of `nanochat report` as the app exports its plots."""


@dataclass(frozen=True)
class Command:
    """One command. `target` is `module:function`, called with the words after the command's name."""

    target: str
    summary: str


COMMANDS: dict[str, Command] = {
    "demo": Command(
        "nanochat.cli:demo", "train a small model here, live: a five-minute tour [--no-tui] [--host NAME]"
    ),
    "runs": Command(
        "remote.cli.runs:runs", "ls | show | compare | follow | stop | resume | mark the runs of every host"
    ),
    "evals": Command(
        "remote.cli.evals:evals", "ls | show | compare | items of evaluations: CORE, chat, bits per byte"
    ),
    "checkpoints": Command(
        "remote.cli.checkpoints:checkpoints", "ls | show | pull | push | delete the checkpoints of every host"
    ),
    "import": Command(
        "remote.cli.imports:main",
        "make runs of logs of upstream nanochat, W&B and TensorBoard, also while they grow",
    ),
    "report": Command(
        "remote.cli.report:report",
        "a plan or a run on one page: scores, curves, time, cost, how to repeat it",
    ),
    "hosts": Command("remote.cli.hosts:hosts", "ls | add | test | rm the machines that stages run on"),
    "data": Command("nanochat.cli:data", "build | download training shards; stats: numbers about them"),
    "tasks": Command(
        "nanochat.commands.tasks:main",
        "ls | show | fetch the data sets that models are trained and evaluated on",
    ),
    "estimate": Command(
        "nanochat.commands.estimate:main", "memory, time and cost of a pretraining run, before it is started"
    ),
    "tok_sweep": Command(
        "nanochat.commands.tok_sweep:main", "vocabulary sizes side by side: compression, tables, compute"
    ),
    "tok_export": Command(
        "nanochat.commands.tok_export:main", "write a tokenizer for Hugging Face's libraries and tiktoken"
    ),
    "tok_counts": Command(
        "nanochat.commands.tok_counts:main", "how often each token stands in a corpus: those it hardly has"
    ),
    "tok_compare": Command(
        "nanochat.commands.tok_compare:main", "two tokenizers or more: tokens, ids, compression by text"
    ),
    "chat_web": Command("nanochat.stages.chat_web:main", "serve checkpoints to every client of OpenAI's API"),
    "chat_cli": Command(
        "nanochat.stages.chat_cli:main", "talk to a checkpoint, or to any OpenAI-compatible server, here"
    ),
    "probe": Command("nanochat.commands.probe:main", "a checkpoint's logits and continuation for a prompt"),
    "bench": Command(
        "nanochat.commands.bench:main", "infer: how fast a model, trained or not, generates here"
    ),
    "export": Command(
        "nanochat.commands.export:main", "write a model in Hugging Face's format, classic or modern"
    ),
    "tensorboard": Command(
        "nanochat.commands.tensorboard:main", "write runs' event logs as TensorBoard files"
    ),
    "wandb": Command("nanochat.commands.wandb:main", "write runs' event logs as W&B runs, offline or on"),
    "doctor": Command(
        "remote.cli.doctor:doctor", "check this machine, line by line, with a fix for each failure"
    ),
    "completion": Command(
        "nanochat.commands.completion:main", "print the shell completion: bash | zsh | tcsh"
    ),
}


DATA = {"build": "data_build", "download": "data_download"}
"""Stages by the word after `data`."""
DATA_STATS = Command(
    "nanochat.commands.data_stats:main", "documents, scripts, duplicates, lengths of shards or files"
)


def load(target: str) -> Callable[[Sequence[str]], int]:
    """The function that `module:function` names."""
    function: Callable[[Sequence[str]], int] = load_any(target)
    return function


def keymap_problems(path: Path) -> list[str]:
    """What is wrong with a keymap file of the control room, a sentence each."""
    found: list[str] = load_any(KEYMAP_PROBLEMS)(path)
    return found


def load_any(target: str) -> Any:
    """What `module:name` names, of whatever type."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
