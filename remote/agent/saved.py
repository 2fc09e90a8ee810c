"""`checkpoints --each`: every checkpoint of a base directory, with what its metadata say and who uses it.

The metadata are passed on as far as listing and lineage need them, and bounded; the reader judges them.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from .checkpoint_use import live_runs, marked
from .checkpoints import FOLDERS, MOST_STEPS, MOST_TAGS, OURS, UPSTREAM, changed, folders
from .files import open_bytes, read_json
from .rundirs import RUN_ID

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    Json = dict[str, Any]

MOST = 2000
"""Checkpoints in one answer; of more those of the tags written to last."""
MOST_FILES = 3000
"""Of a checkpoint: two a rank."""
MOST_FIGURES = 40
FIELDS = (
    "model_config", "parts", "val_bpb", "run_id", "tokenizer_sha256", "tokenizer_fingerprint", "data",
    "started_from", "ranks", "total_steps", "saved_at", "mixture",
)  # fmt: skip
ASKED = ("source", "model_tag", "model_step", "init_from", "resume", "resume_from_step", "task", "eval_every")
"""Options that say what a training started from, or on what."""
LONGEST = 2_000
"""Characters of one field as JSON, about."""
START_BYTES = 1 << 20
"""The beginning of an event log in which the first start is looked for."""
OPTIM = "optim"
MOST_OPTIONS = 200


def saved(base: Path) -> Json:
    """Every checkpoint, the runs that saved them, who uses them, and how many were left out."""
    tags = [(source, tag) for source in FOLDERS for tag in folders(base / FOLDERS[source])]
    tags.sort(key=lambda pair: changed(pair[1]), reverse=True)
    told: list[Json] = []
    left_out = max(0, len(tags) - MOST_TAGS * len(FOLDERS))
    for source, tag in tags[: MOST_TAGS * len(FOLDERS)]:
        found = _of_tag(source, tag)
        room = max(0, MOST - len(told))
        left_out += max(0, len(found) - min(room, MOST_STEPS))
        told += found[-min(room, MOST_STEPS) :] if room else []
    uses = {source: marked(base / folder) for source, folder in FOLDERS.items()}
    for one in told:
        by = uses[one["source"]].get(one["tag"] + "." + one["entry"])
        if by:
            one["used_by"] = by
    runs = sorted({one["run"] for one in told if one["run"]})
    starts = {run: start for run in runs if (start := _start(base, run)) is not None}
    return {"saved": told, "starts": starts, "live": live_runs(base), "left_out": left_out}


def _of_tag(source: str, tag: Path) -> list[Json]:
    """The checkpoints of a tag, the one saved last at the end."""
    try:
        names = sorted(os.listdir(str(tag)))
    except OSError:
        return []
    optimizers = [name for name in names if name.startswith(OPTIM)]
    found = []
    for name in names:
        match = OURS.fullmatch(name)
        if match is not None:
            found.append(_ours(source, tag, name, int(match[1])))
        elif (match := UPSTREAM.fullmatch(name)) is not None:
            found.append(_upstream(source, tag, name, match[1], optimizers))
    found.sort(key=lambda one: (one["upstream"] is False, one["t"], one["step"]))
    return found


def _ours(source: str, tag: Path, name: str, step: int) -> Json:
    folder = tag / name
    files = dict(_files(folder))
    meta = read_json(folder / "meta.json")
    one = _entry(source, tag, name, step, files, meta)
    one["optimizer"] = any(file.startswith(OPTIM) for file in files)
    if meta is None:
        one["problem"] = "meta.json is %s" % ("damaged" if "meta.json" in files else "missing")
        return one
    listed = meta.get("files")
    listed = listed if isinstance(listed, dict) else {}
    for file, entry in listed.items():
        size = entry.get("bytes") if isinstance(entry, dict) else None
        if files.get(file) != size:
            one["problem"] = "%s is missing or truncated" % str(file)[:100]
            break
    model = listed.get("model.safetensors")
    digest = model.get("sha256") if isinstance(model, dict) else None
    one["weights"] = digest if isinstance(digest, str) and len(digest) == 64 else ""
    return one


def _upstream(source: str, tag: Path, name: str, digits: str, optimizers: list[str]) -> Json:
    """Upstream nanochat's: a model file, its metadata, and the optimizer's states of every rank."""
    own = ["optim_%s.pt" % digits, "optim_%s_rank" % digits]
    files = {name: _size(tag / name), "meta_%s.json" % digits: _size(tag / ("meta_%s.json" % digits))}
    files.update(
        {file: _size(tag / file) for file in optimizers if file == own[0] or file.startswith(own[1])}
    )
    meta = read_json(tag / ("meta_%s.json" % digits))
    one = _entry(source, tag, name, int(digits), files, meta)
    one.update(upstream=True, optimizer=len(files) > 2, weights="")
    if meta is None:
        one["problem"] = "meta_%s.json is missing or damaged" % digits
    return one


def _entry(source: str, tag: Path, name: str, step: int, files: dict[str, int], meta: Json | None) -> Json:
    meta = meta or {}
    run, t = meta.get("run_id"), meta.get("saved_at")
    told = {field: meta[field] for field in FIELDS if field in meta and len(repr(meta[field])) <= LONGEST}
    figures, options = meta.get("figures"), meta.get("user_config")
    if isinstance(figures, dict):
        told["figures"] = dict(list(figures.items())[:MOST_FIGURES])
    if isinstance(options, dict):
        told["user_config"] = {
            name: options[name]
            for name in ASKED
            if len(repr(options.get(name))) <= LONGEST and name in options
        }
    is_time = isinstance(t, (int, float)) and not isinstance(t, bool) and 0 < t < 1e11
    return {
        "source": source,
        "tag": tag.name,
        "step": step,
        "entry": name,
        "upstream": False,
        "files": files,
        "t": t if is_time else changed(tag / name),
        "run": run if isinstance(run, str) and RUN_ID.fullmatch(run) else None,
        "weights": "",
        "optimizer": False,
        "meta": told,
    }


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    """The regular files of a checkpoint's folder with their sizes, one level of folders deep."""
    count = 0
    for parent, prefix in [(folder, "")] + [(folder / name, name + "/") for name in _inner(folder)]:
        try:
            with os.scandir(str(parent)) as entries:
                for entry in entries:
                    if entry.is_file(follow_symlinks=False) and count < MOST_FILES:
                        count += 1
                        yield prefix + entry.name, entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue


def _inner(folder: Path) -> list[str]:
    try:
        with os.scandir(str(folder)) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))[:20]
    except OSError:
        return []


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _start(base: Path, run: str) -> Json | None:
    """What a run's first start says of where it came from; None where its log is not there."""
    try:
        with open_bytes(base / "runs" / run / "events.jsonl") as file:
            raw = file.read(START_BYTES)
    except OSError:
        return None
    for line in raw.split(b"\n"):
        if b'"stage_start"' not in line:
            continue
        try:
            data = json.loads(line)["data"]
            info, options = data.get("info") or {}, data.get("options") or {}
            told = {name: value for name, value in options.items() if len(repr(value)) <= LONGEST}
            return {
                "stage": str(data.get("stage"))[:80],
                "started_from": str(info.get("started_from") or "")[:1000],
                "options": dict(list(told.items())[:MOST_OPTIONS]),
            }
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
    return None
