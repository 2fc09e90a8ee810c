"""`meta.json`, read once with its types and ranges checked: a checkpoint may come from anywhere.

A document that is not what it should be is one damaged checkpoint; those beside it are still listed.
"""

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nanochat.common.fields import json_object, moment, real, whole

FIGURES = "figures"
MAX_META_BYTES = 64 << 20
"""A metadata file is a few kilobytes."""
MAX_RANKS = 1 << 16
"""More processes than any training has had."""


def read_meta(path: Path) -> dict[str, Any] | None:
    """The metadata in `path`; None when it is missing, no regular file, or not such a document."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_META_BYTES:
            return None
        meta = json_object(path.read_bytes())
    except OSError:
        return None
    return meta if meta is not None and _is_sound(meta) else None


def _is_sound(meta: Mapping[str, Any]) -> bool:
    """Whether the fields that listing and resuming take for granted are of their types and ranges."""
    return (
        moment(meta.get("saved_at", 0)) is not None
        and whole(meta.get("ranks", 1), 1, MAX_RANKS) is not None
        and isinstance(meta.get("run_id", ""), str)
        and all(isinstance(meta.get(name, {}), dict) for name in ("files", "user_config", "model_config"))
        and all(_is_file_entry(name, entry) for name, entry in meta.get("files", {}).items())
        and _is_figure(meta.get("val_bpb"))
    )


def _is_file_entry(name: str, entry: object) -> bool:
    """The entry of a file that lies in the checkpoint's own folder."""
    return (
        Path(name).name == name
        and isinstance(entry, dict)
        and whole(entry.get("bytes"), 0) is not None
        and isinstance(entry.get("sha256"), str)
    )


def _is_figure(value: object) -> bool:
    """None or a number; one that is not finite is what a training that diverged measured."""
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def measured_bpb(meta: Mapping[str, Any], step: int, is_upstream: bool) -> float | None:
    """Validation bits per byte of the very weights of `step`; None when they were not measured.

    Version 0.1.0 wrote the last figure known, maybe of an earlier step: it counts where one was due.
    """
    if FIGURES not in meta and not is_upstream:
        options = meta.get("user_config")
        every = options.get("eval_every", -1) if isinstance(options, Mapping) else -1
        if not isinstance(every, int) or every <= 0 or step % every:
            return None
    return real(meta.get("val_bpb"))
