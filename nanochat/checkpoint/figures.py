"""The figures of a checkpoint: what was measured on its weights, added to its metadata after it was saved.

A checkpoint is saved before its model is evaluated, so that nothing an evaluation does can cost the weights.
`meta.json` gets the figures afterwards: `figures` (name → number), and under upstream nanochat's name
`val_bpb`.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nanochat.checkpoint.files import META, Checkpoint
from nanochat.checkpoint.meta import FIGURES, measured_bpb
from nanochat.common.fields import json_text
from nanochat.common.paths import atomic_write
from nanochat.run.events import finite


def with_figures(meta: Mapping[str, Any], figures: Mapping[str, Any]) -> dict[str, Any]:
    """`meta` with `figures` added to those it has, and what follows from them."""
    known = meta.get(FIGURES)
    merged = {**(known if isinstance(known, dict) else {}), **figures}
    changed = {**meta, FIGURES: finite(merged)}
    bpb = figures.get("val/bpb")
    if isinstance(bpb, int | float):
        loop = dict(meta.get("loop_state") or {})
        best = loop.get("min_val_bpb")
        loop["min_val_bpb"] = min(bpb, best) if isinstance(best, int | float) else bpb
        changed |= {"val_bpb": bpb, "loop_state": loop}
    return changed


def add_figures(checkpoint: Checkpoint, figures: Mapping[str, Any]) -> Checkpoint:
    """Replaces `meta.json` by one that has `figures` too; returns the checkpoint as it then is.

    Raises `UserError` when it cannot be written; the metadata is then as it was.
    """
    meta = with_figures(checkpoint.meta, figures)
    atomic_write(checkpoint.path / META, json_text(meta))
    return replace(checkpoint, meta=meta)


def bpb_of_step(checkpoint: Checkpoint) -> float | None:
    """Validation bits per byte of these very weights; None when they were not measured."""
    return measured_bpb(checkpoint.meta, checkpoint.step, checkpoint.is_upstream)
