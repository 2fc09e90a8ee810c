"""The checkpoint that a run's first attempt started from: a later one goes on with the same."""

from pathlib import Path
from typing import Any

from nanochat.checkpoint.files import Checkpoint, list_checkpoints
from nanochat.common.errors import UserError
from nanochat.common.paths import CHECKPOINT_FOLDERS
from nanochat.run.first_attempt import first_start
from nanochat.run.stage_run import StageRun

STARTED_FROM = "started_from"
"""The field of a training's `stage_start`, and of the metadata of what it saves, naming the checkpoint."""


def origin(checkpoint: Checkpoint, resumed: bool) -> Any:
    """What the metadata of a training's checkpoints tell of the one it started from: name and weights.

    Unlike a path they stay true where the checkpoints are copied to another machine. A training that resumes
    its own goes on telling what that told.
    """
    if resumed:
        return checkpoint.meta.get(STARTED_FROM)
    folder, tag = checkpoint.path.parent.parent.name, checkpoint.path.parent.name
    source = next((name for name, known in CHECKPOINT_FOLDERS.items() if known == folder), "")
    return {"name": f"{source}/{tag}@{checkpoint.step}", "weights": checkpoint.weights} if source else None


def started_from(run: StageRun, field: str = STARTED_FROM) -> Checkpoint | None:
    """The checkpoint that the first attempt named in `field` when it started; None when it named none.

    Raises `UserError` when that is no longer there: another one is another model.
    """
    first = first_start(run)
    info = first.data.get("info") if first is not None else None
    named = info.get(field) if isinstance(info, dict) else None
    if not isinstance(named, str) or not named:
        return None
    path = Path(named)
    found = [c for c in list_checkpoints(path.parent) if c.path == path]
    if not found:
        raise UserError(
            f"{path}, which this run started from, is gone", "restore it, or start a new run from another"
        )
    return found[0]
