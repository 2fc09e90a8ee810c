"""What an evaluation is on this side: one checkpoint, judged once, with one set of settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from nanochat.evals.results import Kind
from remote.store.evaluation_figures import TaskFigure

#: running: its run is at work; complete: all that was asked for is there; partial: through, with fewer tasks
#: than the mean needs; ended: its run ended before it was through.
Standing = Literal["running", "complete", "partial", "ended"]


@dataclass(frozen=True)
class ItemsAt:
    """Where the items of an evaluation lie."""

    host: str
    path: str
    """Relative to the host's base directory, with forward slashes."""
    bytes: int
    """As listed last; 0 where the host has not been asked yet."""


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of one checkpoint with one set of settings."""

    id: int
    host: str
    run: str
    """The store key of the run that made it; "" when that is not known."""
    kind: Kind
    checkpoint: str
    """`base/d4`; a published model's name; a tokenizer's folder; `base/?` where the file does not tell."""
    step: int | None
    settings: Mapping[str, Any]
    """What it was asked for: max_per_task, dtype, temperature, num_samples …"""
    tasks: Mapping[str, TaskFigure]
    """In the order of evaluation. Of bits per byte the splits, of a tokenizer each figure by its name."""
    mean: float | None
    """CORE, ChatCORE, bits per byte of the validation text; None while it cannot be said."""
    mean_stderr: float | None
    figures: Mapping[str, float]
    """What else it says: `ChatCORE_cat`; of one made while training `flops` and `tokens` up to its step."""
    status: Standing
    progress: float | None
    """0 to 1 while it runs."""
    t: float
    """When it was done, or last heard of; Unix time, s, by the host's clock."""
    items: ItemsAt | None
    reference: bool = False
    """A published table: GPT-2's, beside the bundle."""
    while_training: bool = False
    """Made by a training on its way."""
    upstream: bool = False
    """Read from a file that upstream nanochat wrote."""
    gone: bool = False
    """Its checkpoint is no longer there, as its host said last."""
    problem: str = ""
    """What is wrong with the file it was read from, in a line."""
    asked: int | None = None
    """Tasks that were asked for, where that is known."""

    @property
    def name(self) -> str:
        """`base/d4@500`: the checkpoint with its step."""
        return self.checkpoint if self.step is None else f"{self.checkpoint}@{self.step}"


@dataclass(frozen=True)
class Listed:
    """What a host's agent said last of its files: when, and what of them could not be used, a line each."""

    at: float
    left_out: int
    problems: tuple[str, ...]
    checkpoints: tuple[str, ...] = ()
    """The names of the checkpoint folders there are: `base/d4`."""
