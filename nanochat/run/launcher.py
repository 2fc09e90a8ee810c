"""Starts a stage as several processes on this machine, one per GPU, and waits for them.

It does for one machine what torchrun does, with the stage's own one-line errors and exit codes: signals are
forwarded to every process, the first failure ends the others, and the exit code is that of rank 0 unless only
another rank failed. The processes get torchrun's variables (RANK, LOCAL_RANK, WORLD_SIZE) and find each other
through a file instead of a port.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from nanochat.common.environment import env_number
from nanochat.common.errors import Exit
from nanochat.common.streams import on_stop_signals
from nanochat.compute.rendezvous import RENDEZVOUS, world_size
from nanochat.run.activity import LAUNCHER_FILE, SAVING

PARENT = "NANOCHAT_LAUNCHER_PID"
PR_SET_PDEATHSIG = 1
"""prctl(2): the signal this process gets when its parent dies."""
NOT_FAILED = (int(Exit.OK), int(Exit.STOPPED))
GRACE_SECONDS = 60.0
"""Seconds the other processes get to end, once one has failed, before they are killed; more for a save."""


def inside_group() -> bool:
    """Whether this process was started as one of several, by us or by torchrun."""
    return world_size() > 1


def follow_launcher() -> None:
    """Ends this process when the one that launched it is killed (Linux), so that none is left behind."""
    parent = env_number(PARENT, 0)
    if not parent or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call above
        os.kill(os.getpid(), signal.SIGKILL)


def launch(module: str, argv: Sequence[str], processes: int) -> int:
    """Runs `python -m module argv…` in `processes` processes; returns the exit code."""
    env = os.environ | {
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        PARENT: str(os.getpid()),
    }
    # The processes share the cores, unless the user has set the number of threads.
    env.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    children: list[subprocess.Popen[bytes]] = []

    def forward(number: int, _frame: object) -> None:
        for child in children:
            if child.poll() is None:
                child.send_signal(number)

    on_stop_signals(forward)
    with _shared_file("rendezvous") as meeting, _shared_file("activity") as activity:
        env |= {RENDEZVOUS: meeting.path, LAUNCHER_FILE: activity.path}
        shared = [*meeting.descriptors, *activity.descriptors]
        try:
            for rank in range(processes):
                own = env | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
                command = [sys.executable, "-m", module, *argv]
                # In process groups of their own, so that Ctrl-C reaches each just once, forwarded.
                children.append(subprocess.Popen(command, env=own, process_group=0, pass_fds=shared))
            return _wait(children, Path(activity.path))
        finally:
            for child in children:
                if child.poll() is None:
                    child.kill()
                    child.wait()


class SharedFile(NamedTuple):
    """A fresh file of one group: its path in all its processes, and the descriptors they have to inherit."""

    path: str
    descriptors: Sequence[int]


@contextlib.contextmanager
def _shared_file(name: str) -> Iterator[SharedFile]:
    """A file by which the processes meet, or tell the launcher something.

    A port chosen here could be taken by another program before rank 0 listens on it, and anybody on the
    machine could connect to it. On Linux the file lies in memory and has no name, so that nothing is left
    of it when the processes have ended, even if all were killed.
    """
    if sys.platform == "linux":
        descriptor = os.memfd_create(f"nanochat-{name}")
        try:
            yield SharedFile(f"/proc/self/fd/{descriptor}", [descriptor])
        finally:
            os.close(descriptor)
    else:
        with tempfile.TemporaryDirectory(prefix="nanochat-") as folder:
            yield SharedFile(f"{folder}/{name}", [])


def _is_saving(activity: Path) -> bool:
    """Whether rank 0 says that it writes a checkpoint. What it waits for of another rank, it waits for no
    longer once that has ended."""
    try:
        return bool(json.loads(activity.read_bytes())["doing"] == SAVING)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _wait(children: Sequence[subprocess.Popen[bytes]], activity: Path) -> int:
    """Waits for all; once one has failed, the others are asked to end, and killed after a while, though never
    while rank 0 saves.

    A process that stopped as requested has not failed: rank 0 may still be writing for all.
    """
    deadline = float("inf")
    failed: subprocess.Popen[bytes] | None = None
    while None in [child.poll() for child in children]:  # of each: the first may live and the second not
        if failed is None:
            failed = next((child for child in children if child.returncode not in (None, *NOT_FAILED)), None)
            if failed is not None:
                deadline = time.monotonic() + GRACE_SECONDS
                time.sleep(1.0)  # the same error often ends all of them
                for child in children:
                    if child.poll() is None:
                        child.terminate()
        elif time.monotonic() > deadline and not (children[0].returncode is None and _is_saving(activity)):
            for child in children:
                if child.poll() is None:
                    child.kill()
        time.sleep(0.05)
    main = children[0].returncode
    code = main if main or failed is None else failed.returncode
    return code if code >= 0 else 128 - code
