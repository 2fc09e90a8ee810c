"""CORE of a model in training, on some items of each task, where the bundle has been downloaded."""

from nanochat.common.errors import UserError
from nanochat.compute.device import Runtime
from nanochat.evals.bundle import CoreTask, bundle_folder, read_bundle
from nanochat.evals.core import CORE, CoreRun, core_settings, evaluate_core
from nanochat.evals.nanochat_lm import NanochatLM, batch_tokens
from nanochat.evals.records import items_file
from nanochat.evals.results import EvaluationResult
from nanochat.model.gpt import GPT
from nanochat.run.stage_run import StageRun
from nanochat.tokenizer.tokenizer import Tokenizer


def training_tasks(run: StageRun, every: int, max_per_task: int) -> list[CoreTask]:
    """The bundle's tasks; none when CORE is off, and none with a log line when there is no bundle.

    Raises `UserError` when the bundle is damaged, before any training.
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
    run: StageRun,
    runtime: Runtime,
    model: GPT,
    tokenizer: Tokenizer,
    tasks: list[CoreTask],
    *,
    step: int,
    max_per_task: int,
    rows: int,
    progress: float,
    tag: str,
) -> dict[str, float | int | str]:
    """Evaluates the model as it is now: core/core, core/<task> and standard errors, also logged as events.

    Items are stored under the run's `core/step_<step>`. `rows` is the training's device batch, `tag` the name
    its checkpoints are saved under. Raises `StageStopped` when the run is asked to stop.
    """
    folder = run.path / "core" / f"step_{step:06d}" if run.path is not None else None
    lm = NanochatLM(model, tokenizer)
    core = CoreRun(
        model=lm,
        run=run,
        runtime=runtime,
        folder=folder,
        told=EvaluationResult(
            f"base/{tag}",
            step,
            "core",
            settings=core_settings(runtime, tasks, max_per_task),
            run=run.run_id,
            items=run.layout.told(folder / items_file(CORE)) if folder is not None else "",
        ),
        budget=batch_tokens(runtime.device, rows, model.config.sequence_len),
        step=step,
        max_per_task=max_per_task,
        low=progress,
        high=progress,
    )
    with lm.eager_attention():
        return evaluate_core(core, tasks, {"attempt": run.attempt}).values()
