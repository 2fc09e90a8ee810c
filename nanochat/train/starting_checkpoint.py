"""The checkpoint that a chat stage starts from: one of its own to resume from, else one of the stage before.

A later attempt of a run goes on with what the run has: its own checkpoints, else the one that its first
attempt started from. What other runs saved or deleted meanwhile changes nothing.
"""

import contextlib
from pathlib import Path
from typing import NamedTuple

from nanochat.checkpoint.files import Checkpoint, find_checkpoint, newest_complete
from nanochat.checkpoint.started_from import started_from
from nanochat.common.errors import UserError
from nanochat.config.chat_options import ChatTrainOptions
from nanochat.run.stage_run import StageRun
from nanochat.train.resume import newest_of_run, resume_point


class Start(NamedTuple):
    """A checkpoint, the tag that the stage writes to, and whether it is resumed from."""

    checkpoint: Checkpoint
    tag: str
    resumed: bool


def find_start(options: ChatTrainOptions, run: StageRun, source: str, target: str) -> Start:
    """What a stage that writes checkpoints of `target` starts from, of stage `source` or its own.

    Raises `UserError` when there is none, with the stage to run first.
    """
    folder = run.layout.checkpoints(target)
    if run.attempt > 1 and (own := newest_of_run(folder, run.run_id)) is not None:
        return Start(own, own.path.parent.name, True)
    if run.attempt > 1 and (first := started_from(run)) is not None:
        resumed = first.path.parent.parent == folder
        return Start(first, options.out_tag or first.path.parent.name, resumed)
    if options.resume or options.resume_from_step >= 0:
        tag = options.out_tag or options.model_tag or _tag_to_resume(options, run, source, folder)
        found = resume_point(folder / tag, run, step=options.resume_from_step, newest=options.resume)
        assert found is not None  # it was asked for
        return Start(found, tag, True)
    origin = find_checkpoint(run.layout.checkpoints(source), options.model_tag, options.model_step)
    return Start(origin, options.out_tag or origin.path.parent.name, False)


def _tag_to_resume(options: ChatTrainOptions, run: StageRun, source: str, folder: Path) -> str:
    """The tag of the source where it has checkpoints in `folder`, else the one that was saved to last.

    The source may have been deleted since, or a deeper one be there by now.
    """
    usual = ""
    with contextlib.suppress(UserError):
        origin = find_checkpoint(run.layout.checkpoints(source), options.model_tag, options.model_step)
        usual = origin.path.parent.name
    if usual and newest_complete(folder / usual) is not None:
        return usual
    tags = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    found = [newest for tag in tags if (newest := newest_complete(tag)) is not None]
    if found:
        return max(found, key=lambda newest: newest.saved_at).path.parent.name
    return usual or find_checkpoint(folder).path.parent.name
