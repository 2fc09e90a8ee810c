"""A run's metrics logged to Weights & Biases as well (`--wandb`), without depending on it.

It takes the run's own events: nothing is measured twice. Whatever fails there ends the logging to W&B with
an alert, never the training.
"""

import importlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nanochat.common.errors import Exit, UserError, one_line
from nanochat.run.events import JSON, number


class WandbLog:
    """One W&B run under the run's own id, so that a resumed attempt continues it."""

    def __init__(self, run: Any, alert: Callable[[str], None]) -> None:
        self._run = run
        self._alert = alert

    def log(self, kind: str, step: int | None, data: Mapping[str, JSON]) -> None:
        """Sends the numbers of a metric or evaluation event, and the results of a `stage_end`."""
        if kind in ("metric", "eval"):
            values = {name: v for name, value in data.items() if (v := number(value)) is not None}
            # A resumed attempt repeats steps, which W&B's own step counter refuses: send ours as a value.
            self._try(lambda: self._run.log(values if step is None else {"step": step, **values}))
        elif kind == "stage_end":
            results = data.get("results")
            failed = data.get("status") == "failed"
            self._try(lambda: self._run.summary.update(results if isinstance(results, dict) else {}))
            self._try(lambda: self._run.finish(exit_code=int(failed)))
            self._run = None

    def _try(self, call: Callable[[], object]) -> None:
        if self._run is None:
            return
        try:
            call()
        except Exception as error:
            self._run = None
            self._alert(f"W&B: {_describe(error)}; the run continues without it")


def open_wandb_log(
    *, run_id: str, stage: str, folder: Path, options: Mapping[str, Any], alert: Callable[[str], None]
) -> WandbLog | None:
    """A W&B run for the run `run_id`; None, with an alert, when W&B cannot start one.

    The project is the option `wandb_project`; `WANDB_MODE=offline` and W&B's other variables work as ever.
    Raises `UserError` when the package is missing.
    """
    try:
        wandb = importlib.import_module("wandb")
    except ImportError as error:
        raise UserError(
            f"--wandb needs the package wandb ({error})",
            "pip install wandb, or leave --wandb out",
            Exit.FAILED,
        ) from error
    os.environ.setdefault("WANDB_SILENT", "true")
    try:
        run = wandb.init(
            project=options["wandb_project"],
            id=run_id,
            name=options.get("run") or run_id,
            resume="allow",
            job_type=stage,
            config=dict(options),
            dir=str(folder),
        )
        run.define_metric("*", step_metric="step")
    except Exception as error:
        alert(f"W&B could not start: {_describe(error)}; the run continues without it")
        return None
    return WandbLog(run, alert)


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(str(error))[:300]}"
