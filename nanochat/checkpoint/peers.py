"""The processes that write a checkpoint together, and whether one of them has ended without a word."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nanochat.run.run_directory import boot_id, process_start


@dataclass(frozen=True)
class Peer:
    """A process: where it runs, its number, and when it was started."""

    machine: str
    """Boot and process namespace; "" where this system has neither."""
    pid: int
    started: int | None

    @classmethod
    def here(cls) -> "Peer":
        """This process."""
        return cls(_machine(), os.getpid(), process_start(os.getpid()))

    def has_ended(self) -> bool:
        """Whether it is known to have ended; of a process of another machine nothing is known."""
        if not self.machine or self.machine != _machine():
            return False
        return process_start(self.pid) != self.started or _is_zombie(self.pid)


def has_ended(peers: Sequence[Peer], rank: int) -> bool:
    """Whether the process of that rank is known to have ended."""
    return rank < len(peers) and peers[rank].has_ended()


def _machine() -> str:
    try:
        return f"{boot_id()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _is_zombie(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] in ("Z", "X")
