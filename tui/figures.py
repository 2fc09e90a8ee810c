"""What a run row shows: its key figure, progress, speed and time, read from the newest values."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nanochat.text import duration, number, percent, short

if TYPE_CHECKING:
    from remote.runs import RunRow


class Figure(NamedTuple):
    """A number with its short name, ready to show."""

    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.name} {self.text}" if self.name else self.text


#: The first of these that a run has is what it is judged by, most telling first.
KEY_FIGURES: tuple[tuple[str, str], ...] = (
    ("chat/ChatCORE", "ChatCORE"),
    ("core/core", "CORE"),
    ("rl/reward", "reward"),
    ("val/bpb", "bpb"),
    ("train/loss", "loss"),
    ("tok/bytes_per_token", "B/token"),
    ("tok/merges", "merges"),
    ("data/docs", "docs"),
    ("data/bytes", "bytes"),
)


def key_figure(run: RunRow) -> Figure:
    """The figure the run is judged by, empty when it has told none yet."""
    values = {**run.results, **run.latest}
    for metric, name in KEY_FIGURES:
        if metric in values:
            value = values[metric]
            large = isinstance(value, float | int) and abs(value) >= 1e5
            return Figure(name, short(float(value)) if large else number(value))
    return Figure("", "")


def progress(run: RunRow) -> float | None:
    """The part done, 0..1: what the stage said, else from its steps; None when unknown."""
    if run.status == "succeeded":
        return 1.0
    if run.progress is not None:
        return max(0.0, min(1.0, run.progress))
    if run.total_steps > 0 and run.step is not None:
        return max(0.0, min(1.0, run.step / run.total_steps))
    return None


def steps(run: RunRow) -> str:
    """`14,210/21,400`, or the step alone when the total is unknown."""
    if run.step is None:
        return ""
    return f"{run.step:,}/{run.total_steps:,}" if run.total_steps else f"{run.step:,}"


def speed(run: RunRow) -> Figure:
    """Tokens a second while training, else what the stage measures itself by."""
    for metric, unit in (
        ("train/tok_per_sec", "tok/s"),
        ("tok/mb_per_sec", "MB/s"),
        ("data/mb_per_sec", "MB/s"),
    ):
        value = run.latest.get(metric)
        if isinstance(value, float | int):
            return Figure(unit, short(float(value)))
    return Figure("", "")


def mfu(run: RunRow) -> str:
    """Model FLOPs utilisation in %, where the peak of the hardware is known."""
    value = run.latest.get("train/mfu")
    return f"{value:.1f}" if isinstance(value, float | int) else ""


def elapsed(run: RunRow, now: float) -> float | None:
    """Seconds the current attempt has run; a run out of contact counts to when it was last heard."""
    if run.started_at is None:
        return None
    end = run.ended_at if run.ended_at is not None and not run.live else now
    return max(0.0, end - run.started_at)


def eta(run: RunRow) -> str:
    """Time left of a running stage; empty when it has not said."""
    return duration(run.eta_s) if run.status == "running" else ""


def label(run: RunRow) -> str:
    """What a run is called: its name, or its plan's where it has no other than its stage's."""
    return run.plan_name if run.plan_name and run.name in ("", run.stage) else run.name or run.run_id


def title(run: RunRow) -> str:
    """A run in a few words for the terminal's title: `66% demo base_train`."""
    name = label(run)
    return " ".join(
        word for word in (percent(progress(run)), name, run.stage if run.stage != name else "") if word
    )
