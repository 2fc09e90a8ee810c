"""Evaluations folded from a run's events: those of an evaluating stage, and a training's on its way.

Figures stand in `eval` events by flat names (`core/copa`, `core/copa_stderr`); those of newer releases hold
the document of the evaluation besides (`nanochat.evals.results`), with the number of items and the settings.
What a `stage_start` says tells which checkpoint it is and how it is judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nanochat.common import fields
from nanochat.evals.results import EVALUATION, EVALUATIONS, KINDS, EvaluationResult, Kind, read_result
from nanochat.run.events import Event
from remote.store.evaluation_draft import Draft, numbers_of, object_of, take_flat, take_result
from remote.store.evaluation_figures import checkpoint_of, flat_figures, number

STAGES: Mapping[str, tuple[Kind, ...]] = {
    "base_eval": ("core", "bpb"),
    "chat_eval": ("chat",),
    "base_loss": ("bpb",),
    "tok_eval": ("tokenizer",),
}
"""The kinds that evaluating stages make; any other stage makes them on its way."""
_MOST_DOCUMENTS = 20
_SETTINGS = ("max_per_task", "dtype", "rows", "context", "vocab_size", "sha256")
_CHAT_SETTINGS = {
    "temperature": 0.0,
    "top_k": 50,
    "max_new_tokens": 512,
    "num_samples": 1,
    "max_problems": -1,
}


Drafts = dict[tuple[Kind, int], Draft]


@dataclass
class Start:
    """What the newest `stage_start` of a run says of what it evaluates."""

    run_id: str
    stage: str = ""
    checkpoint: str = ""
    step: int = -1
    kinds: tuple[Kind, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    documents: dict[Kind, EvaluationResult] = field(default_factory=dict)
    """What is begun, as newer releases tell it: checkpoint, settings, where the items will lie."""
    from_step: int = 0
    flops_per_step: float | None = None
    tokens_per_step: float | None = None

    @classmethod
    def read(cls, run_id: str, data: Mapping[str, Any], options: Mapping[str, Any]) -> Start:
        """From the event's data; `options` are those of run.json, for logs that say less. Never raises."""
        info = object_of(data.get("info"))
        stage = fields.text(data.get("stage"), 80) or ""
        path = info.get("checkpoint") or info.get("checkpoint_dir") or info.get("tokenizer_dir")
        name, step = checkpoint_of(path) if isinstance(path, str) else ("", None)
        if stage in ("tok_eval", "tok_train"):
            name = name.rpartition("/")[2] or "tokenizer"
        name = fields.text(info.get("checkpoint_name")) or name or fields.text(info.get("model")) or ""
        name, _, _ = name.partition("@")
        told = fields.whole(info.get("checkpoint_step"), 0)
        step = step if told is None else told
        batch, flops = number(info.get("total_batch_size")), number(info.get("flops_per_token"))
        return cls(
            run_id=run_id,
            stage=stage,
            checkpoint=name,
            step=-1 if step is None else step,
            kinds=_kinds(stage, info),
            settings=_settings(stage, info, options),
            sizes=_sizes(info.get("tasks")),
            documents=_documents(info.get(EVALUATIONS)),
            from_step=fields.whole(data.get("from_step"), 0) or 0,
            flops_per_step=batch * flops if batch and flops else None,
            tokens_per_step=batch,
        )

    @property
    def evaluates(self) -> bool:
        """True for a stage that does nothing else."""
        return self.stage in STAGES

    def draft(self, kind: Kind, step: int, t: float) -> Draft:
        """An evaluation that begins."""
        made = Draft(kind, step, self.checkpoint, t, training=not self.evaluates)
        made.sizes = dict(self.sizes) if kind != "bpb" else {}
        if self.evaluates:
            made.settings = dict(self.settings)
            if kind in ("core", "chat"):
                made.items = f"runs/{self.run_id}/{kind}-items.jsonl"
            if kind in self.documents:
                made.settings = {}
                made.checkpoint = self.documents[kind].checkpoint
                take_result(made, self.documents[kind])
        elif kind == "core":
            made.items = f"runs/{self.run_id}/core/step_{step:06d}/core-items.jsonl"
        if not self.evaluates and step >= 0:
            per_step = {"flops": self.flops_per_step, "tokens": self.tokens_per_step}
            made.figures = {name: step * value for name, value in per_step.items() if value}
        return made


def begin(start: Start, drafts: Drafts, t: float) -> set[tuple[Kind, int]]:
    """A stage has started: what an evaluating one makes is there from now on, without figures.

    Returns the evaluations that a training resumed from an earlier step makes anew.
    """
    if not start.evaluates:
        return {key for key, draft in drafts.items() if draft.training and draft.step > start.from_step}
    for kind in start.kinds:
        drafts.setdefault((kind, start.step), start.draft(kind, start.step, t)).complete = False
    return set()


def take(start: Start, drafts: Drafts, event: Event) -> None:
    """Takes one `eval` event in."""
    for kind in KINDS:
        if not any(flat_figures(kind, event.data)):
            continue
        step = start.step if start.evaluates else event.step if event.step is not None else -1
        draft = drafts.setdefault((kind, step), start.draft(kind, step, event.t))
        draft.t = event.t
        take_flat(draft, event.data)
        result = read_result(event.data.get(EVALUATION))
        if result is not None and result.kind == kind:
            take_result(draft, result)
            # a run that dies at its next kind leaves this one whole
            if result.complete and _has_mean(result):
                draft.complete, draft.partial = True, False
        if draft.training:
            has_all = kind != "core" or draft.mean is not None
            draft.complete = draft.complete or has_all


def _has_mean(result: EvaluationResult) -> bool:
    """Whether a part of a document holds what stands for the whole; the last task's comes before it."""
    return bool(result.bpb or result.figures) or result.mean is not None


def end(start: Start, drafts: Drafts, event: Event) -> None:
    """Takes the end of a stage in: what succeeded is through."""
    if event.data.get("status") != "succeeded":
        return
    for key in [(kind, start.step) for kind in start.kinds]:
        draft = drafts.get(key)
        if draft is not None:
            draft.t, draft.complete = event.t, True
            draft.partial = draft.kind in ("core", "chat") and draft.mean is None


def _kinds(stage: str, info: Mapping[str, Any]) -> tuple[Kind, ...]:
    kinds = STAGES.get(stage, ())
    asked = info.get("eval")
    return tuple(kind for kind in kinds if kind in asked) if isinstance(asked, list) else kinds


def _settings(stage: str, info: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    told = object_of(info.get("settings"))
    if told:
        return dict(fields.plain(told))
    found = {name: info[name] for name in _SETTINGS if name in info}
    if stage == "chat_eval":
        found |= {name: options.get(name, usual) for name, usual in _CHAT_SETTINGS.items()}
    return dict(fields.plain(found))


def _documents(told: object) -> dict[Kind, EvaluationResult]:
    found = [read_result(document) for document in told[:_MOST_DOCUMENTS]] if isinstance(told, list) else []
    return {result.kind: result for result in found if result is not None}


def _sizes(tasks: object) -> dict[str, int]:
    return {name: int(size) for name, size in numbers_of(tasks).items()}
