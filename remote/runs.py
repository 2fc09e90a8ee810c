"""What a run is on the laptop side: requests, ids, statuses and the rows the store and the fleet hand out."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

#: A run moves one way through the first of these and ends as one of the second; a resume starts anew.
LIVE: frozenset[str] = frozenset({"created", "starting", "running"})
ENDED: frozenset[str] = frozenset({"succeeded", "failed", "stopped", "lost"})

#: What a run's folder can be called, and so what a run id is.
RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")

UNREAD = 256 * 1024
"""Bytes of an event log that a run may be behind and still counts as read: one chunk of the stream."""

ChangeKind = Literal["run", "events", "telemetry", "link", "evaluations"]
LinkStatus = Literal["connecting", "up", "down"]


@dataclass(frozen=True)
class RunRequest:
    """One stage to start. `needs` are indices of earlier requests of the same submission."""

    stage: str
    options: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    needs: tuple[int, ...] = ()


@dataclass(frozen=True)
class PlanRef:
    """The plan a submission belongs to; one id for all its runs."""

    id: str
    name: str


@dataclass(frozen=True)
class Attempt:
    """One attempt of a run, from its stage_start event."""

    attempt: int
    from_step: int
    first_seq: int
    t: float
    total_steps: int


@dataclass(frozen=True)
class RunRow:
    """A run as last known: what was asked, how it stands, and the newest value of every metric.

    `smooth` holds the moving averages of noisy figures, as a plot of the whole run ends with them; `first`
    the first value of each evaluated metric, `results` what the stage ended with. `env` are
    names of variables that it was given at first, as the host tells; `pass_env` those that were let it have
    from here, which alone are passed on again. `problem` is one line about files of the run that are damaged
    or cannot be read, empty where nothing is wrong. `archived` runs are left out of lists. `here` is False
    for a run of another machine that shares this host's base directory. Of the run's event log `read_bytes`
    have been read here, and the host holds `size_bytes`. Its times are those of the host's clock, which is
    `clock_ahead` seconds ahead of ours. `code` is the program's `version` and commit (`sha`), as far as told.
    """

    key: str
    host: str
    run_id: str
    name: str = ""
    stage: str = ""
    status: str = "created"
    attempt: int = 0
    created_at: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None
    heartbeat: float | None = None
    exit_code: int | None = None
    signal: int | None = None
    reason: str = ""
    plan_id: str = ""
    plan_name: str = ""
    plan_index: int = 0
    needs: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    argv: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    pass_env: tuple[str, ...] = ()
    step: int | None = None
    total_steps: int = 0
    unit: str = "step"
    progress: float | None = None
    eta_s: float | None = None
    latest: Mapping[str, float | str] = field(default_factory=dict)
    smooth: Mapping[str, float] = field(default_factory=dict)
    first: Mapping[str, float | str] = field(default_factory=dict)
    results: Mapping[str, float | str] = field(default_factory=dict)
    alerts: int = 0
    last_contact: float = 0.0
    last_seq: int = -1
    tags: tuple[str, ...] = ()
    note: str = ""
    pinned: bool = False
    archived: bool = False
    problem: str = ""
    here: bool = True
    read_bytes: int = 0
    size_bytes: int = 0
    clock_ahead: float = 0.0
    code: Mapping[str, str] = field(default_factory=dict)

    @property
    def partial(self) -> bool:
        """True while so much of the event log has not been read that what is shown is not the whole run.

        What is left of a log that has been read is less than a line, or what a live run has just written.
        """
        return self.size_bytes - self.read_bytes > UNREAD

    @property
    def share_read(self) -> float:
        """The fraction of the event log that has been read here."""
        return self.read_bytes / self.size_bytes if self.size_bytes else 1.0

    @property
    def live(self) -> bool:
        """True while the run may still produce events."""
        return self.status in LIVE

    @property
    def at_work(self) -> bool:
        """True while its stage runs: it is not waiting for its turn."""
        return self.live and self.status != "created"

    @property
    def label(self) -> str:
        """What the run is called: its name, or its plan's where it has no other than its stage's."""
        return (
            self.plan_name if self.plan_name and self.name in ("", self.stage) else self.name or self.run_id
        )


@dataclass(frozen=True)
class Change:
    """Something new, reported after it is committed to the store. `run_id` is None where it is no run's."""

    kind: ChangeKind
    host: str
    run_id: str | None = None

    @property
    def key(self) -> str:
        """The run's store key, or "" for a link change."""
        return run_key(self.host, self.run_id) if self.run_id else ""


