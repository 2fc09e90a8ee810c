"""The tag a training writes to: claimed for as long as it runs, free at the steps it will save."""

from pathlib import Path
from typing import TYPE_CHECKING

from nanochat.checkpoint.files import list_checkpoints
from nanochat.checkpoint.tags import check_steps_are_free, only_writer
from nanochat.common.errors import UserError
from nanochat.compute.ranks import Ranks
from nanochat.run.stage_run import StageRun

if TYPE_CHECKING:
    from nanochat.train.loop import Training


def claim_tag(run: StageRun, ranks: Ranks, tag: Path) -> Path:
    """Makes this run the only writer of `tag` until it ends; returns `tag`.

    Raises `UserError`, on all ranks, when another live run is its writer.
    """
    error = None
    if ranks.is_main:
        try:
            run.hold(only_writer(tag, run.run_id))
        except UserError as refused:
            error = refused
    if (error := ranks.broadcast(error)) is not None:
        raise error
    return tag


def check_steps(job: "Training", save_every: int) -> None:
    """Raises `UserError`, on all ranks, when the training would save at a step that another run has.

    Where only the data say when the training ends, that may be any step.
    """
    first, last = job.state.step, job.length.steps

    def will_save(step: int) -> bool:
        periodic = save_every > 0 and step % save_every == 0
        return step > first and (not last or step == last or (periodic and step < last))

    error = None
    if job.runtime.ranks.is_main:
        try:
            check_steps_are_free(job.saver.tag, job.saver.run_id, will_save, job.saver.replace_before)
        except UserError as refused:
            error = refused
    if (error := job.runtime.ranks.broadcast(error)) is not None:
        raise error


def alert_if_tag_in_use(run: StageRun, tag: Path) -> None:
    """Alerts a run that starts from its first step in a folder where other runs have checkpoints."""
    if others := [c for c in list_checkpoints(tag) if c.meta.get("run_id") != run.run_id]:
        run.alert(
            "tag_in_use",
            f"{tag} also holds {len(others)} checkpoints of other runs; without a step, stages load the last "
            "one saved",
        )
