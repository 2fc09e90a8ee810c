"""What a row of the table says about a run, from its newest values: progress, speed and time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanochat.common.text import amount, duration, percent, short, size_bytes
from remote.key_metric import Figure, told
from remote.store.summary import as_number

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


def reading(run: RunRow) -> str:
    """`reading 21 % (34M of 159M)` while the figures are those of a part of the run; else empty."""
    if not run.partial:
        return ""
    share = int(100 * run.share_read)  # never 100 % before it is
    return f"reading {share} % ({size_bytes(run.read_bytes)} of {size_bytes(run.size_bytes)})"


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


UNTIMED_STEPS = 10
"""Steps at the start of an attempt that a stage's clock leaves out: they compile and allocate."""


def speed(run: RunRow) -> Figure:
    """Tokens per second of a training (the mean once it ended), else what the stage reports."""
    mean = None if run.live else mean_speed(run)
    if mean is not None:
        return Figure("tok/s", short(mean), "train/tok_per_sec", mean)
    for metric, unit in (
        ("train/tok_per_sec", "tok/s"),
        ("tok/mb_per_sec", "MB/s"),
        ("data/mb_per_sec", "MB/s"),
    ):
        value = told(run, metric)
        if isinstance(value, float | int):
            return Figure(unit, short(float(value)), metric, float(value))
    return Figure("", "")


def mean_speed(run: RunRow) -> float | None:
    """Tokens per second over the timed steps of all attempts: as the stage resulted, else from its totals."""
    resulted = as_number(run.results.get("tok_per_sec"))
    if resulted:
        return resulted
    tokens, seconds = (as_number(run.latest.get(f"train/total_{name}")) for name in ("tokens", "time"))
    timed = (run.step or 0) - UNTIMED_STEPS * max(1, run.attempt)
    if not tokens or not seconds or timed <= 0 or not run.step:
        return None
    return tokens * timed / run.step / seconds


def mfu_value(run: RunRow) -> float | None:
    """Model FLOPs utilisation in %, where the peak of the hardware is known."""
    return as_number(told(run, "train/mfu"))


def mfu(run: RunRow) -> str:
    """`mfu_value` in words."""
    value = mfu_value(run)
    return "" if value is None else f"{value:.1f}"


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


def said(run: RunRow) -> str:
    """Why a run ended as it did, then its tags and the note about it, not yet sanitized."""
    reason = run.reason if not run.live else ""
    return " · ".join(filter(None, (reason, " ".join(f"#{tag}" for tag in run.tags), run.note)))
