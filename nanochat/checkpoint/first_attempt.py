"""What a run's first attempt began with, as its event log says: a later attempt goes on with the same."""

import itertools
from pathlib import Path

from nanochat.checkpoint.files import Checkpoint, list_checkpoints
from nanochat.common.errors import UserError
from nanochat.run.events import Event, parse_line
from nanochat.run.stage_run import StageRun

_FIRST_LINES = 1000
"""Lines of the event log in which the start is looked for: it is written before the first step."""


def first_start(run: StageRun) -> Event | None:
    """The run's first `stage_start`; None when its log has none."""
    if run.path is None:
        return None
    try:
        with (run.path / "events.jsonl").open("rb") as file:
            events = [parse_line(line) for line in itertools.islice(file, _FIRST_LINES)]
    except OSError:
        return None
    return next((event for event in events if event is not None and event.kind == "stage_start"), None)


def checkpoint_of_first_attempt(run: StageRun, key: str) -> Checkpoint | None:
    """The checkpoint that the first attempt named as `key` when it started; None when it named none.

    Raises `UserError` when that is no longer there: another one is another model.
    """
    first = first_start(run)
    info = first.data.get("info") if first is not None else None
    named = info.get(key) if isinstance(info, dict) else None
    if not isinstance(named, str) or not named:
        return None
    path = Path(named)
    found = [c for c in list_checkpoints(path.parent) if c.path == path]
    if not found:
        raise UserError(
            f"{path}, which this run started from, is gone", "restore it, or start a new run from another"
        )
    return found[0]
