"""What a resumed training changes of the one it goes on with, told before its first step."""

from collections.abc import Mapping
from typing import Any

from nanochat.checkpoint.files import Checkpoint
from nanochat.train.loop import Training
from nanochat.train.resume import other_data


def alert_if_changed(job: Training, resumed: Checkpoint) -> None:
    """Alerts when batch, horizon or data are others than the checkpoint was trained with, naming both.

    All are allowed: a longer training is how one goes on. But rates and losses are then not comparable.
    """
    if told := other_data(resumed, job.metadata["data"]):
        job.run.alert("other_data", told)
    before, now = resumed.meta, job.batch
    batch = batch_of(before)
    if batch and batch != now:
        job.run.alert(
            "other_batch",
            f"{resumed.path} was trained with a batch of {batch}, it goes on with {now}: losses and learning "
            "rates are those of another training",
        )
    saved, steps = steps_of(before), job.length.steps
    if saved is not None and saved != steps:
        job.run.alert(
            "other_horizon",
            f"{resumed.path} was saved on the way to {horizon(saved)}, now it is {horizon(steps)}: "
            "the rates follow the new length",
        )


def horizon(steps: int) -> str:
    """The length of a training for people; 0 steps is as long as the data."""
    return f"{steps:,} steps" if steps else "one epoch"


def batch_of(meta: Mapping[str, Any]) -> str:
    """The batch a checkpoint was trained with; "" where it does not say. Version 0.1.0 has the tokens."""
    if isinstance(meta.get("batch"), str):
        return str(meta["batch"])
    total = meta.get("total_batch_size")
    known = isinstance(total, int) and meta.get("rows") != "padded"
    return f"{total:,} tokens" if known else ""


def steps_of(meta: Mapping[str, Any]) -> int | None:
    """The steps of the training a checkpoint is of; None where it does not say.

    Version 0.1.0 tells them only where they were asked for.
    """
    steps = meta.get("total_steps")
    if steps is None:
        options = meta.get("user_config")
        asked = options.get("num_iterations") if isinstance(options, Mapping) else None
        steps = asked if isinstance(asked, int) and asked > 0 else None
    return steps if isinstance(steps, int) else None