@dataclass(frozen=True)
class Link:
    """How the connection to a host stands. Times are Unix seconds, `retry_in` seconds from `since`."""

    status: LinkStatus = "down"
    since: float = 0.0
    last_contact: float | None = None
    retry_in: float | None = None
    latency_ms: float | None = None
    error: str = ""
    clock_ahead: float = 0.0
    """Seconds that the host's clock is ahead of ours, as it told last."""

    def silence(self, now: float | None = None) -> float | None:
        """Seconds since the host was last heard, None if never."""
        return None if self.last_contact is None else max(0.0, (now or time.time()) - self.last_contact)


@dataclass(frozen=True)
class Found:
    """Lines of a file that hold a text, as `(offset, text)`, nearest to where the search began first.

    Bytes `start` to `end` have been searched, in whole lines; the file has `size`, of which `whole` are lines
    with a newline. `torn` is the line after those, where it matches.
    """

    lines: tuple[tuple[int, str], ...] = ()
    torn: tuple[int, str] | None = None
    start: int = 0
    end: int = 0
    whole: int = 0
    size: int = 0


@dataclass(frozen=True)
class CommandRecord:
    """One command that ran on a host, as a line a person could paste into a shell there."""

    t: float
    host: str
    command: str
    exit_code: int | None = None
    seconds: float | None = None
    error: str = ""


@dataclass(frozen=True)
class Gpu:
    """One GPU as the host's NVML names it; memory in bytes, None where it is not told.

    One that has no memory of its own shares the host's (`mem_shared`).
    """

    name: str
    mem_total: int | None
    mem_shared: bool = False


@dataclass(frozen=True)
class Interpreter:
    """The Python that stages run under on a host, and whether it can import nanochat."""

    path: str
    ok: bool
    python: str = ""
    nanochat: str = ""
    error: str = ""


@dataclass(frozen=True)
class Probe:
    """What a host said about itself. Sizes in bytes, 0 where it could not tell."""

    host: str
    hostname: str
    python: str
    agent: str
    cores: float
    ram_total: int
    disk_free: int
    disk_total: int
    in_container: bool
    boot_id: str = ""
    gpus: tuple[Gpu, ...] = ()
    driver: str = ""
    nvml_error: str = ""
    interpreter: Interpreter | None = None
    clock_ahead: float = 0.0
    """Seconds that its clock is ahead of ours, to within what an answer takes."""


def run_key(host: str, run_id: str) -> str:
    """The store's key of a run: `<host>/<run_id>`."""
    return f"{host}/{run_id}"


def split_key(key: str) -> tuple[str, str]:
    """`(host, run_id)` of a store key. Raises ValueError when it is no key."""
    host, slash, run_id = key.partition("/")
    if not (host and slash and run_id):
        raise ValueError(f"not a run key: {key!r}")
    return host, run_id


def host_time(run: RunRow, link: Link | None, now: float) -> float:
    """What the clock of a run's host shows at `now` (ours), or showed when the host was last heard.

    Everything that a run notes is told by its host's clock, which need not be ours: how long it has taken is
    the difference of two times of that clock. Of another machine, which shares that host's disk, only the
    heartbeat is known.
    """
    if link is not None and link.status == "up" and run.here:
        return now + link.clock_ahead
    return run.heartbeat or run.last_contact


def superseded_from(attempts: list[Attempt]) -> dict[int, int]:
    """For each attempt the step from which a later attempt replaced its points (absent: none are).

    An attempt resumed from step k redoes every step ≥ k, so an older attempt's points there no longer
    count: hidden by default, out of averages and bests, never deleted.
    """
    cut: dict[int, int] = {}
    lowest: int | None = None
    for item in sorted(attempts, key=lambda a: a.attempt, reverse=True):
        if lowest is not None:
            cut[item.attempt] = lowest
        lowest = item.from_step if lowest is None else min(lowest, item.from_step)
    return cut
