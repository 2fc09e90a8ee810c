"""What the host does, from /proc and the cgroup: processor, memory, disk and network.

Inside a container the limits of its cgroup count, not the node's figures. A value that cannot be read is
left out, never reported as zero.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .cgroup import Cgroup

if TYPE_CHECKING:
    Values = dict[str, float | int | str]

CONTAINER_FILES = (".dockerenv", "run/.containerenv", "run/systemd/container")
CONTAINER_WORDS = ("docker", "kubepods", "containerd", "lxc", "libpod", "garden")


class Usage(NamedTuple):
    """Counters at one moment: busy and all processor seconds, bytes received and sent."""

    at: float
    cpu_busy: float | None
    cpu_all: float | None
    cpu_group: float | None
    net_rx: int | None
    net_tx: int | None


class Host:
    """Samples one host. `root` stands for / so that tests can describe machines of their own."""

    def __init__(self, base: Path, root: Path = Path("/")) -> None:
        self.base = base
        self.root = root
        self.cgroup = Cgroup(root)
        self.in_container = in_container(root, self.cgroup)
        self._last = self._usage()

    def sample(self) -> Values:
        """The host's telemetry now; rates are over the time since the last sample."""
        values: Values = {"host/in_container": int(self.in_container)}
        now = self._usage()
        for name, value in (
            ("host/cores", self.cores()),
            ("host/cpu", self._cpu(self._last, now)),
            ("host/load1", self._load()),
            ("host/net_rx", _rate(self._last.net_rx, now.net_rx, now.at - self._last.at)),
            ("host/net_tx", _rate(self._last.net_tx, now.net_tx, now.at - self._last.at)),
        ):
            if value is not None:
                values[name] = value
        self._last = now
        values.update(self.memory())
        values.update(disk(self.base))
        return values

    def cores(self) -> float:
        """Processors this process may use: those of its affinity, less when a quota allows less."""
        try:
            count = float(len(os.sched_getaffinity(0)))
        except (AttributeError, OSError):
            count = float(os.cpu_count() or 1)
        quota = self.cgroup.cpu_quota()
        return count if quota is None else round(min(count, quota), 2)

    def memory(self) -> Values:
        """Bytes in use and in all, of the cgroup when it allows less than the machine has."""
        info = self._meminfo()
        total = info.get("MemTotal")
        limit = self.cgroup.memory_limit()
        if limit is not None and (total is None or limit < total):
            used = self.cgroup.memory_used()
            return (
                {"host/ram_total": limit}
                if used is None
                else {"host/ram_total": limit, "host/ram_used": used}
            )
        if total is None:
            return {}
        available = info.get("MemAvailable")
        return (
            {"host/ram_total": total}
            if available is None
            else {
                "host/ram_total": total,
                "host/ram_used": total - available,
            }
        )

    def _cpu(self, before: Usage, now: Usage) -> float | None:
        seconds = now.at - before.at
        if seconds <= 0:
            return None
        if self.cgroup.cpu_quota() is not None and now.cpu_group is not None and before.cpu_group is not None:
            return _percent(now.cpu_group - before.cpu_group, seconds * self.cores())
        if now.cpu_all is None or before.cpu_all is None or now.cpu_busy is None or before.cpu_busy is None:
            return None
        return _percent(now.cpu_busy - before.cpu_busy, now.cpu_all - before.cpu_all)

    def _usage(self) -> Usage:
        busy, whole = self._proc_stat()
        rx, tx = self._network()
        return Usage(time.monotonic(), busy, whole, self.cgroup.cpu_seconds(), rx, tx)

    def _proc_stat(self) -> tuple[float | None, float | None]:
        try:
            first = (self.root / "proc/stat").read_text(encoding="utf-8").partition("\n")[0].split()
            ticks = [int(value) for value in first[1:9]]
        except (OSError, ValueError):
            return None, None
        if len(ticks) < 5:
            return None, None
        return float(sum(ticks) - ticks[3] - ticks[4]), float(sum(ticks))

    def _meminfo(self) -> dict[str, int]:
        found = {}
        try:
            for line in (self.root / "proc/meminfo").read_text(encoding="utf-8").splitlines():
                name, _, rest = line.partition(":")
                if name in ("MemTotal", "MemAvailable"):
                    found[name] = int(rest.split()[0]) * 1024
        except (OSError, ValueError, IndexError):
            pass
        return found

    def _load(self) -> float | None:
        try:
            return float((self.root / "proc/loadavg").read_text(encoding="utf-8").split()[0])
        except (OSError, ValueError, IndexError):
            return None

    def _network(self) -> tuple[int | None, int | None]:
        """Bytes over all real interfaces: no loopback, no bridges' and bonds' members counted twice."""
        received = sent = 0
        try:
            lines = (self.root / "proc/net/dev").read_text(encoding="utf-8").splitlines()[2:]
            for line in lines:
                name, _, rest = line.partition(":")
                if self._counts(name.strip()):
                    fields = rest.split()
                    received += int(fields[0])
                    sent += int(fields[8])
        except (OSError, ValueError, IndexError):
            return None, None
        return received, sent

    def _counts(self, interface: str) -> bool:
        virtual = ("lo", "veth", "docker", "br-", "virbr", "cni", "flannel", "cali")
        return (
            not interface.startswith(virtual)
            and not (self.root / "sys/class/net" / interface / "master").exists()
        )


def disk(base: Path) -> Values:
    """Bytes used and in all of the file system that holds `base` (or its nearest parent that exists)."""
    for path in (base, *base.parents):
        try:
            found = os.statvfs(str(path))
        except FileNotFoundError:
            continue
        except OSError:
            return {}
        total = found.f_blocks * found.f_frsize
        return {"host/disk_total": total, "host/disk_used": total - found.f_bavail * found.f_frsize}
    return {}


def in_container(root: Path, cgroup: Cgroup) -> bool:
    """True when this looks like the inside of a container: marker files, cgroup names, or a limited root."""
    if any((root / name).exists() for name in CONTAINER_FILES) or cgroup.root_is_limited():
        return True
    try:
        names = (root / "proc/1/cgroup").read_text(encoding="utf-8")
    except OSError:
        return False
    return any(word in names for word in CONTAINER_WORDS)


def _percent(part: float, whole: float) -> float | None:
    return round(min(100.0, max(0.0, 100.0 * part / whole)), 1) if whole > 0 else None


def _rate(before: int | None, now: int | None, seconds: float) -> float | None:
    if before is None or now is None or seconds <= 0:
        return None
    return round(max(0, now - before) / seconds, 1)
