"""What a row of the table says about a run, from its newest values: progress, speed and time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanochat.common.text import amount, duration, percent, short
from remote.key_metric import Figure

if TYPE_CHECKING:
    from remote.runs import RunRow


def progress(run: RunRow) -> float | None:
    """The fraction done, 0..1: as the stage reported it, else from its steps; None when unknown."""
    if run.status == "succeeded":
        return 1.0
    if run.progress is not None:
        return max(0.0, min(1.0, run.progress))
    if run.unit == "step" and run.total_steps > 0 and run.step is not None:
        return max(0.0, min(1.0, run.step / run.total_steps))
    return None


def steps(run: RunRow) -> str:
    """`14,210/21,400`, or the step alone when the total is unknown or does not count steps."""
    if run.step is None:
        return ""
    counted = run.unit == "step" and run.total_steps
    return f"{run.step:,}/{run.total_steps:,}" if counted else f"{run.step:,}"


def extent(run: RunRow) -> str:
    """How far the run is, or how much it has to do: `step 10/300`, `400 items`."""
    if run.unit != "step":
        return amount(run.total_steps, run.unit) if run.total_steps else ""
    return f"step {steps(run)}" if run.step is not None else ""


def speed(run: RunRow) -> Figure:
    """Tokens per second while training, else the throughput that the stage reports."""
    for metric, unit in (
        ("train/tok_per_sec", "tok/s"),
        ("tok/mb_per_sec", "MB/s"),
        ("data/mb_per_sec", "MB/s"),
    ):
        value = run.latest.get(metric)
        if isinstance(value, float | int):
            return Figure(unit, short(float(value)), metric, float(value))
    return Figure("", "")


def mfu(run: RunRow) -> str:
    """Model FLOPs utilisation in %, where the peak of the hardware is known."""
    value = run.latest.get("train/mfu")
    return f"{value:.1f}" if isinstance(value, float | int) else ""


def elapsed(run: RunRow, now: float) -> float | None:
    """Seconds that the current attempt has run, up to `now` while it is live."""
    if run.started_at is None:
        return None
    end = run.ended_at if run.ended_at is not None and not run.live else now
    return max(0.0, end - run.started_at)


def eta(run: RunRow) -> str:
    """Time left of a running stage; empty when it has not reported it."""
    return duration(run.eta_s) if run.status == "running" else ""


def title(run: RunRow) -> str:
    """A run in a few words for the terminal's title: `66% demo base_train`."""
    name = run.label
    return " ".join(
        word for word in (percent(progress(run)), name, run.stage if run.stage != name else "") if word
    )
