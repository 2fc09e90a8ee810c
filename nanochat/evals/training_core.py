"""CORE of a model in training: on as many items as time allows, where the bundle is at hand."""

from nanochat.common.errors import UserError
from nanochat.compute.device import Runtime
from nanochat.evals.bundle import CoreTask, bundle_folder, read_bundle
from nanochat.evals.core import CoreRun, evaluate_core
from nanochat.evals.nanochat_lm import NanochatLM, batch_tokens
from nanochat.model.gpt import GPT
from nanochat.run.stage_run import StageRun
from nanochat.tokenizer.tokenizer import Tokenizer


def training_tasks(run: StageRun, every: int, max_per_task: int) -> list[CoreTask]:
    """The bundle's tasks; none, and a line that says so, when CORE is off or the bundle is not there.

    Raises `UserError` when a bundle is there and damaged, before any training.
    """
    folder = bundle_folder(run.layout)
    if every <= 0:
        return []
    if not folder.is_dir():
        run.log(f"no CORE during training: no bundle in {folder}")
        return []
    tasks = read_bundle(folder)
    try:
        for task in tasks:
            task.rows(max_per_task)
    except UserError as error:
        raise UserError(
            f"CORE: {error.message}", error.hint or "--core-metric-every -1 leaves it out"
        ) from error
    return tasks


def training_core(
    run: StageRun, runtime: Runtime, model: GPT, tokenizer: Tokenizer, tasks: list[CoreTask], *, step: int,
    max_per_task: int, rows: int, progress: float,
) -> dict[str, float | int | str]:  # fmt: skip
    """Judges the model as it is now: core/core, core/<task> and standard errors, also as events.

    Items are kept under the run's `core/step_<step>`. `rows` is the training's device batch. Raises
    `StageStopped` when the run is asked to stop.
    """
    folder = run.path / "core" / f"step_{step:06d}" if run.path is not None else None
    lm = NanochatLM(model, tokenizer)
    core = CoreRun(
        lm, run, runtime, folder, batch_tokens(runtime.device, rows, model.config.sequence_len), step,
        max_per_task, low=progress, high=progress,
    )  # fmt: skip
    with lm.reading():
        return evaluate_core(core, tasks, {"attempt": run.attempt}).values()
