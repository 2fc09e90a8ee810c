"""A run's metrics mirrored to Weights & Biases (`--wandb`), without depending on it.

It listens to the run's own events: nothing is measured or logged twice. Whatever goes wrong over there
ends the mirroring with an alert, never the training.
"""

import importlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nanochat.common.errors import Exit, UserError, one_line
from nanochat.run.events import JSON, number


class Mirror:
    """One W&B run under the run's own id, so that a resume goes on in it."""

    def __init__(self, run: Any, alert: Callable[[str], None]) -> None:
        self._run = run
        self._alert = alert

    def take(self, kind: str, step: int | None, data: Mapping[str, JSON]) -> None:
        """Passes on the numbers of a metric or evaluation event, and the results of the end."""
        if kind in ("metric", "eval"):
            values = {name: v for name, value in data.items() if (v := number(value)) is not None}
            # A resumed attempt does steps again, which W&B's own counter would refuse: ours is a value.
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
            self._alert(f"W&B: {_said(error)}; the run goes on without it")


def open_mirror(
    run_id: str, stage: str, folder: Path, options: Mapping[str, Any], alert: Callable[[str], None]
) -> Mirror | None:
    """The mirror of a run; None, with an alert, when W&B cannot begin one.

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
            project=options["wandb_project"], id=run_id, name=options.get("run") or run_id, resume="allow",
            job_type=stage, config=dict(options), dir=str(folder),
        )  # fmt: skip
        run.define_metric("*", step_metric="step")
    except Exception as error:
        alert(f"W&B could not begin: {_said(error)}; the run goes on without it")
        return None
    return Mirror(run, alert)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(str(error))[:300]}"
