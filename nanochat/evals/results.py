"""One evaluation's result as a document: of which checkpoint, how it was measured, and every task's figures.

    {"checkpoint": "base/d4", "step": 300, "kind": "core", "settings": {"max_per_task": 20, …},
     "tasks": {"copa": {"accuracy": 0.6, "centered": 0.2, "stderr": 0.1, "n": 20}, …},
     "core": 0.11, "stderr": 0.01, "run": "20261130-…", "t": 1796025407.3, "items": "/…/core-items.jsonl"}

A chat evaluation has "chatcore" (and "means" with the others) and "subjects" of MMLU; bits per byte have
"bpb": {"train": …, "val": …}, a tokenizer has "figures". The same stands, in parts, under `evaluation` in the
`eval` events of a run: `merge` of all of them is the document.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Kind = Literal["core", "chat", "bpb", "tokenizer"]
KINDS: tuple[Kind, ...] = ("core", "chat", "bpb", "tokenizer")
EVALUATION = "evaluation"
"""The field of an `eval` event's data that holds a (part of a) result document."""


@dataclass(frozen=True)
class TaskFigure:
    """A task's accuracy, 0 to 1; `centered` so that guessing is 0; binomial standard error; items."""

    accuracy: float
    centered: float | None = None
    stderr: float | None = None
    n: int | None = None


@dataclass(frozen=True)
class EvaluationResult:
    """What one evaluation measured, so far. `step` None: the model has none (Hugging Face, a tokenizer)."""

    checkpoint: str
    """`SOURCE/TAG`, such as base/d4; "huggingface/NAME" of such a model; the folder's name of a tokenizer."""
    step: int | None
    kind: Kind
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What must be equal for two results to be comparable; device and dtype among them."""
    tasks: Mapping[str, TaskFigure] = field(default_factory=dict)
    subjects: Mapping[str, Mapping[str, TaskFigure]] = field(default_factory=dict)
    """By task, figures of its subjects: MMLU's."""
    mean: float | None = None
    """CORE or ChatCORE; None while, or where, tasks are missing."""
    mean_stderr: float | None = None
    means: Mapping[str, float] = field(default_factory=dict)
    """ChatCORE, ChatCORE_classic, ChatCORE_cat: those whose tasks were all evaluated."""
    bpb: Mapping[str, float] = field(default_factory=dict)
    """Bits per byte by split: train, val."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Of a tokenizer: `news/bytes_per_token` and the like."""
    run: str = ""
    t: float = 0.0
    """Unix seconds of the newest figure."""
    items: str = ""
    """The file of its items on the host it ran on."""
    complete: bool = False
    """Whether this is all that was asked for."""

    def as_json(self) -> dict[str, Any]:
        """The document."""
        raise NotImplementedError


def read_result(document: object) -> EvaluationResult | None:
    """The result in a document of any release, each field checked; None when it is none."""
    raise NotImplementedError


def read_result_file(path: Path) -> EvaluationResult | None:
    """As `read_result`, of the files `base_eval/*.json` and `chat_eval/*.json`, those of earlier releases
    included. Raises `UserError` when the file cannot be read."""
    raise NotImplementedError


def merge(older: EvaluationResult | None, newer: EvaluationResult) -> EvaluationResult:
    """One result of two parts of an evaluation: the newer one's figures win, the older one's others stay."""
    raise NotImplementedError


def settings_that_differ(a: EvaluationResult, b: EvaluationResult) -> dict[str, tuple[Any, Any]]:
    """The settings of two results that are not equal, by name; a setting that one lacks is None."""
    raise NotImplementedError
