"""Which machine this is, whatever its host name, and whether a run's attempt belongs to it."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import procs

if TYPE_CHECKING:
    Json = dict[str, Any]

ELSEWHERE_SILENCE = 60.0
DISK_CLOCK_SECONDS = 60.0
_FILES = ("/etc/machine-id", "/var/lib/dbus/machine-id")


@lru_cache(maxsize=1)
def machine_id() -> str:
    """A name for this machine that outlives a change of its host name; "" where the system keeps none.

    A hash: machine-id(5) asks that the id itself be kept to the machine.
    """
    for name in _FILES:
        try:
            text = Path(name).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            continue
        if re.fullmatch(r"[0-9a-f]{32}", text):
            return hashlib.sha256(b"nanochat " + text.encode()).hexdigest()[:16]
    return ""


def pid_namespace() -> str:
    """Where our process ids count: containers of one machine have each their own. "" where not told."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def identity() -> Json:
    """The fields of `state.json` that say where an attempt runs."""
    return {
        "host": os.uname().nodename,
        "machine": machine_id(),
        "pid_ns": pid_namespace(),
        "boot_id": procs.boot_id(),
        "disk_ahead": None,
    }


_disk_ahead: dict[str, tuple[float, float]] = {}


def disk_ahead(folder: Path) -> float:
    """Seconds that the clock which stamps files in `folder` is ahead of ours; 0 where we may not write there.

    Machines that share a disk share that clock, whatever their own show.
    """
    measured, ahead = _disk_ahead.get(str(folder), (-DISK_CLOCK_SECONDS, 0.0))
    now = time.monotonic()
    if now - measured >= DISK_CLOCK_SECONDS:
        try:
            with tempfile.TemporaryFile(dir=str(folder), prefix=".clock-") as file:
                ahead = os.fstat(file.fileno()).st_mtime - time.time()
        except OSError:
            ahead = 0.0
        _disk_ahead[str(folder)] = now, ahead
    return ahead


def silence(state: Json, folder: Path) -> float:
    """Seconds since the machine of `state`, a run in `folder`, was heard.

    By the clock of the disk where that machine has noted how far it is from its own, else by ours.
    """
    beat, ahead = state.get("heartbeat") or 0.0, state.get("disk_ahead")
    if ahead is None:
        return time.time() - float(beat)
    return time.time() + disk_ahead(folder) - (float(beat) + float(ahead))


def belongs(state: Json, host: str, folder: Path) -> bool:
    """True for an attempt of this machine; `host` is the name it was started under, `folder` that of its run.

    A living process of exactly that boot, pid and start time is ours under any name. Else the machine's id
    decides, and the host name where there is none. Copies of a virtual machine, and containers, may have one
    id and different names: the boot, the namespace of the pids, or a heartbeat tell them apart.
    """
    here = state.get("boot_id") == procs.boot_id()
    if here and (procs.lives(state) or procs.lives(state.get("supervisor"))):
        return True
    same_name = host == os.uname().nodename
    theirs, ours = state.get("machine"), machine_id()
    if not theirs or not ours:
        return same_name
    if theirs != ours:
        return False
    if same_name:
        return True
    if here:
        return state.get("pid_ns") in (None, "", pid_namespace())
    return silence(state, folder) > ELSEWHERE_SILENCE
