"""`checkpoints`: the checkpoint folders of a base directory, as far as their names and sizes tell.

Nothing of a checkpoint is read but the metadata of each folder's last one. The folders are those of
`nanochat.common.paths`, the names of files those of `nanochat.checkpoint.files`.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from .files import read_json
from .rundirs import RUN_ID

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    Json = dict[str, Any]

FOLDERS = {
    "base": "base_checkpoints",
    "mid": "mid_checkpoints",
    "sft": "chatsft_checkpoints",
    "rl": "chatrl_checkpoints",
}
MOST_TAGS = 500
"""Of each source; of more the ones written to last."""
MOST_STEPS = 1000
"""Of each tag; of more the ones saved last."""
OURS = re.compile(r"step_(\d{6,12})(?:-[0-9a-f]{6})?")
UPSTREAM = re.compile(r"model_(\d{6,12})\.pt")


class Saved(NamedTuple):
    """A checkpoint: ours is a folder, upstream nanochat's a model file."""

    is_ours: bool
    modified: float
    step: int
    path: Path


def checkpoints(base: Path) -> Json:
    """Every folder with a checkpoint in it, and how many were left out."""
    told, left_out = [], 0
    for source, folder in FOLDERS.items():
        tags = sorted(folders(base / folder), key=changed)
        left_out += max(0, len(tags) - MOST_TAGS)
        told += [found for tag in sorted(tags[-MOST_TAGS:]) if (found := _tag(source, tag)) is not None]
    return {"checkpoints": told, "left_out": left_out}


def saved_steps(base: Path) -> dict[str, list[int]]:
    """The steps saved of each checkpoint folder, by its name: `base/d4`."""
    return {
        source + "/" + tag.name: sorted({one.step for one in _saved(tag)})
        for source, folder in FOLDERS.items()
        for tag in sorted(folders(base / folder), key=changed)[-MOST_TAGS:]
    }


def folders(folder: Path) -> Iterator[Path]:
    """The tags of a source: folders whose names a checkpoint's name can hold."""
    try:
        with os.scandir(str(folder)) as entries:
            names = [entry.name for entry in entries if entry.is_dir()]
    except OSError:
        return
    for name in names:
        if name.isprintable() and not name.startswith(".") and "@" not in name and len(name) <= 200:
            yield folder / name


def changed(path: Path) -> float:
    """When a file or folder was changed last, 0 where it is gone."""
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def _tag(source: str, tag: Path) -> Json | None:
    saved = sorted(_saved(tag))
    if not saved:
        return None
    newest = saved[-1]
    run = (read_json(_meta(newest)) or {}).get("run_id")
    return {
        "source": source,
        "tag": tag.name,
        "steps": [one.step for one in saved[-MOST_STEPS:]],
        "bytes": sum(_size(one.path) for one in saved[-MOST_STEPS:]),
        "modified": newest.modified,
        "run": run if isinstance(run, str) and RUN_ID.fullmatch(run) else None,
    }


def _saved(tag: Path) -> Iterator[Saved]:
    """The checkpoints of a tag that have metadata."""
    try:
        names = os.listdir(str(tag))
    except OSError:
        return
    for name in names:
        ours, upstream = OURS.fullmatch(name), UPSTREAM.fullmatch(name)
        match = ours or upstream
        if match is None:
            continue
        one = Saved(ours is not None, 0.0, int(match[1]), tag / name)
        try:
            yield one._replace(modified=os.stat(_meta(one)).st_mtime)
        except OSError:
            continue


def _meta(one: Saved) -> Path:
    if one.is_ours:
        return one.path / "meta.json"
    return one.path.with_name(one.path.name.replace("model_", "meta_").replace(".pt", ".json"))


def _size(path: Path) -> int:
    """Bytes of a file, or of a folder's files."""
    try:
        if not path.is_dir():
            return os.stat(path).st_size
        with os.scandir(str(path)) as entries:
            return sum(entry.stat().st_size for entry in entries if entry.is_file())
    except OSError:
        return 0
