"""The checkpoint that an evaluation reads: the same one on all ranks, and in every attempt of the run."""

from nanochat.checkpoint.files import Checkpoint, find_checkpoint
from nanochat.checkpoint.in_use import using
from nanochat.checkpoint.started_from import started_from
from nanochat.checkpoint.weights import OpenedModel, open_checkpoint
from nanochat.compute.device import Runtime
from nanochat.config.eval_options import EvaluationOptions
from nanochat.run.stage_run import StageRun

CHECKPOINT = "checkpoint"
"""The field of a `stage_start` that names the checkpoint."""


def open_evaluated(options: EvaluationOptions, run: StageRun, runtime: Runtime) -> OpenedModel:
    """Opens what the first attempt of the run evaluated, else what the options name.

    Raises `UserError` when it is not there, or cannot be opened.
    """
    # Rank 0 looks and the others follow: while one looks, a checkpoint may appear or vanish.
    found = runtime.ranks.broadcast(_find(options, run) if runtime.ranks.is_main else None)
    assert found is not None
    if runtime.ranks.is_main:
        run.hold(using(found.path, f"evaluation {run.run_id}".rstrip()))
    return open_checkpoint(found, run.layout, options.tokenizer_dir, runtime.device, runtime.dtype)


def _find(options: EvaluationOptions, run: StageRun) -> Checkpoint:
    if run.attempt > 1 and (first := started_from(run, CHECKPOINT)) is not None:
        return first
    return find_checkpoint(run.layout.checkpoints(options.source), options.model_tag, options.step)
