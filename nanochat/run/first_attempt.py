"""What a run's first attempt began with, as its event log says.

A later attempt inherits its options: none of them is a new wish.
"""

import itertools
import math
from pathlib import Path

from nanochat.run.events import Event, parse_line
from nanochat.run.stage_run import StageRun

NOTHING = -math.inf
"""As `replace_before`: nothing of another run is replaced."""
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


def replace_before(run: StageRun, overwrite: bool) -> float:
    """The Unix time until which others may have saved what this run replaces.

    `overwrite` is a wish about what was there when the run first started: what another run saved since is no
    part of it.
    """
    if not overwrite:
        return NOTHING
    first = first_start(run) if run.attempt > 1 else None
    return math.inf if first is None else first.t


def may_replace(path: Path, run: StageRun, overwrite: bool) -> bool:
    """Whether `overwrite` holds for `path`, a file or folder as it is now."""
    try:
        return path.stat().st_mtime <= replace_before(run, overwrite)
    except OSError:  # there is nothing to replace
        return overwrite
