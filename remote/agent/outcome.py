"""How a stage ended: from what was seen of its process, what it wrote itself, and what was asked of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .procs import signal_name

if TYPE_CHECKING:
    Json = dict[str, Any]


class Exited(NamedTuple):
    """A process that was waited for: one of the two is set."""

    exit_code: int | None
    signal: int | None

    def __str__(self) -> str:
        if self.signal is not None:
            return f"killed by signal {self.signal} ({signal_name(self.signal)})"
        return f"exit code {self.exit_code}"


class Outcome(NamedTuple):
    status: str
    reason: str


def outcome_of(exited: Exited | None, stage_end: Json | None, stop_asked: bool, console: str = "") -> Outcome:
    """The final status of an attempt.

    `exited` is None when nobody could wait for the process (its supervisor had died). The stage's own
    `stage_end` event then decides, and without one the run is lost. `console` is its last printed line.
    """
    said = _text(stage_end, "status")
    error = _text(stage_end, "error")
    if said == "succeeded":
        clean = exited is None or exited.exit_code == 0
        return Outcome("succeeded", "" if clean else f"reported success, then {exited}")
    if said == "stopped":
        return Outcome("stopped", error or "stopped")
    if stop_asked:
        how = f", {exited}" if exited is not None and exited.signal is not None else ""
        return Outcome("stopped", f"stopped on request{how}" + (f": {error}" if error else ""))
    if said == "failed":
        return Outcome("failed", error or (str(exited) if exited else "failed"))
    if exited is None:
        return Outcome("lost", "it ended while nobody watched, and wrote no stage_end")
    if exited.exit_code == 0:
        return Outcome("succeeded", "")
    return Outcome("failed", f"{exited}: {console}" if console else str(exited))


def _text(stage_end: Json | None, field: str) -> str:
    value = stage_end.get(field) if stage_end else None
    return value if isinstance(value, str) else ""
