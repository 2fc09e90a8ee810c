"""Processes as /proc shows them: who lives, who belongs to a stage, and signals that cannot hit a stranger.

A pid alone names nobody: it is reused. A process is the boot id, the pid and its start time together.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

MARK = "NANOCHAT_AGENT_STAGE"
DEAD_STATES = ("Z", "X", "x")


class Stat(NamedTuple):
    """The parts of /proc/<pid>/stat that matter here. `start` is in clock ticks since boot (field 22)."""

    state: str
    ppid: int
    pgrp: int
    session: int
    start: int


def read_stat(pid: int) -> Stat | None:
    """The process's stat, or None when there is no such process (or no /proc)."""
    try:
        raw = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = raw.rpartition(b")")[2].split()
    return Stat(fields[0].decode(), int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None where that is unknown."""
    stat = read_stat(pid)
    return stat.start if stat else None


def boot_id() -> str:
    """The kernel's name for this boot, "" where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def alive(pid: int | None, start: int | None) -> bool:
    """True while exactly this process runs: not a zombie, and not another that got the same pid."""
    if not pid:
        return False
    stat = read_stat(pid)
    if stat is not None:
        return stat.state not in DEAD_STATES and (start is None or stat.start == start)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # another user's, in a /proc that hides it
    return not Path("/proc/self/stat").exists()


def lives(told: Mapping[str, Any] | None) -> bool:
    """True while the process runs that a document tells by `pid` and `pid_start`.

    Where start times can be read, a pid without one names nobody.
    """
    pid, start = (told or {}).get("pid"), (told or {}).get("pid_start")
    return alive(pid, start) and (start is not None or start_time(os.getpid()) is None)


def mark_of(run_dir: Path, attempt: int) -> str:
    """What a stage and all its descendants carry in their environment, whatever group they move to."""
    return f"{run_dir}#{attempt}"


def members(pid: int, mark: str, trust_group: bool) -> list[int]:
    """Living processes of the stage led by `pid`: its group, its session, and all that carry `mark`.

    torchrun starts its workers in sessions of their own, so the group alone would miss them. With
    `trust_group` false the leader may be gone and its pid reused: then only the mark counts.
    """
    needle = os.fsencode(f"{MARK}={mark}")
    found = []
    own = os.getpid()
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else []:
        if not name.isdigit() or int(name) == own:
            continue
        stat = read_stat(int(name))
        if stat is None or stat.state in DEAD_STATES:
            continue
        in_group = trust_group and pid in (stat.pgrp, stat.session)
        if in_group or _carries(int(name), needle):
            found.append(int(name))
    return found


def _carries(pid: int, needle: bytes) -> bool:
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return needle in environ.split(b"\0")


def leads_group(pid: int) -> bool:
    """True when `pid` leads its process group, so that the group holds nobody older than it."""
    try:
        return os.getpgid(pid) == pid
    except ProcessLookupError:
        return False


def signal_group(pid: int, number: int) -> None:
    """Signals the process group led by `pid`; the caller knows that the leader is the one it means."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def signal_each(pids: list[int], number: int) -> None:
    """Signals each process; one that has just ended is no error."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def signal_name(number: int) -> str:
    """SIGKILL for 9; the plain number for one without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def oom_kills() -> int | None:
    """How many processes the kernel has killed for want of memory since boot; None where not told."""
    try:
        for line in Path("/proc/vmstat").read_text(encoding="utf-8").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return None
